"""Consents of a pass."""

from __future__ import annotations

from datetime import datetime

import strawberry

from app.domain.passes import consents as domain
from app.domain.values.instants import from_ms
from app.graphql.types.ids import to_global_id


@strawberry.type
class Consent:
    """State of a consent to receive messages. Channels with this `consentKey` send only while it is given."""

    key: str = strawberry.field(description="Key of the consent.")
    given: bool = strawberry.field(description="Whether the consent is given; false if the customer took it back.")
    since: datetime = strawberry.field(description="Instant since which this state holds.")
    source: str | None = strawberry.field(
        description='How the customer said so, for example "checkout" or "one-click unsubscribe"; null if unknown.'
    )
    event_id: strawberry.ID = strawberry.field(description="Id of the event that made this state.")


def consents_of(consents: domain.Consents) -> list[Consent]:
    """Return the GraphQL objects of consents, by key."""
    return [
        Consent(
            key=key,
            given=consent.given,
            since=from_ms(consent.since_ms),
            source=consent.how,
            event_id=strawberry.ID(to_global_id("Event", consent.event_id)),
        )
        for key, consent in sorted(consents.items())
    ]
