"""One attempt to deliver a message to a webhook endpoint: signed, timed, and without following redirects."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime

from app.domain.inbound.hooks import HookSecret
from app.domain.values.instants import from_ms
from app.domain.webhooks.deliveries import Attempt, parse_retry_after
from app.domain.webhooks.messages import Message, sign_headers
from app.telemetry import metrics, tracing

from .http_client import Poster, RequestFailed

GONE_STATUS = 410
"""The status by which an endpoint asks for no more messages."""
ATTEMPT_TIMEOUT_SECONDS = 15.0
"""The longest time that one attempt takes."""


@dataclass(frozen=True, slots=True)
class AttemptResult:
    """The result of one attempt, and the seconds for which the endpoint asked to wait, else 0."""

    attempt: Attempt
    retry_after_seconds: int = 0

    @property
    def succeeded(self) -> bool:
        """Whether the endpoint accepted the message: it answered 200 to 299."""
        return self.attempt.status_code is not None and 200 <= self.attempt.status_code < 300

    @property
    def is_gone(self) -> bool:
        """Whether the endpoint asked for no more messages: it answered 410."""
        return self.attempt.status_code == GONE_STATUS


async def send(
    poster: Poster,
    url: str,
    secrets: Iterable[HookSecret],
    message: Message,
    now_ms: Callable[[], int],
    timeout_seconds: float = ATTEMPT_TIMEOUT_SECONDS,
) -> AttemptResult:
    """Send a message once, signed with each secret that is valid now, and return the result.

    An endpoint that fails is a result, not an error. `now_ms` is the system clock.
    """
    at, started = from_ms(now_ms()), time.monotonic()
    usable = [secret.text for secret in secrets if secret.is_usable_at(at)]
    with tracing.span("webhook") as span:
        headers = sign_headers(message, usable, int(at.timestamp()), tracing.traceparent())
        try:
            answer = await poster.post(url, headers, message.body, timeout_seconds)
        except RequestFailed as error:
            span.fail(error.message)
            return AttemptResult(_finish_attempt(at, started, None, error.message))
        span.note(http__response__status_code=answer.status)
    return AttemptResult(
        _finish_attempt(at, started, answer.status, _describe_failure(answer.status)),
        parse_retry_after(answer.retry_after, at),
    )


def _finish_attempt(at: datetime, started: float, status: int | None, error: str | None) -> Attempt:
    seconds = time.monotonic() - started
    metrics.DELIVERY_SECONDS.observe(seconds)
    return Attempt(at=at, status_code=status, error=error, duration_ms=int(1000 * seconds))


def _describe_failure(status: int) -> str | None:
    if 200 <= status < 300:
        return None
    return f"The endpoint answered {status}{'; redirects are not followed' if 300 <= status < 400 else ''}."
