"""Named queries over the jobs of one workspace, and their files: what was uploaded, and the report of what failed.

Files lie in parts in the store, where every API and every worker reaches them; no disk is shared.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import datetime, timedelta
from enum import StrEnum

from app.domain.files.import_plan import ImportOrder
from app.domain.jobs import Job
from app.store.codecs.jobs import Order, job_from, order_doc, tally_doc
from app.store.mongo.paging import Page, PageRequest, by_instant, page_of
from app.store.mongo.queries import Database, Doc, WorkspaceQueries

PART_BYTES = 1_048_576
LINES_PER_PART = 1_000
REPORT_TTL = timedelta(days=30)
"""How long a line of a report is kept."""
ABANDONED_UPLOAD_TTL = timedelta(days=1)
"""How long the parts of an upload that never became a job are kept."""


class JobFile(StrEnum):
    """What a part belongs to."""

    INPUT = "input"
    REPORT = "report"
    OUTPUT = "output"


class JobQueries(WorkspaceQueries):
    """Jobs of one workspace. Errors: Unavailable, safe to repeat."""

    collection = "jobs"

    def __init__(self, db: Database, workspace_id: str, in_chunk: int) -> None:
        super().__init__(db, workspace_id, in_chunk)
        self._files = db["job_files"]

    async def insert(self, job: Job, order: Order, actor_id: str, position: object) -> None:
        """Stores a job of this actor, to begin at a position; from now on workers find it.

        What was uploaded for an import is there whole, and is kept until the job ends.
        """
        await self._all.insert_one(
            self._mine(
                _id=job.id,
                kind=job.kind.value,
                status=job.status.value,
                source=job.source,
                **tally_doc(job.tally),
                total=job.total,
                dry_run=job.dry_run,
                warnings=list(job.warnings),
                created_at=job.created_at,
                order=order_doc(order),
                actor=actor_id,
                position=position,
                step=0,
                open=1,
                lease=0,
                starts=0,
                failures=0,
            )
        )
        if isinstance(order, ImportOrder):
            parts = self._mine(job=job.id, file=JobFile.INPUT.value)
            await self._files.update_many(parts, {"$unset": {"expires_at": ""}})

    async def get(self, job_id: str) -> Job | None:
        """The job of that id, or None. Index: _id."""
        doc = await self._all.find_one(self._mine(_id=job_id))
        return None if doc is None else job_from(doc)

    async def get_many(self, job_ids: Iterable[str]) -> dict[str, Job]:
        """The jobs that exist among the ids. Index: _id."""
        return {doc["_id"]: job_from(doc) for doc in await self._by_ids(job_ids)}

    async def page(self, span: PageRequest) -> Page[Job]:
        """Jobs, the newest first; key (created ms, id). Index: {workspace, created_at, _id}."""
        order = (("created_at", -1), ("_id", -1))
        return await page_of(self._all, self._mine(), order, by_instant(span), job_from)

    async def count(self) -> int:
        """How many jobs the workspace has had. Index: {workspace, created_at, _id}."""
        return await self._all.count_documents(self._mine())

    async def cancel(self, job_id: str) -> None:
        """Tells a job that goes on to stop after the rows it is at; a finished job stays as it is. Safe to repeat."""
        await self._all.update_one(self._mine(_id=job_id, open=1), {"$set": {"cancel": True}})

    async def put_input(self, job_id: str, n: int, data: bytes, at: datetime) -> None:
        """Stores part `n` of an upload; forgotten a day after `at` unless its job is stored."""
        await self._files.insert_one(
            {**self._part(job_id, JobFile.INPUT, n), "data": data, "expires_at": at + ABANDONED_UPLOAD_TTL}
        )

    async def input(self, job_id: str, position: int) -> AsyncIterator[bytes]:
        """The bytes of an upload from a position on, part by part. Index: {workspace, job, file, n}."""
        n, skipped = divmod(position, PART_BYTES)
        while (doc := await self._read(self._part(job_id, JobFile.INPUT, n))) is not None:
            yield bytes(doc["data"])[skipped:]
            n, skipped = n + 1, 0

    async def drop_input(self, job_id: str) -> None:
        """Removes an upload; safe to repeat. Index: {workspace, job, file, n}."""
        await self._files.delete_many(self._mine(job=job_id, file=JobFile.INPUT.value))

    async def put_report(self, job_id: str, n: int, lines: Sequence[Sequence[str]], at: datetime) -> None:
        """Stores lines of the report under the number of their first row; again is the same. Index as for `input`.

        At most 1,000 rows, of at most 15 lines each. They are forgotten a month after `at`: they quote what was sent.
        """
        for place in range(0, len(lines), LINES_PER_PART):
            part = self._part(job_id, JobFile.REPORT, n * 16 + place // LINES_PER_PART)
            some = [list(line) for line in lines[place : place + LINES_PER_PART]]
            await self._files.replace_one(part, {**part, "lines": some, "expires_at": at + REPORT_TTL}, upsert=True)

    async def report(self, job_id: str) -> AsyncIterator[list[list[str]]]:
        """The lines of the report in order of rows, some at a time. Index: {workspace, job, file, n}."""
        beyond = -1
        while True:
            where = self._mine(job=job_id, file=JobFile.REPORT.value, n={"$gt": beyond})
            docs = await self._some(where)
            for doc in docs:
                yield doc["lines"]
            if not docs:
                return
            beyond = docs[-1]["n"]

    async def _read(self, part: Doc) -> Doc | None:
        return await self._files.find_one(part, {"data": 1})

    async def _some(self, where: Doc) -> list[Doc]:
        return await self._files.find(where).sort("n", 1).limit(2).to_list(None)

    def _part(self, job_id: str, file: JobFile, n: int) -> Doc:
        return self._mine(job=job_id, file=file.value, n=n)
