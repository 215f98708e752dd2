"""Changes of a pass's profile by events, in the order in which events count. A late change rebuilds the profile.

The instant of installation needs no order: it is the earliest one of all events that count.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from decimal import Decimal

from app.domain.events.events import (
    CONSENT_EVENTS,
    FIELD_ROOTS,
    INSTALLED,
    LIST_EVENTS,
    PASS_UPDATED,
    UNINSTALLED,
    Event,
)
from app.domain.events.ordering import sort_events
from app.domain.events.replays import Replay
from app.domain.state.aggregates import Aggregates
from app.domain.values.decimals import ZERO, add_exactly, canonical, read_number, subtract_exactly
from app.domain.values.instants import from_ms
from app.domain.values.text import MAX_JSON_INTEGER

from .consents import change_consents
from .lists import change_lists
from .passes import ACTIVE, INACTIVE, Profile, apply_changes, entry_size

UPDATES = frozenset({"field_updated", "field_increment", "field_decrement", PASS_UPDATED, INSTALLED, UNINSTALLED})
"""Types of the events that change holder, fields, metadata or status, so that `Pass.updatedAt` follows them."""
FIELD_EVENTS = UPDATES | LIST_EVENTS | CONSENT_EVENTS
"""Types of the events that change a profile."""

_STATUSES = {INSTALLED: (INACTIVE, ACTIVE), UNINSTALLED: (ACTIVE, INACTIVE)}
"""The status that an event of the type changes, and the status afterwards. Other statuses stay."""

MAX_PROBLEMS = 100
"""Fields that the problems of a profile name, because of changes that would make the profile too large."""


def rebuilds_profile(event: Event, evaluated_until_ms: int) -> bool:
    """Return whether the event changes the profile, and may count after events that follow it in order.

    The profile is then rebuilt from all events.
    """
    return event.type in FIELD_EVENTS and (event.historical or event.order_ms <= evaluated_until_ms)


def apply_field_event(profile: Profile, event: Event) -> Profile:
    """Return the profile after one more event, which is later than all events applied before.

    A change that would make the profile too large changes nothing. The profile then names the event in its problems.
    """
    if event.type in LIST_EVENTS:
        return replace(profile, lists=change_lists(profile.lists, event))
    if event.type in CONSENT_EVENTS:
        return replace(profile, consents=change_consents(profile.consents, event))
    if event.type in _STATUSES:
        before, after = _STATUSES[event.type]
        return replace(profile, status=after) if profile.status == before else profile
    if event.type == PASS_UPDATED:
        changed = apply_changes(profile, event.changes)
        keys = {part: event.changes.get(part) for part in FIELD_ROOTS}
    elif event.field_name is not None:
        changed = _change_field(profile, event, event.field_name)
        keys = {"fields": {event.field_name: None}}
    else:
        return profile
    # The sizes of the entries that changed give the size of the whole, which is expensive to compute anew.
    changed.__dict__["size"] = profile.size + sum(
        _size_of(getattr(changed, part), key) - _size_of(getattr(profile, part), key)
        for part, names in keys.items()
        for key in (names if isinstance(names, Mapping) else ())
    )
    if not changed.is_too_large_after(profile):
        return changed
    fields = keys.get("fields")
    names = list(fields)[:MAX_PROBLEMS] if isinstance(fields, Mapping) else []
    problems = {**profile.problems, **dict.fromkeys(names, event.id)}
    return replace(profile, problems=dict(list(problems.items())[-MAX_PROBLEMS:]))


def _size_of(part: Mapping[str, object], key: str) -> int:
    return entry_size(key, part[key]) if key in part else 0


def _change_field(profile: Profile, event: Event, name: str) -> Profile:
    fields = dict(profile.fields)
    problems = {field: event_id for field, event_id in profile.problems.items() if field != name}
    if event.type == "field_updated":
        if event.new_value is None:
            fields.pop(name, None)
        else:
            fields[name] = event.new_value
    else:
        current = ZERO if fields.get(name) is None else read_number(fields[name])
        if current is None:
            # The field holds a text such as "gold", or an object. Keep the value: a step must not replace it.
            return replace(profile, problems={**problems, name: event.id})
        step = step_of(event)
        total = add_exactly(current, step) if event.type == "field_increment" else subtract_exactly(current, step)
        fields[name] = _to_json(total)
    return replace(profile, fields=fields, problems=problems)


def _to_json(number: Decimal) -> int | float | str:
    """Return a number as JSON keeps it. One that has more digits than JSON numbers keep becomes a text."""
    if number == number.to_integral_value() and number.copy_abs() <= MAX_JSON_INTEGER:
        return int(number)
    nearest = float(number)
    return nearest if Decimal(repr(nearest)) == number else canonical(number)


def rebuild_profile(initial: Profile, events: Iterable[Event]) -> Profile:
    """Return the profile from the initial one and all events that count, in any order."""
    profile = initial
    for event in sort_events(event for event in events if event.type in FIELD_EVENTS):
        profile = apply_field_event(profile, event)
    return profile


def replay_profile(initial: Profile, events: Iterable[Event]) -> Replay[Profile]:
    """Return the replay of the profile that `rebuild_profile` returns, from the initial one and all events that count."""
    return Replay(
        events, initial, count=apply_field_event, copy=lambda profile: profile,
        is_relevant=lambda event: event.type in FIELD_EVENTS,
    )  # fmt: skip


def first_installation(*aggregates: Aggregates) -> datetime | None:
    """Return the instant of the earliest installation among the events that count; None if none is one."""
    rows = [row for each in aggregates for key, row in each.items() if key[0] == INSTALLED]
    first_ms = min((row.first_ms for row in rows), default=None)
    return None if first_ms is None else from_ms(first_ms)


def step_of(event: Event) -> Decimal:
    """Return the step of an increment or decrement, as a number to add or to subtract.

    The step is the amount of the event. Without an amount, it is the difference of newValue and oldValue; without an
    oldValue, it is newValue.
    """
    if event.amount is not None:
        return event.amount
    new, old = read_number(event.new_value), read_number(event.old_value)
    if new is None:
        return ZERO
    if old is None:
        return new
    return subtract_exactly(new, old) if event.type == "field_increment" else subtract_exactly(old, new)
