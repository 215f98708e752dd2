"""Messages and their templates as documents, and back."""

from __future__ import annotations

from app.domain.messages.messages import Message, MessageCause, MessageOrigin, MessageReason, MessageStatus
from app.domain.values.instants import from_ms, to_ms
from app.store.mongo.queries import Doc

from .webhooks import attempts_from_docs, attempts_to_docs

_CAUSE = {"event": "event_id", "rule": "rule_id", "rule_key": "rule_key", "activity": "activity_id", "job": "job_id"}
"""Stored names of the fields of a cause."""


def message_to_doc(message: Message) -> Doc:
    """Return the document of a message, without its workspace."""
    return {**_fixed_fields(message), **changing_fields(message)}


def _fixed_fields(message: Message) -> Doc:
    cause: Doc = {"origin": message.cause.origin.value}
    cause |= {key: value for key, name in _CAUSE.items() if (value := getattr(message.cause, name)) is not None}
    return {
        "_id": message.id,
        "channel": message.channel_id,
        "pass": message.pass_id,
        "template": message.template_id,
        "cause": cause,
        "created_at": message.created_at,
    }


def changing_fields(message: Message) -> Doc:
    """Return the fields of a message that may change; those without a value are left out."""
    doc: Doc = {
        "status": message.status.value,
        "queued_at": message.queued_at,
        "valid_until": message.expires_at,
        "failures": message.failures,
        "generation": message.generation,
        "attempts": attempts_to_docs(message.attempts),
        "updated_at": message.updated_at,
        "due": None if message.due_at is None else to_ms(message.due_at),
        "held": None if message.held_until is None else to_ms(message.held_until),
        "reason": None if message.reason is None else message.reason.value,
        "error": message.error,
        "sent_at": message.sent_at,
    }
    return {name: value for name, value in doc.items() if value is not None}


OPTIONAL_FIELDS = ("valid_until", "due", "held", "reason", "error", "sent_at")


def message_from_doc(doc: Doc) -> Message:
    """Return the message of a document."""
    due, held, reason = doc.get("due"), doc.get("held"), doc.get("reason")
    cause = {name: doc["cause"].get(key) for key, name in _CAUSE.items()}
    return Message(
        id=doc["_id"],
        channel_id=doc["channel"],
        pass_id=doc["pass"],
        template_id=doc["template"],
        cause=MessageCause(MessageOrigin(doc["cause"]["origin"]), **cause),
        queued_at=doc["queued_at"],
        created_at=doc["created_at"],
        updated_at=doc["updated_at"],
        expires_at=doc.get("valid_until"),
        status=MessageStatus(doc["status"]),
        due_at=None if due is None else from_ms(due),
        held_until=None if held is None else from_ms(held),
        failures=doc["failures"],
        generation=doc["generation"],
        reason=None if reason is None else MessageReason(reason),
        error=doc.get("error"),
        sent_at=doc.get("sent_at"),
        attempts=attempts_from_docs(doc["attempts"]),
    )
