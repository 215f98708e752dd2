"""What followed from an event: what rules made for it."""

from __future__ import annotations

from decimal import Decimal

from app.domain.events.events import POINT_ADD, POINT_SUB, RULE_FIRED, Event
from app.domain.values.decimals import ZERO, add
from app.graphql.context import Info


async def read_made(info: Info, pass_id: str, root: str) -> list[Event]:
    """Return what rules made for the events of a family, in the order in which it counts.

    What a worker made a moment ago is still in the outbox of the pass. The outbox is read first, because publish stores
    the events before it removes them there.
    """
    entries = await info.context.load.outboxes.load(pass_id) or []
    stored = await info.context.load.made.load(root) or []
    found = {event.id: event for event in stored}
    found |= {entry.made.id: entry.made for entry in entries if entry.made is not None and entry.made.root == root}
    return sorted(found.values(), key=lambda event: event.order)


def effects_of(event_id: str, made: list[Event]) -> list[Event]:
    """Return the events that rules made because of an event, without the firings."""
    return [each for each in made if each.origin.cause == event_id and each.type != RULE_FIRED]


def points_earned(event_id: str, made: list[Event]) -> Decimal | None:
    """Return the points that rules gave and took for an event, with the differences that corrections made since.

    None if no rule gave or took points for it.
    """
    given = [
        each.points
        for each in made
        if each.type in (POINT_ADD, POINT_SUB) and (each.origin.target or each.origin.cause) == event_id
    ]
    total = ZERO
    for points in given:
        total = add(total, points)
    return total if given else None
