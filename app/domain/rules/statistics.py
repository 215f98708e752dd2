"""Statistics of a rule: sums over its firings, and whether more passes convert than in the control group."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from app.domain.events.events import Event
from app.domain.ids import made_event_id
from app.domain.values.decimals import ROUNDED, SIX_PLACES, ZERO, plain

MAX_FIRINGS = 100_000
"""Firings of one rule in one period that a request reads."""
MAX_CONVERSION_DAYS = 3_660


class FiringStatus(StrEnum):
    """What became of a firing."""

    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CONTROL = "CONTROL"


def failed_effects(fired: Event, *, outward: bool = False) -> list[int]:
    """Return the indexes of the effects inside the pass that failed, or of those outside."""
    results = fired.metadata.get("effects")
    if not isinstance(results, list):
        return []
    failed = [result for result in results if result["status"] == FiringStatus.FAILED.value]
    return [result["index"] for result in failed if ("outward" in result) is outward]


def ids_of_failed(fired: Event) -> set[str]:
    """Return the ids that the effects of a firing that failed get when a retry makes them."""
    rule_id, cause = fired.origin.rule or "", fired.origin.cause or ""
    return {made_event_id(rule_id, cause, cause, index) for index in failed_effects(fired)}


@dataclass(frozen=True, slots=True)
class FiringQuery:
    """Filter of firings. None matches every firing. `occurred_after` is inclusive, `occurred_before` exclusive."""

    rule_id: str | None = None
    pass_id: str | None = None
    status: FiringStatus | None = None
    occurred_after: datetime | None = None
    occurred_before: datetime | None = None


@dataclass(frozen=True, slots=True)
class BriefFiring:
    """Firing as statistics read it: its pass, its instant in ms, and the results of its effects."""

    pass_id: str
    at_ms: int
    is_control: bool
    succeeded: int
    failed: int


@dataclass(frozen=True, slots=True)
class Diagnostics:
    """What a rule was asked about: how often its trigger matched, and why it did not fire then, by reason."""

    matched: int = 0
    skipped: Mapping[str, int] = field(default_factory=dict)

    def plus(self, other: Diagnostics) -> Diagnostics:
        """Return the sum of both."""
        reasons = {**dict.fromkeys(self.skipped, 0), **dict.fromkeys(other.skipped, 0)}
        skipped = {each: self.skipped.get(each, 0) + other.skipped.get(each, 0) for each in reasons}
        return Diagnostics(self.matched + other.matched, skipped)


@dataclass(frozen=True, slots=True)
class ConversionGroup:
    """Passes for which a rule fired in a period, and those of them that converted."""

    passes: int = 0
    converted: int = 0

    @property
    def rate(self) -> Decimal | None:
        """The share that converted, from 0 to 1, rounded to 6 decimal places; None without a pass."""
        if not self.passes:
            return None
        return ROUNDED.divide(Decimal(self.converted), Decimal(self.passes)).quantize(SIX_PLACES, context=ROUNDED)


@dataclass(frozen=True, slots=True)
class Conversion:
    """Conversion of the passes that a rule treated, and of its control group."""

    treated: ConversionGroup
    control: ConversionGroup

    @property
    def uplift(self) -> Decimal | None:
        """The rate of the treated passes less that of the control group; None if one of the groups is empty."""
        if self.treated.rate is None or self.control.rate is None:
            return None
        return self.treated.rate - self.control.rate

    @property
    def confidence(self) -> Decimal | None:
        """The confidence that the rates differ, from 0 to 1: 1 less the p-value of the two-sided z-test of two shares.

        None if one of the groups is empty.
        """
        treated, control = self.treated, self.control
        if not treated.passes or not control.passes:
            return None
        share = (treated.converted + control.converted) / (treated.passes + control.passes)
        deviation = math.sqrt(share * (1 - share) * (1 / treated.passes + 1 / control.passes))
        if not deviation:
            return ZERO
        z = abs(treated.converted / treated.passes - control.converted / control.passes) / deviation
        return Decimal(str(round(math.erf(z / math.sqrt(2)), 6)))

    def to_dict(self) -> dict[str, object]:
        """Return the figures as the result of a job has them."""
        groups = {name: getattr(self, name) for name in ("treated", "control")}
        shown: dict[str, object] = {
            name: {"passes": group.passes, "converted": group.converted, "rate": _text(group.rate)}
            for name, group in groups.items()
        }
        return {**shown, "uplift": _text(self.uplift), "confidence": _text(self.confidence)}


def _text(value: Decimal | None) -> str | None:
    return None if value is None else plain(value)


def find_first_firings(firings: Iterable[BriefFiring]) -> dict[str, BriefFiring]:
    """Return the first firing of each pass, by the id of the pass."""
    first: dict[str, BriefFiring] = {}
    for firing in firings:
        known = first.get(firing.pass_id)
        if known is None or firing.at_ms < known.at_ms:
            first[firing.pass_id] = firing
    return first


def measure_conversion(
    first: Mapping[str, BriefFiring], conversions: Iterable[tuple[str, int]], within_ms: int
) -> Conversion:
    """Return the conversion of the passes of first firings, given (pass id, instant in ms) of the events that convert.

    An event converts its pass if it occurred after the first firing, and at most `within_ms` later.
    """
    converted = {
        pass_id
        for pass_id, at_ms in conversions
        if (firing := first.get(pass_id)) is not None and firing.at_ms < at_ms <= firing.at_ms + within_ms
    }
    groups = []
    for is_control in (False, True):
        passes = {pass_id for pass_id, firing in first.items() if firing.is_control is is_control}
        groups.append(ConversionGroup(len(passes), len(passes & converted)))
    return Conversion(*groups)
