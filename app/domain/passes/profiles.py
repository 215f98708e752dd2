"""Changes of a pass's profile by events, in order of (occurredAt, id). A late change rebuilds the profile."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from decimal import Decimal

from app.domain.events.events import PASS_UPDATED, Event
from app.domain.values.conditions import number_of
from app.domain.values.decimals import ZERO, add, canonical, subtract

from .passes import Profile, apply_changes

FIELD_EVENTS = frozenset({"field_updated", "field_increment", "field_decrement", PASS_UPDATED})
"""Types of the events that change a profile."""


def apply_field_event(profile: Profile, event: Event) -> Profile:
    """Return the profile after one more event, which is later than all events applied before."""
    if event.type == PASS_UPDATED:
        return apply_changes(profile, event.changes)
    if event.field_name is None:
        return profile
    fields = dict(profile.fields)
    if event.type == "field_updated":
        if event.new_value is None:
            fields.pop(event.field_name, None)
        else:
            fields[event.field_name] = event.new_value
    else:
        step = step_of(event)
        current = number_of(fields.get(event.field_name)) or ZERO
        total = add(current, step) if event.type == "field_increment" else subtract(current, step)
        fields[event.field_name] = int(total) if total == total.to_integral_value() else canonical(total)
    return replace(profile, fields=fields)


def rebuild_profile(initial: Profile, events: Iterable[Event]) -> Profile:
    """Return the profile from the initial one and all events that count, in any order."""
    profile = initial
    for event in sorted((e for e in events if e.type in FIELD_EVENTS), key=lambda e: (e.occurred_at, e.id)):
        profile = apply_field_event(profile, event)
    return profile


def step_of(event: Event) -> Decimal:
    """Return the step of an increment or decrement, as a number to add or to subtract.

    The step is the amount of the event. Without an amount, it is the difference of newValue and oldValue; without an
    oldValue, it is newValue.
    """
    if event.amount is not None:
        return event.amount
    new, old = number_of(event.new_value), number_of(event.old_value)
    if new is None:
        return ZERO
    if old is None:
        return new
    return subtract(new, old) if event.type == "field_increment" else subtract(old, new)
