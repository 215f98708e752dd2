"""Files to fetch: the reports of jobs, with a key; what exports wrote, with a signed address and no key."""

from __future__ import annotations

from collections.abc import AsyncIterator

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from app.auth import Keyring
from app.clock import SystemClock
from app.domain.errors import NotFound, PunchcardError
from app.domain.files.exports import ExportFormat, is_signed, parse_expiry
from app.domain.jobs import JobKind
from app.domain.values.instants import to_ms
from app.graphql.errors import STATUS, ErrorCode, refuse, refuse_with
from app.graphql.types.ids import database_id
from app.resources import Resources
from app.telemetry import operations

from .reports import report

GONE = "The file is gone; export it again."
NOT_SIGNED = "This address is not valid, or no longer: ask for that of the export again."
MEDIA = {ExportFormat.CSV: "text/csv; charset=utf-8", ExportFormat.JSONL: "application/jsonl; charset=utf-8"}


class Downloads:
    """Answers with files, part by part as they lie in the store, so that none of them is ever whole in memory."""

    def __init__(self, resources: Resources, keyring: Keyring) -> None:
        self._resources = resources
        self._keyring = keyring

    async def report(self, request: Request) -> Response:
        """The report of a job's failed rows, to a key with the scope `read`; 404 where the workspace has no such job."""
        job_id = database_id(request.path_params["job"], "Job")
        try:
            actor = await self._keyring.actor(request.headers.get("authorization"))
            operations.current().sent_by(actor.workspace_id, actor.key_id)
            workspace = self._resources.workspace(actor.workspace_id)
            parts = None if job_id is None else await report(workspace, actor, job_id)
        except PunchcardError as error:
            return _failed(error)
        if parts is None:
            return _refused(ErrorCode.BAD_REQUEST, "No such job in this workspace.", 404)
        return _file(parts, f"{job_id}.csv", MEDIA[ExportFormat.CSV])

    async def export(self, request: Request) -> Response:
        """The file of an export, to anybody with an address that this workspace signed and that has not expired.

        403 for any other address, whatever is wrong with it; 404 once the file is gone.
        """
        job_id, asked = request.path_params["job"], request.query_params
        workspace = self._resources.workspace(asked.get("workspace", ""))
        try:
            secret = await workspace.secret()
        except NotFound:
            return _refused(ErrorCode.FORBIDDEN, NOT_SIGNED, 403)
        except PunchcardError as error:
            return _failed(error)
        expires = parse_expiry(asked.get("expires", ""))
        now = await SystemClock().now()
        if not is_signed(secret, job_id, expires, asked.get("signature", "")) or to_ms(now) >= expires * 1000:
            return _refused(ErrorCode.FORBIDDEN, NOT_SIGNED, 403)
        try:
            job = await workspace.jobs.get(job_id)
        except PunchcardError as error:
            return _failed(error)
        file = None if job is None else job.file
        if job is None or file is None:
            return _refused(ErrorCode.BAD_REQUEST, GONE, 404)
        parts = workspace.exports.read(job.id, file.parts)
        try:
            first = await anext(parts, b"")
        except LookupError:
            return _refused(ErrorCode.BAD_REQUEST, GONE, 404)
        except PunchcardError as error:
            return _failed(error)
        what = "events" if job.kind is JobKind.EXPORT_EVENTS else "activities"
        name = f"{what}-{job.id}.{file.format.value.lower()}"
        headers = {"content-length": str(file.size), "cache-control": "no-store"}
        return _file(_chained(first, parts), name, MEDIA[file.format], **headers)


async def _chained(first: bytes, others: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for part in others:
        yield part


def _file(parts: AsyncIterator[bytes], name: str, media: str, **headers: str) -> Response:
    shown = {"content-disposition": f'attachment; filename="{name}"', **headers}
    return StreamingResponse(parts, media_type=media, headers=shown)


def _failed(error: PunchcardError) -> Response:
    refusal = refuse_with(error)
    headers = {"www-authenticate": "Bearer"} if refusal.status == STATUS[ErrorCode.UNAUTHENTICATED] else None
    return JSONResponse(refusal.body, refusal.status or 400, headers)


def _refused(code: ErrorCode, message: str, status: int) -> Response:
    return JSONResponse(refuse(code, message).body, status)
