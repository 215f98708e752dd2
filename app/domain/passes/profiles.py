"""How events change the profile of a pass: sets by (occurredAt, id), increments after the last set, a late one rebuilds."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from decimal import Decimal

from app.domain.events.events import PASS_UPDATED, Event
from app.domain.values.conditions import number_of
from app.domain.values.decimals import ZERO, add, canonical, subtract

from .passes import Profile, apply_changes

FIELD_EVENTS = frozenset({"field_updated", "field_increment", "field_decrement", PASS_UPDATED})


def apply_field_event(profile: Profile, event: Event) -> Profile:
    """The profile after one field change or update that is later than all before it."""
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
        now = number_of(fields.get(event.field_name)) or ZERO
        total = add(now, step) if event.type == "field_increment" else subtract(now, step)
        fields[event.field_name] = int(total) if total == total.to_integral_value() else canonical(total)
    return replace(profile, fields=fields)


def rebuild_profile(base: Profile, events: Iterable[Event]) -> Profile:
    """The profile from its fields as created and all events that count; order of arrival does not matter."""
    profile = base
    for event in sorted((e for e in events if e.type in FIELD_EVENTS), key=lambda e: (e.occurred_at, e.id)):
        profile = apply_field_event(profile, event)
    return profile


def step_of(event: Event) -> Decimal:
    """By how much an increment or decrement moves its field: its amount, else newValue - oldValue, else newValue."""
    if event.amount is not None:
        return event.amount
    new, old = number_of(event.new_value), number_of(event.old_value)
    if new is None:
        return ZERO
    if old is None:
        return new
    return subtract(new, old) if event.type == "field_increment" else subtract(old, new)
