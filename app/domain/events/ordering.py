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


def without_waiting(events: Sequence[Event], still_pending: Collection[str]) -> list[Event]:
    """Return the events in the order in which they count, without corrections whose original waits outside of them."""
    if not originals_of(events):
        return list(events)
    ids = {event.id for event in events}
    ready: list[Event] = []
    waiting: set[str] = set()
    # By `order`, each correction follows its original.
    for event in sorted(complete_orders(events), key=lambda event: event.order):
        original = event.correction_of
        if original is not None and (original in waiting or (original in still_pending and original not in ids)):
            waiting.add(event.id)
        else:
            ready.append(event)
    return ready
