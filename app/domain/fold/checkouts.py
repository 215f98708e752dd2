"""Differences of checkouts: what an update, a reject or a removal changes in the total of a checkout.

The walk makes at most one event for each checkout that was corrected at an instant. Its amount is the difference between the
total that holds now, and what the checkout and the differences made so far come to.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal

from app.domain.events.corrections import is_opposite
from app.domain.events.events import (
    CHECKOUT,
    CHECKOUT_CORRECTIONS,
    CHECKOUT_DECREASED,
    CHECKOUT_DIFFERENCES,
    CHECKOUT_INCREASED,
    CHECKOUT_REJECT,
    MERGE_FINISHED,
    OWN_SOURCE,
    Category,
    Event,
    Origin,
)
from app.domain.events.spend import signed_amount
from app.domain.ids import checkout_difference_id
from app.domain.rules.occurrences import is_of_merge
from app.domain.rules.terms import net_amount
from app.domain.values.decimals import ZERO, add, subtract
from app.domain.values.instants import from_ms

from .lacks import DataMissing
from .walk import Walk


def checkout_differences(walk: Walk, at_ms: int, events: Sequence[Event]) -> list[Event]:
    """Return the differences for all checkouts that events correct which counted at an instant. They do not count yet.

    The last correction of a checkout names the cause. Raises DataMissing.
    """
    causes = {
        event.family: event.id for event in events if event.type in CHECKOUT_CORRECTIONS and not is_of_merge(event)
    }
    finished = [event.id for event in events if event.type == MERGE_FINISHED]
    if finished and _has_corrections(walk):
        counted = [event for event in walk.derived.counted if event.type in CHECKOUT_CORRECTIONS]
        causes = {**{event.family: finished[-1] for event in counted}, **causes}
    return _differences(walk, at_ms, causes)


def checkout_differences_of_removals(walk: Walk, at_ms: int, causes: Mapping[str, str]) -> list[Event]:
    """Return the differences for the families of removed events, by root and id of the tombstone. Raises DataMissing."""
    return _differences(walk, at_ms, causes if _has_corrections(walk) or walk.derived.made_aggregates else {})


def _has_corrections(walk: Walk) -> bool:
    return any(kind in CHECKOUT_CORRECTIONS for kind, _ in walk.derived.aggregates)


def _differences(walk: Walk, at_ms: int, causes: Mapping[str, str]) -> list[Event]:
    unread = [root for root in causes if not walk.has_family(root)]
    if unread:
        raise DataMissing(families=frozenset(unread))
    made = []
    for root, cause in causes.items():
        members = walk.family_members(root)
        # While a member lies on another pass, the difference waits for the end of the merge.
        event = None if members is None else _difference(walk, at_ms, root, cause, members)
        if event is not None:
            made.append(event)
    return made


def _difference(walk: Walk, at_ms: int, root: str, cause: str, members: Sequence[Event]) -> Event | None:
    checkout = next((event for event in members if event.id == root and event.type == CHECKOUT), None)
    changes = [event for event in members if event.type in CHECKOUT_DIFFERENCES]
    if checkout is None and not changes:
        return None
    example = checkout or changes[0]
    present = ZERO if checkout is None else signed_amount(checkout)
    for event in changes:
        present = add(present, signed_amount(event))
    total = ZERO if checkout is None else total_of(checkout, members)
    if total == present:
        return None
    amount = subtract(total, present)
    at = from_ms(at_ms)
    return Event(
        id=checkout_difference_id(cause, root),
        pass_id=walk.card.id,
        category=Category.TRANSACTION,
        type=CHECKOUT_INCREASED if amount > 0 else CHECKOUT_DECREASED,
        amount=abs(amount),
        currency=example.currency,
        points=ZERO,
        source=OWN_SOURCE,
        external_id=None,
        metadata={},
        occurred_at=at,
        recorded_at=from_ms(walk.recorded_ms),
        origin=Origin("INTERNAL", cause=cause, target=root),
        correction_of=root,
        corrected_order=None if checkout is None else checkout.depth_order,
        root=root,
    )


def total_of(checkout: Event, members: Sequence[Event]) -> Decimal:
    """Return the total by the last correction that counts: its new total, or what was refunded if it is a reject."""
    corrections = [event for event in members if event.type in CHECKOUT_CORRECTIONS]
    if not corrections:
        return checkout.amount or ZERO
    latest = max(corrections, key=lambda event: event.order)
    return refunded_of(checkout, members) if latest.type == CHECKOUT_REJECT else latest.amount or ZERO


def refunded_of(checkout: Event, members: Sequence[Event]) -> Decimal:
    """Return what refunds and credits took back of a checkout, less what corrections of them gave again."""
    total = ZERO
    for event in members:
        if event.correction_of == checkout.id and is_opposite(event, checkout) and not event.is_made:
            total = add(total, net_amount(event, members) or ZERO)
    return total
