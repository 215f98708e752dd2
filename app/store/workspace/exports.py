"""Named queries over the files that exports write: in parts in the store, the first to write a part for good.

Which lines part n holds, and where the next one begins, is what its first writer found. A worker that was overtaken and
comes late with another part n finds it there, so no line is doubled or lost between one part and the next.
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
"""How long a part is kept whose job never ends."""


@dataclass(frozen=True, slots=True)
class Part:
    """A part as it was first written: how many lines it has, and where the next one begins."""

    rows: int
    position: Any


class ExportQueries(WorkspaceQueries):
    """The files of one workspace's exports. Errors: Unavailable, safe to repeat."""

    collection = "job_files"

    def __init__(self, db: Database, workspace_id: str, in_chunk: int) -> None:
        super().__init__(db, workspace_id, in_chunk)
        self._jobs = db["jobs"]

    async def put(self, job_id: str, n: int, data: bytes, part: Part, at: datetime) -> Part:
        """Part `n` as it was first written, by this call or before it. Index: {workspace, job, file, n}."""
        mine = self._part(job_id, n)
        doc = {**mine, "data": data, "rows": part.rows, "position": part.position, "expires_at": at + UNFINISHED_TTL}
        try:
            await self._all.insert_one(doc)
        except DuplicateKeyError:
            found = await self._all.find_one(mine, {"rows": 1, "position": 1})
            if found is not None:
                return Part(found["rows"], found["position"])
        return part

    async def keep(self, job_id: str, until: datetime) -> None:
        """Lets the file expire then. Index: {workspace, job, file, n}."""
        await self._all.update_many(self._whole(job_id), {"$set": {"expires_at": until}})

    async def drop(self, job_id: str) -> None:
        """Removes a file; safe to repeat. Index: {workspace, job, file, n}."""
        await self._all.delete_many(self._whole(job_id))

    async def forget(self, external_id: str) -> None:
        """Removes what files keep of a pass: every export's whole file, which can be made again, and the rows quoted in
        reports that name it. Safe to repeat. Index: {workspace, created_at, _id} of the jobs, {workspace, job, file, n}.
        """
        async for job in self._jobs.find(self._mine(), {"kind": 1, "failed": 1}):
            if job["kind"] in EXPORTS:
                await self.drop(job["_id"])
            elif job["failed"]:
                await self._unquote(job["_id"], external_id)

    async def _unquote(self, job_id: str, external_id: str) -> None:
        async for part in self._all.find(self._mine(job=job_id, file=JobFile.REPORT.value), {"lines": 1}):
            lines = [[*line[:-1], ""] if external_id in line[-1] else line for line in part["lines"]]
            if lines != part["lines"]:
                await self._all.update_one({"_id": part["_id"]}, {"$set": {"lines": lines}})

    async def read(self, job_id: str, parts: int) -> AsyncIterator[bytes]:
        """The file in its parts. Raises LookupError where one is gone. Index: {workspace, job, file, n}."""
        for n in range(parts):
            doc = await self._read(self._part(job_id, n))
            if doc is None:
                raise LookupError(f"part {n} of {job_id} is gone")
            yield bytes(doc["data"])

    async def _read(self, part: Doc) -> Doc | None:
        return await self._all.find_one(part, {"data": 1})

    def _whole(self, job_id: str) -> Doc:
        return self._mine(job=job_id, file=JobFile.OUTPUT.value)

    def _part(self, job_id: str, n: int) -> Doc:
        return self._mine(job=job_id, file=JobFile.OUTPUT.value, n=n)
