"""Merges: the events that a merged pass leaves on its survivor: its profile and tier, and the end of the merge."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from app.domain.events.events import MERGE_FINISHED, PASS_UPDATED, Category, Event, Origin
from app.domain.events.own_events import own_event
from app.domain.values.instants import format_instant, from_ms, parse_instant, to_ms

from .passes import Pass, PassTier, Profile

MAX_ALIASES = 100
"""Aliases that one pass may have."""
PROFILE_PREFIX = "mb:"
"""Beginning of the ids of the events that hand over the profile and the tier of a merged pass."""


def is_profile_of_alias(event_id: str) -> bool:
    """Return whether an event hands over the profile and the tier of a merged pass."""
    return event_id.startswith(PROFILE_PREFIX)


def profile_for_survivor(alias: Pass, now: datetime) -> Event | None:
    """Return an update of the survivor that sets the initial profile of the alias, and carries its tier.

    None for an empty profile without a tier. The update occurs at the creation of the alias, so that all later changes of
    either pass win over it.
    """
    assert alias.alias_of is not None
    initial = alias.initial_profile
    if initial == Profile() and alias.tier is None:
        return None
    changes: dict[str, object] = {
        "holder": dict(initial.holder),
        "fields": dict(initial.fields),
        "metadata": dict(initial.metadata),
    }
    if alias.tier is not None:
        changes["tier"] = _tier_to_json(alias.tier)
    return own_event(
        PROFILE_PREFIX + alias.id,
        alias.alias_of,
        PASS_UPDATED,
        at=min(alias.created_at, now),
        recorded_at=now,
        category=Category.FIELD_CHANGE,
        origin=Origin("INTERNAL"),
        changes=changes,
    )


def end_for_survivor(alias: Pass, now: datetime) -> Event | None:
    """Return the event that says that all events have moved to the survivor; None if nothing can wait for it.

    Differences of points waited for it while the members of a family lay on two passes.
    """
    assert alias.alias_of is not None
    if not alias.firings and not alias.had_families:
        return None
    return own_event(f"mf:{alias.id}", alias.alias_of, MERGE_FINISHED, at=now, origin=Origin("INTERNAL"))


def tier_of_alias(changes: Mapping[str, object]) -> PassTier | None:
    """Return the tier that the changes of such an event carry; None if they carry none."""
    tier = changes.get("tier")
    if not isinstance(tier, Mapping):
        return None
    until = tier.get("until")
    return PassTier(
        key=str(tier["key"]),
        since_ms=to_ms(parse_instant(tier["since"])),
        until_ms=None if until is None else to_ms(parse_instant(until)),
    )


def _tier_to_json(tier: PassTier) -> dict[str, object]:
    until = None if tier.until_ms is None else format_instant(from_ms(tier.until_ms))
    return {"key": tier.key, "since": format_instant(from_ms(tier.since_ms)), "until": until}
