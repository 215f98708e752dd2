"""Tier program of a workspace and the versions of its definition. A version takes the next revision of the workspace."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from zoneinfo import ZoneInfo

from app.domain.backfilled import BackfilledVersion
from app.domain.rules.rules import OnCorrection
from app.domain.segments.criteria import Criteria
from app.domain.segments.segments import SILENT, TIER_PROGRAM
from app.domain.values.periods import PeriodUnit, days_end_ms, period_end_ms


class Downgrade(StrEnum):
    """Tier after a period in which the pass did not keep its tier: the next lower one, or the highest it qualifies for."""

    ONE_DOWN = "ONE_DOWN"
    TO_QUALIFIED = "TO_QUALIFIED"


@dataclass(frozen=True, slots=True)
class TierPeriod:
    """How long a tier lasts, after it is reached: exactly one form.

    - `unit`: to the end of the calendar period that is `plus` periods after the present one.
    - `days`: that many days of the time zone, to local midnight.
    - neither: for ever.
    """

    unit: PeriodUnit | None = None
    plus: int = 1
    days: int | None = None


@dataclass(frozen=True, slots=True)
class Tier:
    """Tier of a program. `keep` are the criteria that prolong it at the end of a period; None if `reach` does."""

    key: str
    name: str
    reach: Criteria
    keep: Criteria | None = None
    benefits: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class TierProgramVersion(BackfilledVersion):
    """Version of a tier program, created at the instant `at`; it has the tiers from the lowest to the highest."""

    revision: int
    version: int
    at: datetime
    tiers: tuple[Tier, ...]
    period: TierPeriod
    downgrade: Downgrade = Downgrade.TO_QUALIFIED
    on_correction: OnCorrection = OnCorrection.KEEP
    timezone: str = "UTC"
    notify: str = SILENT

    @property
    def subject_id(self) -> str:
        """The id of the program, which is the same in every workspace."""
        return TIER_PROGRAM

    @property
    def is_in_force(self) -> bool:
        """Whether the version has tiers. A program without tiers ends all tiers."""
        return bool(self.tiers)

    @property
    def is_silent(self) -> bool:
        """Whether the tier changes that this change causes are hidden by default."""
        return self.notify == SILENT

    @property
    def reverses(self) -> bool:
        """Whether a correction or removal takes a tier away whose `reach` does not hold any more."""
        return self.on_correction is OnCorrection.REVERSE

    def rank_of(self, key: str) -> int | None:
        """Return the number of a tier, from 0 for the lowest; None if the program has no such tier."""
        return next((rank for rank, tier in enumerate(self.tiers) if tier.key == key), None)

    def reached_until_ms(self, at_ms: int) -> int | None:
        """Return the first instant after the period of a tier that is reached at an instant; None for ever."""
        return self._until_ms(at_ms, self.period.plus)

    def next_until_ms(self, at_ms: int) -> int | None:
        """Return the first instant after the period that begins at the end of another one; None for ever."""
        return self._until_ms(at_ms, 0)

    def _until_ms(self, at_ms: int, plus: int) -> int | None:
        zone = ZoneInfo(self.timezone)
        if self.period.unit is not None:
            return period_end_ms(self.period.unit, plus, zone, at_ms)
        return None if self.period.days is None else days_end_ms(self.period.days, zone, at_ms)
