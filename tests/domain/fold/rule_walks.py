"""Rules and events for tests of walks with rules."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from decimal import Decimal

from app.domain.definitions import Definitions, DefinitionVersion
from app.domain.events.events import EVENT_REMOVED, POINT_ADD, POINT_SUB, RULE_FIRED, Event
from app.domain.events.tombstones import tombstone_id
from app.domain.rules.effects import AwardExpiry, AwardPoints, Effect, PointsPerAmount
from app.domain.rules.rules import RuleStatus, RuleVersion
from app.domain.rules.triggers import EventTrigger, Trigger
from app.domain.segments.parsing import parse_criteria
from app.domain.segments.segments import Version
from app.domain.values.instants import from_ms

from .test_advance import START, PassSimulation, purchase_event

PURCHASE = EventTrigger(("purchase",), currency="USD")


def rule(
    key: str, *effects: Effect, trigger: Trigger = PURCHASE, revision: int = 1, version: int = 1, at_ms: int = START - 2,
    first_at: datetime | None = None,
    **fields: object,
) -> RuleVersion:  # fmt: skip
    """Return a version of a rule that is in force before the pass exists."""
    return RuleVersion(
        f"rule_{key}",
        key,
        revision,
        version,
        from_ms(at_ms),
        first_at or from_ms(START - 2),
        RuleStatus.ACTIVE,
        trigger,
        effects,
        **fields,  # type: ignore[arg-type]
    )


def fixed(points: int | str, **fields: object) -> AwardPoints:
    """Return an award of fixed points."""
    return AwardPoints(fixed=Decimal(points), **fields)  # type: ignore[arg-type]


def per_dollar(points: int | str = 1, each: int | str = 1, **fields: object) -> AwardPoints:
    """Return an award of points for each full amount."""
    return AwardPoints(per_amount=PointsPerAmount(Decimal(points), Decimal(each)), **fields)  # type: ignore[arg-type]


def after_days(days: int) -> AwardExpiry:
    """Return an expiry a number of days after the award."""
    return AwardExpiry(after_days=days)


def segment(name: str, criteria: Mapping[str, object], revision: int = 100, at_ms: int = START - 2) -> Version:
    """Return a version of a segment."""
    return Version(
        f"seg_{name}", revision, 1, criteria=parse_criteria(criteria, "USD"), timezone="UTC", archived=False,
        notify="EMIT", at=from_ms(at_ms),
    )  # fmt: skip


def defined(*versions: DefinitionVersion) -> Definitions:
    """Return definitions with a revision for each version, in their order."""
    return Definitions(replace(version, revision=number) for number, version in enumerate(versions, 1))


def refund(i: int, at_ms: int, amount: int, original: Event, **fields: object) -> Event:
    """Return a refund of a part of an event."""
    event = purchase_event(i, at_ms, Decimal(amount), **fields)  # type: ignore[arg-type]
    return replace(
        event, type="refund", correction_of=original.id, root=original.family, corrected_order=original.depth_order
    )


def removal(target: Event, at_ms: int) -> Event:
    """Return the tombstone of an event."""
    event = purchase_event(0, at_ms)
    return replace(event, id=tombstone_id(target.id), type=EVENT_REMOVED, amount=None, currency=None, removes=target.id)


class RuleSimulation(PassSimulation):
    """A pass, with what rules made on it."""

    def play(self, *events: Event, until_ms: int | None = None) -> None:
        """Fold each event when it was recorded, then fold until an instant."""
        for event in sorted(events, key=lambda each: each.recorded_ms):
            self.pending.append(event)
            self.fold_until(event.recorded_ms)
        if until_ms is not None:
            self.fold_until(until_ms)

    @property
    def made(self) -> list[Event]:
        """The events that rules made, in the order in which they counted."""
        return [entry.made for entry in self.entries if entry.made is not None]

    @property
    def fired(self) -> list[Event]:
        """The firings."""
        return [event for event in self.made if event.type == RULE_FIRED]

    @property
    def given(self) -> list[int]:
        """The points that rules gave and took, in order."""
        return [int(event.points) for event in self.made if event.type in (POINT_ADD, POINT_SUB)]

    @property
    def balance(self) -> int:
        """The balance of points."""
        return int(self.card.points)
