"""The route `/hooks/<id>`, to which other systems send messages. The signature authenticates the sender.

| status | meaning |
|---|---|
| 200 | every item is recorded, now or by an earlier attempt, or the mapping leaves it out |
| 202 | an item failed; the message is kept with the reason, can be rerun here, and need not be sent again |
| 400 | the body is not JSON or incomplete, or the signature's time is out of range |
| 401 | no such hook, or no valid signature; the answer is the same for both |
| 408 | the body did not arrive in time; the sender has to send it again |
| 413, 415 | the body is too large, or its content type is not JSON |
| 429, 503 | the sender has to send the message again, after `Retry-After` seconds |
"""

from __future__ import annotations

import asyncio

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from app.commands.inbound.deliveries import ReceivedMessage, receive_message, verify_message
from app.domain.errors import PunchcardError, StoreRefused, Throttled, Unauthenticated, Unavailable
from app.domain.inbound.deliveries import DeliveryStatus
from app.graphql.errors import ErrorCode, refuse, refuse_with
from app.graphql.protocol.bodies import read_plain_body
from app.graphql.protocol.body_stream import TransportError
from app.graphql.protocol.waiting import WaitingPool
from app.rate_limits import Budget
from app.resources import Resources
from app.store.mongo.usage import StoreShares
from app.telemetry import metrics, operations

from .client_address import client_address

MAX_BODY_BYTES = 1_048_576
"""Largest body. Bodies of failed messages are kept whole, and a list shows many of them."""
MAX_CONCURRENT_REQUESTS = 100
MAX_ARRIVING_BODIES = 100
"""Bodies that are read at once. A client needs no secret to send one, so the oldest one makes room for the next."""
RETRY_AFTER_SECONDS = 5
BYTES_PER_POINT = 1_024


class InboundHooks:
    """Receiver of messages to inbound hooks; one for each application.

    `budget` limits the points that each hook may spend; None means no limit. `shares` limit its calls to the store.
    """

    def __init__(self, resources: Resources, budget: Budget | None, shares: StoreShares) -> None:
        self._resources = resources
        self._shares = shares
        self._budget = budget
        self._max_body_bytes = min(MAX_BODY_BYTES, resources.settings.body_bytes)
        self._timeout_seconds = resources.settings.operation_seconds
        self._running = 0
        self._arriving = WaitingPool(MAX_ARRIVING_BODIES)

    async def __call__(self, request: Request) -> Response:
        """Answer a POST request."""
        try:
            async with asyncio.timeout(self._timeout_seconds) as timeout:
                return _result_response(await self._read_and_record(request, timeout))
        except TransportError as error:
            body = refuse(ErrorCode.BAD_REQUEST, str(error)).body
            return _json_response(body, error.status)
        except ClientDisconnect:
            return _json_response(refuse(ErrorCode.BAD_REQUEST, "The body is incomplete. Send it again.").body, 400)
        except TimeoutError:
            return _error_response(Unavailable("server"))
        except PunchcardError as error:
            return _error_response(error)

    async def _read_and_record(self, request: Request, timeout: asyncio.Timeout) -> ReceivedMessage:
        content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if content_type != "application/json" and not content_type.endswith("+json"):
            raise TransportError(415, "Send the message with the content type application/json.")

        def end() -> None:
            if not timeout.expired():
                timeout.reschedule(0)

        with self._arriving.wait(request.client.host if request.client else "", end):
            body = await read_plain_body(request, self._max_body_bytes)
        # Count requests only after the body arrived: a slow sender must not block others.
        if self._running >= MAX_CONCURRENT_REQUESTS:
            raise Unavailable("server")
        self._running += 1
        try:
            return await self._record(request, body)
        finally:
            self._running -= 1

    async def _record(self, request: Request, body: bytes) -> ReceivedMessage:
        message = await verify_message(self._resources, request.path_params["hook"], dict(request.headers), body)
        hook = message.hook
        operations.current().note_caller(hook.workspace_id, hook.id)
        if self._budget is not None:
            await self._budget.spend(hook.workspace_id, hook.id, 1 + len(body) // BYTES_PER_POINT)
        address = client_address(request.client.host if request.client else None)
        with (
            self._shares.open(hook.workspace_id, call_seconds=self._timeout_seconds) as usage,
            usage.active(),
        ):
            return await receive_message(self._resources, message, address)


def _result_response(receipt: ReceivedMessage) -> Response:
    counts = {"failed": receipt.failed, "recorded": receipt.created, "duplicate": receipt.duplicate}
    metrics.INBOUND.labels(next((name for name, count in counts.items() if count), "skipped")).inc()
    status = 200 if receipt.delivery.status is DeliveryStatus.PROCESSED else 202 if receipt.readable else 400
    return _json_response({**counts, "skipped": receipt.skipped}, status)


def _error_response(error: PunchcardError) -> Response:
    metrics.INBOUND.labels("refused").inc()
    match error:
        case Unauthenticated():
            body = refuse(ErrorCode.UNAUTHENTICATED, "The hook does not exist, or the signature is not valid.").body
            return _json_response(body, 401)
        case Throttled():
            return _json_response(refuse_with(error).body, 429, max(1, round(error.retry_after_seconds)))
        case Unavailable():
            return _json_response(refuse_with(error).body, 503, RETRY_AFTER_SECONDS)
        case StoreRefused():
            return _json_response(refuse_with(error).body, 500)
    return _json_response(refuse_with(error).body, 400)


def _json_response(body: object, status: int, retry_after_seconds: int | None = None) -> Response:
    headers = {"cache-control": "no-store"}
    if retry_after_seconds is not None:
        headers["retry-after"] = str(retry_after_seconds)
    return JSONResponse(body, status, headers)
