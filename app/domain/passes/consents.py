"""Consents of a customer: what messages the customer agreed to receive.

A change of a consent is an internal event of the pass. So it follows the order of events, merges, removals and erasures.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from app.domain.events.events import CONSENT_EVENTS, CONSENT_GIVEN, Event

MAX_CONSENTS = 100
"""Keys of consents that one pass has a state for."""


@dataclass(frozen=True, slots=True)
class Consent:
    """State of one consent: given or revoked, since when, by which event, and how the customer said so."""

    given: bool
    since_ms: int
    event_id: str
    how: str | None = None


Consents = Mapping[str, Consent]
"""Consents by key."""


def consent_metadata(key: str, channel_key: str, how: str | None) -> dict[str, object]:
    """Return the metadata of an event that gives or revokes a consent."""
    return {"consent": key, "channel": channel_key, **({} if how is None else {"how": how})}


def change_consents(consents: Consents, event: Event) -> Consents:
    """Return the consents of a pass after one more event, which is later than all events applied before.

    An event that says what holds already changes nothing: `since` is when the customer said so first.
    """
    assert event.type in CONSENT_EVENTS
    key, given = str(event.metadata["consent"]), event.type == CONSENT_GIVEN
    before = consents.get(key)
    if (before is not None and before.given == given) or (before is None and len(consents) >= MAX_CONSENTS):
        return consents
    how = event.metadata.get("how")
    return {**consents, key: Consent(given, event.occurred_ms, event.id, how=None if how is None else str(how))}
