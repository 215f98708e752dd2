"""MergeQueries: one pass goes on as a part of another, which answers for both. Events keep the pass they were recorded on."""

from __future__ import annotations

from datetime import datetime

from app.domain.events.events import OWN_SOURCE, PASS_UPDATED, Category, Event, Origin
from app.domain.values.decimals import ZERO

from .passes import Pass, Profile

MAX_ALIASES = 100
"""Passes that one pass answers for, at most."""


def profile_for_survivor(alias: Pass, now: datetime) -> Event | None:
    """What a merged pass leaves as it was created with: an update of the pass that answers for it, from the time of its
    own creation, so that whatever was set on either later stands. None where it was created with nothing.
    """
    assert alias.alias_of is not None
    base = alias.initial_profile
    if base == Profile():
        return None
    changes = {"holder": dict(base.holder), "fields": dict(base.fields), "metadata": dict(base.metadata)}
    return Event(
        f"mb:{alias.id}", alias.alias_of, Category.FIELD_CHANGE, PASS_UPDATED, None, None, ZERO, OWN_SOURCE, None, {},
        min(alias.created_at, now), now, Origin("INTERNAL"), changes=changes,
    )  # fmt: skip
