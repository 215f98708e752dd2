"""Triggers of rules: the events, transitions, tier changes and balances that a rule is asked about."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from app.domain.events.events import Category


@dataclass(frozen=True, slots=True)
class EventTrigger:
    """Events of certain types. An empty field matches every event.

    `currency` is that of `amount_min` and `amount_max`, and of `per_amount` effects. Both bounds are inclusive and compare
    with the net amount of the event.
    """

    types: tuple[str, ...]
    sources: tuple[str, ...] = ()
    categories: tuple[Category, ...] = ()
    currency: str | None = None
    amount_min: Decimal | None = None
    amount_max: Decimal | None = None


@dataclass(frozen=True, slots=True)
class SegmentTrigger:
    """Entry into a segment, or exit from it if `entered` is false."""

    segment_id: str
    entered: bool


class TierChange(StrEnum):
    """Change of a pass's tier."""

    JOINED = "JOINED"
    LEFT = "LEFT"
    UPGRADED = "UPGRADED"
    DOWNGRADED = "DOWNGRADED"
    PROLONGED = "PROLONGED"


@dataclass(frozen=True, slots=True)
class TierTrigger:
    """Changes of the tier. With `tier_key`, only changes into that tier; of LEFT, out of it."""

    changes: tuple[TierChange, ...]
    tier_key: str | None = None


@dataclass(frozen=True, slots=True)
class BalanceTrigger:
    """The balance of points, or the total of points ever earned, rises from below `reach` to `reach` or more."""

    reach: Decimal
    is_earned_total: bool = False


Trigger = EventTrigger | SegmentTrigger | TierTrigger | BalanceTrigger
