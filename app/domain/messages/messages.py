"""Messages: their states, what they were queued for, and the retry of one that failed.

A message holds ids only. The text and the address are rendered when it is sent, and are not kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from app.domain.ids import channel_id
from app.domain.rules.parsing_effects import DEFAULT_VALID_HOURS
from app.domain.webhooks.deliveries import MAX_ATTEMPTS_SHOWN, Attempt


class MessageStatus(StrEnum):
    """State of a message. All but QUEUED are outcomes; `retryMessages` queues a FAILED one again."""

    QUEUED = "QUEUED"
    SENT = "SENT"
    FAILED = "FAILED"
    SUPPRESSED = "SUPPRESSED"


class MessageReason(StrEnum):
    """Why a message was not sent."""

    NO_ADDRESS = "NO_ADDRESS"
    BAD_ADDRESS = "BAD_ADDRESS"
    NO_CONSENT = "NO_CONSENT"
    FREQUENCY_CAP = "FREQUENCY_CAP"
    EXPIRED = "EXPIRED"
    CHANNEL_MISSING = "CHANNEL_MISSING"
    TEMPLATE = "TEMPLATE"
    REFUSED = "REFUSED"
    UNREACHABLE = "UNREACHABLE"


class MessageOrigin(StrEnum):
    """What queued a message: a rule, a broadcast, `sendMessage`, or `testChannel`."""

    RULE = "RULE"
    BROADCAST = "BROADCAST"
    API = "API"
    TEST = "TEST"


@dataclass(frozen=True, slots=True)
class MessageCause:
    """What a message was queued for, by ids.

    - `event_id`: the event that templates read as `event`; None if there is none.
    - `rule_id`, `rule_key`, `activity_id`: the rule, and the activity of its firing.
    - `job_id`: the broadcast.
    """

    origin: MessageOrigin
    event_id: str | None = None
    rule_id: str | None = None
    rule_key: str | None = None
    activity_id: str | None = None
    job_id: str | None = None


@dataclass(frozen=True, slots=True)
class Message:
    """One message to the holder of a pass.

    `queued_at`, `expires_at` and `sent_at` are business time; `created_at`, `updated_at` and `due_at` are system time.

    - `due_at`: when the message is sent or tried again; set only while it is QUEUED.
    - `held_until`: end of the quiet hours that it waits for, in business time.
    - `failures`: failed attempts since it was last queued. `generation` counts how often `retryMessages` queued it.
    - `reason`, `error`: why it was not sent, as a code and as a sentence.
    """

    id: str
    channel_id: str
    pass_id: str
    template_id: str
    cause: MessageCause
    queued_at: datetime
    created_at: datetime
    updated_at: datetime
    expires_at: datetime | None = None
    status: MessageStatus = MessageStatus.QUEUED
    due_at: datetime | None = None
    held_until: datetime | None = None
    failures: int = 0
    generation: int = 0
    reason: MessageReason | None = None
    error: str | None = None
    sent_at: datetime | None = None
    attempts: tuple[Attempt, ...] = ()

    @classmethod
    def queued(
        cls,
        message_id: str,
        *,
        workspace_id: str,
        channel_key: str,
        pass_id: str,
        template_id: str,
        cause: MessageCause,
        at: datetime,
        now: datetime,
        valid_for_hours: int | None = DEFAULT_VALID_HOURS,
    ) -> Message:
        """Return a QUEUED message, due at once.

        `at` is the instant of the firing or call, in business time; validity counts from it. `now` is system time.
        """
        return cls(
            id=message_id,
            channel_id=channel_id(workspace_id, channel_key),
            pass_id=pass_id,
            template_id=template_id,
            cause=cause,
            queued_at=at,
            created_at=now,
            updated_at=now,
            expires_at=None if valid_for_hours is None else at + timedelta(hours=valid_for_hours),
            due_at=now,
        )

    def with_attempt(self, attempt: Attempt) -> Message:
        """Return the message with one more attempt listed."""
        return replace(self, attempts=(*self.attempts, attempt)[-MAX_ATTEMPTS_SHOWN:], updated_at=attempt.at)

    def ended(
        self, status: MessageStatus, now: datetime, reason: MessageReason | None = None, error: str | None = None
    ) -> Message:
        """Return the message with an outcome. `now` is system time."""
        return replace(
            self, status=status, reason=reason, error=error, due_at=None, held_until=None, updated_at=now
        )  # fmt: skip

    def queued_again(self, at: datetime, now: datetime) -> Message:
        """Return a FAILED or SUPPRESSED message queued again; its validity begins anew at `at`, in business time."""
        valid = None if self.expires_at is None else self.expires_at - self.queued_at
        return replace(
            self,
            status=MessageStatus.QUEUED,
            queued_at=at,
            expires_at=None if valid is None else at + valid,
            due_at=now,
            failures=0,
            generation=self.generation + 1,
            reason=None,
            error=None,
            updated_at=now,
        )


@dataclass(frozen=True, slots=True)
class MessageQuery:
    """A filter of messages; an empty field matches every message. `pass_ids` are a pass and its aliases."""

    pass_ids: Sequence[str] = ()
    channel_id: str | None = None
    statuses: Sequence[MessageStatus] = ()
    job_id: str | None = None
    rule_id: str | None = None
