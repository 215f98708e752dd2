"""/hooks/<id>: where foreign systems send what happened. The signature says who they are; nothing else is asked of them.

Answers: 200 recorded, or recorded before; 202 kept with the reason, to be run again here, so that the sender need not;
400 not JSON, or signed too long ago; 401 no such hook or no good signature, one answer for both; 413, 415; 429 and 503
with Retry-After: send it again.
"""

from __future__ import annotations

import asyncio

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from app.commands.inbound.deliveries import ReceivedMessage, receive_message, verify_message
from app.domain.errors import PunchcardError, Throttled, Unauthenticated, Unavailable
from app.domain.inbound.deliveries import DeliveryStatus
from app.graphql.errors import ErrorCode, refuse, refuse_with
from app.graphql.protocol.bodies import TransportError, plain_body
from app.rate_limits import Budget
from app.resources import Resources
from app.telemetry import metrics, operations

MAX_BODY = 1_048_576
"""Bodies that fail are kept whole: however large other requests may be, these stay within what a list of them can hold."""
MAX_CONCURRENT_REQUESTS = 100
RETRY_AFTER_SECONDS = 5
BYTES_PER_POINT = 1_024


class InboundHooks:
    """Takes what is sent to inbound hooks. One an application; `budget` is what each hook may cost, None for no end."""

    def __init__(self, resources: Resources, budget: Budget | None) -> None:
        self._resources = resources
        self._budget = budget
        self._most = min(MAX_BODY, resources.settings.body_bytes)
        self._seconds = resources.settings.operation_seconds
        self._running = 0

    async def __call__(self, request: Request) -> Response:
        """The answer to a POST."""
        try:
            async with asyncio.timeout(self._seconds):
                return _answered(await self._taken(request))
        except TransportError as error:
            body = refuse(ErrorCode.BAD_REQUEST, str(error)).body
            return _json(body, error.status)
        except ClientDisconnect:
            return _json(refuse(ErrorCode.BAD_REQUEST, "The body did not arrive whole.").body, 400)
        except TimeoutError:
            return _refused(Unavailable("server"))
        except PunchcardError as error:
            return _refused(error)

    async def _taken(self, request: Request) -> ReceivedMessage:
        content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if content_type != "application/json" and not content_type.endswith("+json"):
            raise TransportError(415, "Send application/json.")
        body = await plain_body(request, self._most)
        # Only now, so that nobody keeps others out by sending slowly.
        if self._running >= MAX_CONCURRENT_REQUESTS:
            raise Unavailable("server")
        self._running += 1
        try:
            return await self._told(request, body)
        finally:
            self._running -= 1

    async def _told(self, request: Request, body: bytes) -> ReceivedMessage:
        message = await verify_message(self._resources, request.path_params["hook"], dict(request.headers), body)
        hook = message.hook
        operations.current().sent_by(hook.workspace_id, hook.id)
        if self._budget is not None:
            await self._budget.spend(hook.id, 1 + len(body) // BYTES_PER_POINT)
        return await receive_message(self._resources, message, request.client.host if request.client else None)


def _answered(receipt: ReceivedMessage) -> Response:
    told = {"failed": receipt.failed, "recorded": receipt.created, "duplicate": receipt.duplicate}
    metrics.INBOUND.labels(next((name for name, count in told.items() if count), "skipped")).inc()
    status = 200 if receipt.delivery.status is DeliveryStatus.PROCESSED else 202 if receipt.readable else 400
    return _json({**told, "skipped": receipt.skipped}, status)


def _refused(error: PunchcardError) -> Response:
    metrics.INBOUND.labels("refused").inc()
    match error:
        case Unauthenticated():
            body = refuse(ErrorCode.UNAUTHENTICATED, "There is no such hook, or the signature is not good.").body
            return _json(body, 401)
        case Throttled():
            return _json(refuse_with(error).body, 429, max(1, round(error.retry_after_seconds)))
        case Unavailable():
            return _json(refuse_with(error).body, 503, RETRY_AFTER_SECONDS)
    return _json(refuse_with(error).body, 400)


def _json(body: object, status: int, again_seconds: int | None = None) -> Response:
    headers = {"cache-control": "no-store"}
    if again_seconds is not None:
        headers["retry-after"] = str(again_seconds)
    return JSONResponse(body, status, headers)
