"""Named queries over the jobs of one workspace and their files: uploads, and reports of failed rows.

The store holds files in parts, where every API process and every worker reaches them. No disk is shared.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import datetime, timedelta
from enum import StrEnum

from app.domain.files.exports import FILE_TTL_SECONDS
from app.domain.jobs import EXPORTS, MAX_OPEN_JOBS, UPLOADS, Job, JobKind
from app.store.codecs.jobs import Order, job_from_doc, order_from_doc, order_to_doc, tally_to_doc
from app.store.mongo.paging import Page, PageRequest, read_page, to_stored_keys
from app.store.mongo.queries import Database, Doc, WorkspaceQueries, insert_new

PART_BYTES = 1_048_576
LINES_PER_PART = 1_000
REPORT_TTL = timedelta(days=30)
"""How long a line of a report is kept."""
EXPORT_TTL = timedelta(seconds=FILE_TTL_SECONDS)
KEPT_AT_MOST = timedelta(days=8)
"""How long a file of a job may be kept, since the job was created."""
ABANDONED_UPLOAD_TTL = timedelta(days=1)
"""How long the parts of an upload without a job are kept."""


class JobFile(StrEnum):
    """Kind of file that a part belongs to."""

    INPUT = "input"
    REPORT = "report"
    OUTPUT = "output"


class JobQueries(WorkspaceQueries):
    """Jobs of one workspace. Errors: Unavailable, safe to repeat."""

    collection = "jobs"

    def __init__(self, db: Database, workspace_id: str, in_chunk: int) -> None:
        super().__init__(db, workspace_id, in_chunk)
        self._files = db["job_files"]

    async def insert(self, job: Job, order: Order, actor_id: str, position: object) -> bool:
        """Insert a job of this actor that begins at a position. Workers find it from now on.

        Return whether it stays stored: False if the workspace has too many unfinished jobs. A job with this id that exists
        stays unchanged. The upload of an import
        must be complete; it is kept until the job ends.
        """
        existing = await insert_new(
            self._collection,
            [
                self._in_workspace(
                    _id=job.id,
                    kind=job.kind.value,
                    status=job.status.value,
                    source=job.source,
                    **tally_to_doc(job.tally),
                    total=job.total,
                    dry_run=job.dry_run,
                    warnings=list(job.warnings),
                    created_at=job.created_at,
                    order=order_to_doc(order),
                    actor=actor_id,
                    position=position,
                    step=0,
                    open=1,
                    lease=0,
                    starts=0,
                    failures=0,
                )
            ],
        )
        if existing:
            return True
        unfinished = self._in_workspace(open=1)
        # Count after the insert: of calls at the same time, none may find room that another one takes.
        if await self._collection.count_documents(unfinished, limit=MAX_OPEN_JOBS + 1) > MAX_OPEN_JOBS:
            await self._collection.delete_one(self._in_workspace(_id=job.id))
            return False
        if job.kind in UPLOADS:
            parts = self._in_workspace(job=job.id, file=JobFile.INPUT.value)
            await self._files.update_many(parts, {"$unset": {"expires_at": ""}})
        return True

    async def count_open(self) -> int:
        """Return the number of unfinished jobs, at most `MAX_OPEN_JOBS`. Index: {workspace, open}."""
        return await self._collection.count_documents(self._in_workspace(open=1), limit=MAX_OPEN_JOBS)

    async def kept_bytes(self, now: datetime) -> int:
        """Return the bytes of the files of open imports and of exports that have not expired.

        Index: {workspace, created_at, _id}.
        """
        query = self._in_workspace(created_at={"$gte": now - KEPT_AT_MOST})
        shown = {"kind": 1, "open": 1, "finished_at": 1, "order.size": 1, "position.bytes": 1}
        total = 0
        async for doc in self._collection.find(query, shown):
            if doc["kind"] in EXPORTS and ("open" in doc or doc["finished_at"] > now - EXPORT_TTL):
                total += (doc.get("position") or {}).get("bytes", 0)
            elif doc["kind"] in UPLOADS and "open" in doc:
                total += doc.get("order", {}).get("size", 0)
        return total

    async def get(self, job_id: str) -> Job | None:
        """Return the job of that id, or None. Index: _id."""
        doc = await self._collection.find_one(self._in_workspace(_id=job_id))
        return None if doc is None else job_from_doc(doc)

    async def get_with_order(self, job_id: str) -> tuple[Job, Order] | None:
        """Return the job of that id with its order, or None. Index: _id."""
        doc = await self._collection.find_one(self._in_workspace(_id=job_id))
        return None if doc is None else (job_from_doc(doc), order_from_doc(JobKind(doc["kind"]), doc["order"]))

    async def get_many(self, job_ids: Iterable[str]) -> dict[str, Job]:
        """Return the jobs that exist among the ids. Index: _id."""
        return {doc["_id"]: job_from_doc(doc) for doc in await self._by_ids(job_ids)}

    async def page(self, span: PageRequest) -> Page[Job]:
        """Return jobs, the newest first; key (created ms, id). Index: {workspace, created_at, _id}."""
        order = (("created_at", -1), ("_id", -1))
        return await read_page(self._collection, self._in_workspace(), order, to_stored_keys(span), job_from_doc)

    async def count(self) -> int:
        """Return the number of jobs, finished ones included. Index: {workspace, created_at, _id}."""
        return await self._count()

    async def cancel(self, job_id: str) -> None:
        """Request that an unfinished job stop after its current rows. Safe to repeat. Index: _id."""
        await self._collection.update_one(self._in_workspace(_id=job_id, open=1), {"$set": {"cancel": True}})

    async def put_input(self, job_id: str, n: int, data: bytes, at: datetime) -> None:
        """Store part `n` of an upload. It expires a day after `at` unless the job is inserted."""
        await self._files.insert_one(
            {**self._part_filter(job_id, JobFile.INPUT, n), "data": data, "expires_at": at + ABANDONED_UPLOAD_TTL}
        )

    async def input(self, job_id: str, position: int) -> AsyncIterator[bytes]:
        """Yield the bytes of an upload from a position on, part by part. Index: {workspace, job, file, n}."""
        n, skipped = divmod(position, PART_BYTES)
        while (doc := await self._read_part(self._part_filter(job_id, JobFile.INPUT, n))) is not None:
            yield bytes(doc["data"])[skipped:]
            n, skipped = n + 1, 0

    async def drop_input(self, job_id: str) -> None:
        """Delete an upload. Safe to repeat. Index: {workspace, job, file, n}."""
        await self._files.delete_many(self._in_workspace(job=job_id, file=JobFile.INPUT.value))

    async def put_report(
        self,
        job_id: str,
        n: int,
        lines: Sequence[Sequence[str]],
        at: datetime,
        names: Sequence[Sequence[str] | None] | None = None,
    ) -> None:
        """Store lines of the report under the number of their first row. Safe to repeat. Index as for `input`.

        At most 1,000 rows, of at most 15 lines each. The lines quote what the client sent, so they expire 30 days after
        `at`. `names` has for each line the hashes of the names in its row, or None for a row that cannot be read; an
        erasure finds the line by them.
        """
        for start in range(0, len(lines), LINES_PER_PART):
            part = self._part_filter(job_id, JobFile.REPORT, n * 16 + start // LINES_PER_PART)
            stop = start + LINES_PER_PART
            doc = {**part, "lines": [list(line) for line in lines[start:stop]], "expires_at": at + REPORT_TTL}
            if names is not None:
                doc["names"] = [None if each is None else list(each) for each in names[start:stop]]
            await self._files.replace_one(part, doc, upsert=True)

    async def report(self, job_id: str) -> AsyncIterator[list[list[str]]]:
        """Yield the lines of the report in order of rows, in batches. Index: {workspace, job, file, n}."""
        last_n = -1
        while True:
            where = self._in_workspace(job=job_id, file=JobFile.REPORT.value, n={"$gt": last_n})
            docs = await self._read_batch(where)
            for doc in docs:
                yield doc["lines"]
            if not docs:
                return
            last_n = docs[-1]["n"]

    async def _read_part(self, part: Doc) -> Doc | None:
        return await self._files.find_one(part, {"data": 1})

    async def _read_batch(self, where: Doc) -> list[Doc]:
        return await self._files.find(where, {"names": 0}).sort("n", 1).limit(2).to_list(None)

    def _part_filter(self, job_id: str, file: JobFile, n: int) -> Doc:
        return self._in_workspace(job=job_id, file=file.value, n=n)
