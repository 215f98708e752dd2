"""Named queries over the files that exports write, in parts. The first write of a part is final.

The first write of part n decides which lines it holds and where the next part begins. A slow worker that lost its lease
may come late with another part n. The slow worker then gets the part that is stored, so no line is doubled or lost.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from pymongo.errors import DuplicateKeyError

from app.domain.jobs import EXPORTS
from app.store.mongo.queries import Database, Doc, WorkspaceQueries

from .jobs import JobFile

UNFINISHED_TTL = timedelta(days=7)
"""How long the parts of a job that never finishes are kept."""


@dataclass(frozen=True, slots=True)
class Part:
    """Part as it was first written: the number of its lines, and where the next part begins."""

    rows: int
    position: Any


class ExportQueries(WorkspaceQueries):
    """Files of one workspace's exports. Errors: Unavailable, safe to repeat."""

    collection = "job_files"

    def __init__(self, db: Database, workspace_id: str, in_chunk: int) -> None:
        super().__init__(db, workspace_id, in_chunk)
        self._jobs = db["jobs"]

    async def put(self, job_id: str, n: int, data: bytes, part: Part, at: datetime) -> Part:
        """Store part `n` unless it exists, and return the stored part.

        Safe to repeat. Index: {workspace, job, file, n}.
        """
        key = self._part_filter(job_id, n)
        doc = {**key, "data": data, "rows": part.rows, "position": part.position, "expires_at": at + UNFINISHED_TTL}
        try:
            await self._collection.insert_one(doc)
        except DuplicateKeyError:
            found = await self._collection.find_one(key, {"rows": 1, "position": 1})
            if found is not None:
                return Part(found["rows"], found["position"])
        return part

    async def keep(self, job_id: str, expires_at: datetime) -> None:
        """Make the file expire at an instant. Safe to repeat. Index: {workspace, job, file, n}."""
        await self._collection.update_many(self._file_filter(job_id), {"$set": {"expires_at": expires_at}})

    async def drop(self, job_id: str) -> None:
        """Delete a file. Safe to repeat. Index: {workspace, job, file, n}."""
        await self._collection.delete_many(self._file_filter(job_id))

    async def forget(self, external_id: str) -> None:
        """Remove what files contain of a pass. Safe to repeat.

        Every export's file is deleted; it can be exported again. In reports of failed rows, the quoted rows that name
        the pass are emptied. Indexes: {workspace, created_at, _id} of the jobs, {workspace, job, file, n}.
        """
        async for job in self._jobs.find(self._in_workspace(), {"kind": 1, "failed": 1}):
            if job["kind"] in EXPORTS:
                await self.drop(job["_id"])
            elif job["failed"]:
                await self._empty_quoted_rows(job["_id"], external_id)

    async def _empty_quoted_rows(self, job_id: str, external_id: str) -> None:
        async for part in self._collection.find(
            self._in_workspace(job=job_id, file=JobFile.REPORT.value), {"lines": 1}
        ):
            lines = [[*line[:-1], ""] if external_id in line[-1] else line for line in part["lines"]]
            if lines != part["lines"]:
                await self._collection.update_one({"_id": part["_id"]}, {"$set": {"lines": lines}})

    async def read(self, job_id: str, parts: int) -> AsyncIterator[bytes]:
        """Yield the file, part by part.

        Raises LookupError if a part does not exist. Index: {workspace, job, file, n}.
        """
        for n in range(parts):
            doc = await self._read(self._part_filter(job_id, n))
            if doc is None:
                raise LookupError(f"part {n} of the file of {job_id} does not exist any more")
            yield bytes(doc["data"])

    async def _read(self, part: Doc) -> Doc | None:
        return await self._collection.find_one(part, {"data": 1})

    def _file_filter(self, job_id: str) -> Doc:
        return self._in_workspace(job=job_id, file=JobFile.OUTPUT.value)

    def _part_filter(self, job_id: str, n: int) -> Doc:
        return self._in_workspace(job=job_id, file=JobFile.OUTPUT.value, n=n)
