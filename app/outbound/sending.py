"""Results of sending messages to customers, whatever the provider."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from app.domain.values.instants import from_ms
from app.domain.webhooks.deliveries import Attempt

MAX_ERROR_CHARACTERS = 200
"""Characters of an error that are kept: a provider may repeat the address in it, after its reason."""


class SendOutcome(StrEnum):
    """Whether the provider took a message, refused this one for good, or could not be asked."""

    ACCEPTED = "ACCEPTED"
    REFUSED = "REFUSED"
    FAILED = "FAILED"


@dataclass(frozen=True, slots=True)
class SendResult:
    """The result of one attempt, and the seconds for which the provider asked to wait, else 0."""

    outcome: SendOutcome
    attempt: Attempt
    retry_after_seconds: int = 0


class Stopwatch:
    """Start of an attempt. `now_ms` is the system clock."""

    def __init__(self, now_ms: Callable[[], int]) -> None:
        self.at: datetime = from_ms(now_ms())
        self._started = time.monotonic()

    def attempt(self, status: int | None, error: str | None) -> Attempt:
        """Return the attempt, which ends now. `status` is that of HTTP or SMTP."""
        kept = None if error is None else " ".join(error.split())[:MAX_ERROR_CHARACTERS]
        return Attempt(
            at=self.at,
            status_code=status,
            error=kept,
            duration_ms=int(1000 * (time.monotonic() - self._started)),
        )
