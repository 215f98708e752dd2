"""Order in which the events of a pass count: by instant, and a correction after the event that it corrects."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace

from .events import Event


def is_made_here(event: Event) -> bool:
    """Return whether a walk of this pass made the event, so that it follows all that counted before.

    One that a walk of a merged pass made may precede what counted here.
    """
    return event.step > 0 and event.move is None


def sort_events(events: Iterable[Event]) -> list[Event]:
    """Return the events in the order in which they count, each id once."""
    unique_events = {event.id: event for event in events}
    if all(event.correction_of is None for event in unique_events.values()):
        # Equal to the order below, and faster: histories have many events, and most have no correction.
        return sorted(unique_events.values(), key=lambda event: (event.occurred_at, event.step, event.id))
    return sorted(complete_orders(unique_events.values()), key=lambda event: event.order)


def complete_orders(events: Iterable[Event]) -> list[Event]:
    """Return the same events, in which each correction names the order of its original, if the original is among them.

    Version 0.1.0 recorded corrections without that order.
    """
    completed = list(events)
    if all(event.correction_of is None or event.corrected_order is not None for event in completed):
        return completed
    by_id = {event.id: event for event in completed}
    return [_complete(event, by_id) for event in completed]


def _complete(event: Event, by_id: dict[str, Event]) -> Event:
    """Return the event with the order of its original. The corrections between both are completed first."""
    chain = {event.id: event}
    latest = event
    while latest.corrected_order is None and latest.correction_of is not None:
        original = by_id.get(latest.correction_of)
        if original is None or original.id in chain:
            break
        chain[original.id] = latest = original
    _, latest = chain.popitem()
    while chain:
        _, correction = chain.popitem()
        latest = by_id[correction.id] = replace(correction, corrected_order=latest.depth_order)
    return latest


def originals_of(events: Iterable[Event]) -> set[str]:
    """Return the ids of the events that corrections among these events correct."""
    return {event.correction_of for event in events if event.correction_of is not None}


def without_waiting(
    events: Sequence[Event], still_pending: Collection[str], *, has_unread: bool = False
) -> list[Event]:
    """Return the events that a walk may take, in the order in which they count.

    A correction waits for its original, if that is pending outside of the events. With `has_unread`, more events of the last
    instant may be pending, and guarded events of that instant wait for them, unless nothing else is left.
    """
    if all(event.correction_of is None and event.guard is None for event in events):
        return list(events)
    ids, last_ms = {event.id for event in events}, max(event.occurred_ms for event in events)
    ready: list[tuple[tuple[int, bool], Event]] = []
    held: list[Event] = []
    waiting, guarded = set[str](), set[str]()
    # By `order`, each correction follows its original.
    for event in sorted(complete_orders(events), key=lambda event: event.order):
        original = event.correction_of
        if original in waiting or (original in still_pending and original not in ids):
            waiting.add(event.id)
            continue
        if event.guard is not None or original in guarded:
            guarded.add(event.id)
        if has_unread and event.id in guarded and event.order_ms >= last_ms:
            held.append(event)
        else:
            ready.append(((event.order_ms, event.id in guarded), event))
    return [event for _, event in sorted(ready, key=lambda item: item[0])] or held
