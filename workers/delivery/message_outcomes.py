"""Outcomes of messages to customers: what an attempt makes of a message, and the event that reports it.

This module decides and does no I/O.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from app.domain.events.events import MESSAGE_FAILED, MESSAGE_SENT, Event, Origin
from app.domain.events.own_events import own_event
from app.domain.ids import message_outcome_id
from app.domain.messages.channels import Channel
from app.domain.messages.messages import Message, MessageReason, MessageStatus
from app.domain.messages.rendering import Obstacle
from app.domain.values.instants import from_ms
from app.domain.webhooks.deliveries import next_attempt_ms
from app.outbound.sending import SendOutcome, SendResult

SUPPRESSING = frozenset(
    {
        MessageReason.NO_ADDRESS, MessageReason.NO_CONSENT, MessageReason.FREQUENCY_CAP, MessageReason.EXPIRED,
    }
)  # fmt: skip
"""Reasons for which a message is SUPPRESSED: nothing failed. For all others it is FAILED."""


def end_by(message: Message, obstacle: Obstacle, now: datetime) -> Message:
    """Return a message that is not sent. `now` is system time."""
    status = MessageStatus.SUPPRESSED if obstacle.reason in SUPPRESSING else MessageStatus.FAILED
    return message.ended(status, now, obstacle.reason, obstacle.sentence)


def hold(message: Message, until: datetime, at: datetime, now: datetime) -> Message:
    """Return a message that waits for the end of quiet hours, or for its own end if that is earlier.

    `until` and `at`, the present, are business time; `now` is the present in system time.
    """
    end = until if message.expires_at is None else min(until, message.expires_at)
    return replace(message, held_until=end, due_at=now + max(end - at, timedelta(0)), updated_at=now)


def after_attempt(
    message: Message, result: SendResult, at: datetime, now_ms: int, *, chance: float, is_channel_failing: bool
) -> Message:
    """Return a message after an attempt. `at` is business time.

    A failure is retried by the schedule of webhooks. While the channel accepts nothing, a failure does not count against
    the message.
    """
    now, message = from_ms(now_ms), message.with_attempt(result.attempt)
    match result.outcome:
        case SendOutcome.ACCEPTED:
            return replace(message.ended(MessageStatus.SENT, now), sent_at=at)
        case SendOutcome.REFUSED:
            return message.ended(MessageStatus.FAILED, now, MessageReason.REFUSED, result.attempt.error)
    if is_channel_failing:
        return replace(message, due_at=now)
    failures = message.failures + 1
    due_ms = next_attempt_ms(failures, now_ms, chance, result.retry_after_seconds)
    if due_ms is None:
        return message.ended(MessageStatus.FAILED, now, MessageReason.UNREACHABLE, result.attempt.error)
    return replace(message, failures=failures, due_at=from_ms(due_ms))


def outcome_event(message: Message, channel: Channel, pass_id: str, at: datetime) -> Event:
    """Return the event that reports the outcome of a message on the pass that now answers for its pass.

    Its id follows from the message, so that each outcome is recorded once.
    """
    cause = message.cause
    details = {
        "message": message.id,
        "channel": channel.key,
        "via": channel.route,
        "status": message.status.value,
        "reason": None if message.reason is None else message.reason.value,
        "error": message.error,
        "origin": cause.origin.value,
        "rule": cause.rule_key,
        "job": cause.job_id,
        "event": cause.event_id,
    }
    return own_event(
        message_outcome_id(message.id, message.generation),
        pass_id,
        MESSAGE_SENT if message.status is MessageStatus.SENT else MESSAGE_FAILED,
        at=at,
        origin=Origin("INTERNAL"),
        metadata={name: value for name, value in details.items() if value is not None},
    )


def adopt(message: Message, recorded: Event, now: datetime) -> Message:
    """Return a message with the outcome that was recorded before, by a worker that crashed before it stored it."""
    status, reason = MessageStatus(str(recorded.metadata["status"])), recorded.metadata.get("reason")
    error = recorded.metadata.get("error")
    ended = message.ended(
        status, now, None if reason is None else MessageReason(str(reason)), None if error is None else str(error)
    )
    return replace(ended, sent_at=recorded.occurred_at) if status is MessageStatus.SENT else ended
