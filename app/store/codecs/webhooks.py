"""Attempts and blocked heads of webhook endpoints as documents, and back."""

from __future__ import annotations

from collections.abc import Iterable

from app.domain.values.instants import to_ms
from app.domain.webhooks.deliveries import MAX_ATTEMPTS_SHOWN, Attempt
from app.domain.webhooks.partitions import BlockedHead, EndpointHealth
from app.store.mongo.queries import Doc


def attempt_to_doc(attempt: Attempt) -> Doc:
    """Return the document of an attempt."""
    return {
        "at": attempt.at,
        "status_code": attempt.status_code,
        "error": attempt.error,
        "ms": attempt.duration_ms,
    }


def attempt_from_doc(doc: Doc) -> Attempt:
    """Return the attempt of a document."""
    return Attempt(at=doc["at"], status_code=doc["status_code"], error=doc["error"], duration_ms=doc["ms"])


def attempts_to_docs(attempts: Iterable[Attempt]) -> list[Doc]:
    """Return the documents of the last attempts, at most `MAX_ATTEMPTS_SHOWN`."""
    return [attempt_to_doc(each) for each in list(attempts)[-MAX_ATTEMPTS_SHOWN:]]


def attempts_from_docs(docs: Iterable[Doc]) -> tuple[Attempt, ...]:
    """Return the attempts of their documents."""
    return tuple(attempt_from_doc(doc) for doc in docs)


def head_to_doc(head: BlockedHead) -> Doc:
    """Return the document of a blocked head."""
    return {
        "tries": head.attempt_count,
        "at": head.retry_at_ms,
        "since": head.blocked_ms,
        "attempts": attempts_to_docs(head.attempts),
        "activity": head.activity_id,
    }


def head_from_doc(doc: Doc) -> BlockedHead:
    """Return the blocked head of a document. Version 0.1.0 stored neither `since` nor `activity`."""
    attempts = attempts_from_docs(doc["attempts"])
    since_ms = doc["since"] if "since" in doc else to_ms(attempts[0].at) if attempts else 0
    return BlockedHead(doc["tries"], doc["at"], since_ms, attempts=attempts, activity_id=doc.get("activity"))


def health_from_doc(doc: Doc) -> EndpointHealth:
    """Return the health of an endpoint from the document of its progress."""
    return EndpointHealth(
        failures=doc["failures"],
        failing_since_ms=doc.get("since"),
        circuit_opened_ms=doc.get("away_since"),
        probe_pauses=doc["holds"],
    )
