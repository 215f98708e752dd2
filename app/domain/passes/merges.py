"""Merges: the events that a merged pass leaves on its survivor: its initial profile, and the end of the merge."""

from __future__ import annotations

from datetime import datetime

from app.domain.events.events import MERGE_FINISHED, OWN_SOURCE, PASS_UPDATED, Category, Event, Origin
from app.domain.values.decimals import ZERO

from .passes import Pass, Profile

MAX_ALIASES = 100
"""Aliases that one pass may have."""


def profile_for_survivor(alias: Pass, now: datetime) -> Event | None:
    """Return an update of the survivor that sets the initial profile of the alias; None for an empty profile.

    The update occurs at the creation of the alias, so that all later changes of either pass win over it.
    """
    assert alias.alias_of is not None
    initial = alias.initial_profile
    if initial == Profile():
        return None
    changes = {"holder": dict(initial.holder), "fields": dict(initial.fields), "metadata": dict(initial.metadata)}
    return Event(
        id=f"mb:{alias.id}",
        pass_id=alias.alias_of,
        category=Category.FIELD_CHANGE,
        type=PASS_UPDATED,
        amount=None,
        currency=None,
        points=ZERO,
        source=OWN_SOURCE,
        external_id=None,
        metadata={},
        occurred_at=min(alias.created_at, now),
        recorded_at=now,
        origin=Origin("INTERNAL"),
        changes=changes,
    )


def end_for_survivor(alias: Pass, now: datetime) -> Event | None:
    """Return the event that tells the survivor that all events have moved; None if no rule had fired on the alias.

    Differences of points waited for it while the members of a family lay on two passes.
    """
    assert alias.alias_of is not None
    if not alias.firings:
        return None
    return Event(
        id=f"mf:{alias.id}",
        pass_id=alias.alias_of,
        category=Category.CUSTOM,
        type=MERGE_FINISHED,
        amount=None,
        currency=None,
        points=ZERO,
        source=OWN_SOURCE,
        external_id=None,
        metadata={},
        occurred_at=now,
        recorded_at=now,
        origin=Origin("INTERNAL"),
    )
