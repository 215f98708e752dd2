"""Statistics of rules: the first firing of each pass, conversion, and the confidence that two shares differ."""

from __future__ import annotations

from decimal import Decimal

from app.domain.rules.statistics import (
    BriefFiring,
    Conversion,
    ConversionGroup,
    Diagnostics,
    find_first_firings,
    measure_conversion,
)


def firing(pass_id: str, at_ms: int, *, is_control: bool = False) -> BriefFiring:
    return BriefFiring(pass_id=pass_id, at_ms=at_ms, is_control=is_control, succeeded=1, failed=0)


def test_pass_converts_by_an_event_after_its_first_firing_and_within_the_time() -> None:
    first = find_first_firings([firing("a", 100), firing("a", 50), firing("b", 100), firing("c", 100, is_control=True)])
    assert first["a"].at_ms == 50
    found = measure_conversion(first, [("a", 50), ("b", 101), ("b", 105), ("c", 111), ("d", 101)], within_ms=10)
    assert (found.treated, found.control) == (ConversionGroup(2, 1), ConversionGroup(1, 0))
    assert measure_conversion(first, [("a", 60), ("c", 110)], 10).control == ConversionGroup(1, 1)


def test_confidence_is_that_of_the_test_of_two_shares() -> None:
    found = Conversion(ConversionGroup(1_000, 120), ConversionGroup(1_000, 90))
    assert (found.uplift, found.confidence) == (Decimal("0.030000"), Decimal("0.97135"))
    assert Conversion(ConversionGroup(10, 0), ConversionGroup(10, 0)).confidence == 0
    assert Conversion(ConversionGroup(10, 10), ConversionGroup(10, 0)).confidence == Decimal("0.999992")
    empty = Conversion(ConversionGroup(), ConversionGroup(5, 1))
    assert (empty.treated.rate, empty.uplift, empty.confidence) == (None, None, None)


def test_diagnostics_add_up_by_reason() -> None:
    total = Diagnostics(2, {"NTH": 1}).plus(Diagnostics(3, {"NTH": 2, "LIMIT": 1}))
    assert (total.matched, total.skipped) == (5, {"NTH": 3, "LIMIT": 1})
