"""Outbound: one try of one message at a webhook endpoint, signed, timed, and never followed elsewhere."""

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
ATTEMPT_TIMEOUT_SECONDS = 15.0
"""How long one try may take in all."""


@dataclass(frozen=True, slots=True)
class AttemptResult:
    """What came of one try, and for how many seconds the endpoint asked to be left alone."""

    attempt: Attempt
    retry_after_seconds: int = 0

    @property
    def succeeded(self) -> bool:
        """Whether the endpoint took the message: it answered 200 to 299."""
        return self.attempt.status_code is not None and 200 <= self.attempt.status_code < 300

    @property
    def gone(self) -> bool:
        """Whether it wants no message ever again."""
        return self.attempt.status_code == GONE_STATUS


async def send(
    posting: Poster,
    url: str,
    secrets: Iterable[HookSecret],
    message: Message,
    now_ms: Callable[[], int],
    seconds: float = ATTEMPT_TIMEOUT_SECONDS,
) -> AttemptResult:
    """What came of one try, signed by every secret that is good now. Never raises for what an endpoint does."""
    at, begun = from_ms(now_ms()), time.monotonic()
    usable = [secret.text for secret in secrets if secret.usable_at(at)]
    with tracing.span("webhook") as span:
        headers = sign_headers(message, usable, int(at.timestamp()), tracing.traceparent())
        try:
            answer = await posting.post(url, headers, message.body, seconds)
        except RequestFailed as error:
            span.failed(error.message)
            return AttemptResult(_attempt(at, begun, None, error.message))
        span.note(http__response__status_code=answer.status)
    return AttemptResult(
        _attempt(at, begun, answer.status, _problem(answer.status)), parse_retry_after(answer.retry_after, at)
    )


def _attempt(at: datetime, begun: float, status: int | None, problem: str | None) -> Attempt:
    seconds = time.monotonic() - begun
    metrics.DELIVERY_SECONDS.observe(seconds)
    return Attempt(at, status, problem, int(1000 * seconds))


def _problem(status: int) -> str | None:
    if 200 <= status < 300:
        return None
    return f"It answered {status}{'; redirects are not followed' if 300 <= status < 400 else ''}."
