"""Named queries over the files that exports write, in parts. The first write of a part is final.

The first write of part n decides which lines it holds and where the next part begins. A slow worker that lost its lease
may come late with another part n. The slow worker then gets the part that is stored, so no line is doubled or lost.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from app.domain.errors import Unavailable
from app.domain.jobs import EXPORTS, JobStatus
from app.domain.values.instants import to_ms
from app.domain.values.name_hashes import spell
from app.store.mongo.queries import Database, Doc, WorkspaceQueries, insert_new

from .jobs import JobFile

UNFINISHED_TTL = timedelta(days=7)
"""How long the parts of a job that never finishes are kept."""
UNUSED_WHEN_FINISHED = ("open", "token", "lease", "cancel", "order.query", "order.plan")
"""Fields of a job that are removed at its end. The query and the constants of a plan may be personal data."""
REPORT_PREFIX = 3
"""Members of a report line that quote nothing: the row, the code and the field."""
ERASURE_WARNING = "A pass was erased while the export ran, so the export was cancelled. Start it again."
CUT_CHARACTERS = 1_000
"""Length at which the text of a report line is cut, so that a name may lie behind its end."""
_CUT = ["cut"]
_UNKNOWN = [_CUT]
"""Names of a line that an older version stored without names: only its text can be searched."""


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

        Safe to repeat. Raises Unavailable if a part exists that no majority has yet. Index: {workspace, job, file, n}.
        """
        key = self._part_filter(job_id, n)
        doc = {**key, "data": data, "rows": part.rows, "position": part.position, "expires_at": at + UNFINISHED_TTL}
        if not await insert_new(self._collection, [doc]):
            return part
        found = await self._collection.find_one(key, {"rows": 1, "position": 1})
        if found is None:
            raise Unavailable("store")
        return Part(found["rows"], found["position"])

    async def keep(self, job_id: str, expires_at: datetime) -> None:
        """Make the file expire at an instant. Safe to repeat. Index: {workspace, job, file, n}."""
        await self._collection.update_many(self._file_filter(job_id), {"$set": {"expires_at": expires_at}})

    async def drop(self, job_id: str) -> None:
        """Delete a file. Safe to repeat. Index: {workspace, job, file, n}."""
        await self._collection.delete_many(self._file_filter(job_id))

    async def forget(self, external_ids: Sequence[str], hashes: Sequence[str], at: datetime) -> bool:
        """Remove what files contain of a pass, by its external ids and their hashes. Safe to repeat.

        Every export's file is deleted; it can be exported again. An export that waits is cancelled. One that a worker
        runs is about to be: then this returns False, and a later call removes what the worker wrote until then. `at` is
        in system time. In reports, the text
        of rows that name the pass or cannot be read is emptied, with the messages about it. Finished imports lose their
        plan, whose constants may name the pass. Indexes: {workspace, created_at, _id} of the jobs, {workspace, job,
        file, n}.
        """
        is_complete = True
        async for job in self._jobs.find(self._in_workspace(), {"kind": 1, "failed": 1, "open": 1, "order.plan": 1}):
            if job["kind"] in EXPORTS:
                is_complete &= "open" not in job or await self._cancel(job["_id"], at)
                await self.drop(job["_id"])
                continue
            if "open" not in job and "plan" in job["order"]:
                await self._jobs.update_one({"_id": job["_id"]}, {"$unset": {"order.plan": ""}})
            if job["failed"] or "open" in job:
                await self._empty_quoted_rows(job["_id"], external_ids, frozenset(hashes))
        return is_complete

    async def _cancel(self, job_id: str, at: datetime) -> bool:
        """Cancel an export and return whether it has ended. If a worker holds its lease, the worker will end it."""
        unended = {"_id": job_id, "open": 1}
        await self._jobs.update_one(unended, {"$set": {"cancel": True}, "$addToSet": {"warnings": ERASURE_WARNING}})
        end: Doc = {"status": JobStatus.CANCELLED.value, "finished_at": at, "outcome": {}}
        await self._jobs.update_one(
            {**unended, "lease": {"$lte": to_ms(at)}}, {"$set": end, "$unset": dict.fromkeys(UNUSED_WHEN_FINISHED, "")}
        )
        return await self._jobs.find_one(unended, {"_id": 1}) is None

    async def _empty_quoted_rows(self, job_id: str, external_ids: Sequence[str], hashes: frozenset[str]) -> None:
        spellings = [text for external_id in external_ids for text in spell(external_id)]
        where = self._in_workspace(job=job_id, file=JobFile.REPORT.value)
        async for part in self._collection.find(where, {"lines": 1, "names": 1}):
            lines, names = list(part["lines"]), list(part.get("names") or _UNKNOWN * len(part["lines"]))
            for index, line in enumerate(lines):
                found, quoted = names[index], line[REPORT_PREFIX:]
                if found is None or hashes.intersection(found) or any(s in text for s in spellings for text in quoted):
                    lines[index], names[index] = [*line[:REPORT_PREFIX], *("" for _ in quoted)], []
                elif found == _CUT and len(line[-1]) >= CUT_CHARACTERS:
                    lines[index] = [*line[:REPORT_PREFIX], *("" for _ in quoted)]
            if lines != part["lines"]:
                await self._collection.update_one({"_id": part["_id"]}, {"$set": {"lines": lines, "names": names}})

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
