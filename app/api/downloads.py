"""Downloads of files: job reports and exports.

A report needs an API key. An export needs a signed address and no API key.
"""

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
from app.store.mongo.usage import StoreShares
from app.telemetry import operations

from .reports import read_report

FILE_DELETED = "The file no longer exists. Run the export again."
# The message names nothing of the schema: the client may have no API key.
NOT_SIGNED = "The address is not valid or has expired. Query the export job again for a new address."
NO_STORE = {"cache-control": "no-store"}
"""Caches must keep neither the rows of customers nor the refusal of an address that a later request may get."""
MEDIA = {ExportFormat.CSV: "text/csv; charset=utf-8", ExportFormat.JSONL: "application/jsonl; charset=utf-8"}


class Downloads:
    """The two downloads. Files are streamed from the store part by part, so that no file is whole in memory."""

    def __init__(self, resources: Resources, keyring: Keyring, shares: StoreShares) -> None:
        self._resources = resources
        self._keyring = keyring
        self._shares = shares

    async def report(self, request: Request) -> Response:
        """Return the report of the rows of a job that failed.

        It needs a key with the scope `read`. The status is 404 if the workspace has no such job.
        """
        job_id = database_id(request.path_params["job"], "Job")
        try:
            actor = await self._keyring.actor(request.headers.get("authorization"))
            operations.current().note_caller(actor.workspace_id, actor.key_id)
            workspace = self._resources.workspace(actor.workspace_id)
            parts = None if job_id is None else await read_report(workspace, actor, job_id)
        except PunchcardError as error:
            return _error_response(error)
        if parts is None:
            return _refusal_response(ErrorCode.BAD_REQUEST, "This workspace has no job with this id.", 404)
        parts = self._read_parts(actor.workspace_id, parts)
        return _file_response(parts, f"{job_id}.csv", MEDIA[ExportFormat.CSV])

    async def export(self, request: Request) -> Response:
        """Return the file of an export if the workspace signed the address and it has not expired.

        The status is 403 for every other address, without the reason. It is 404 after the file was deleted.
        """
        job_id, query = request.path_params["job"], request.query_params
        workspace = self._resources.workspace(query.get("workspace", ""))
        try:
            secret = await workspace.secret()
        except NotFound:
            return _refusal_response(ErrorCode.FORBIDDEN, NOT_SIGNED, 403)
        except PunchcardError as error:
            return _error_response(error)
        expires = parse_expiry(query.get("expires", ""))
        now = await SystemClock().now()
        if not is_signed(secret, job_id, expires, query.get("signature", "")) or to_ms(now) >= expires * 1000:
            return _refusal_response(ErrorCode.FORBIDDEN, NOT_SIGNED, 403)
        try:
            job = await workspace.jobs.get(job_id)
        except PunchcardError as error:
            return _error_response(error)
        file = None if job is None else job.file
        if job is None or file is None:
            return _refusal_response(ErrorCode.BAD_REQUEST, FILE_DELETED, 404)
        parts = self._read_parts(workspace.id, workspace.exports.read(job.id, file.parts))
        try:
            first = await anext(parts, b"")
        except LookupError:
            return _refusal_response(ErrorCode.BAD_REQUEST, FILE_DELETED, 404)
        except PunchcardError as error:
            return _error_response(error)
        noun = "events" if job.kind is JobKind.EXPORT_EVENTS else "activities"
        name = f"{noun}-{job.id}.{file.format.value.lower()}"
        return _file_response(_prepend(first, parts), name, MEDIA[file.format], **{"content-length": str(file.size)})

    async def _read_parts(self, workspace_id: str, parts: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Yield the parts, and read each within the share of the workspace in the store's calls."""
        seconds = self._resources.settings.operation_seconds
        while True:
            with self._shares.open(workspace_id, call_seconds=seconds) as usage, usage.active():
                part = await anext(parts, None)
            if part is None:
                return
            yield part


async def _prepend(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for part in rest:
        yield part


def _file_response(parts: AsyncIterator[bytes], name: str, media: str, **headers: str) -> Response:
    all_headers = {"content-disposition": f'attachment; filename="{name}"', **NO_STORE, **headers}
    return StreamingResponse(parts, media_type=media, headers=all_headers)


def _error_response(error: PunchcardError) -> Response:
    refusal = refuse_with(error)
    headers = {"www-authenticate": "Bearer"} if refusal.status == STATUS[ErrorCode.UNAUTHENTICATED] else {}
    return JSONResponse(refusal.body, refusal.status or 400, {**NO_STORE, **headers})


def _refusal_response(code: ErrorCode, message: str, status: int) -> Response:
    return JSONResponse(refuse(code, message).body, status, NO_STORE)
