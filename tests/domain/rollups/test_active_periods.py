"""Which numbers of active passes change with the active periods of a pass."""

from __future__ import annotations

from app.domain.rollups.active_periods import ALL_PERIODS, changed_periods, first_month, periods_of_ended
from app.domain.rollups.periods import ALL_MONTHS, LAST_MONTH


def test_periods_that_a_pass_enters_or_leaves_change() -> None:
    assert changed_periods((), (2025, 202503)) == {2025, 202503}
    assert changed_periods((2025, 202503), (2025, 202503, 202505)) == {202505}
    assert changed_periods((2025, 202503), (2025, 202503)) == set()


def test_the_first_month_and_its_year_change_with_the_number_of_new_passes() -> None:
    before, after = (2024, 2025, 202412, 202503, 202505), (2025, 202503, 202505)
    assert changed_periods(before, after) == {2024, 202412, 2025, 202503}
    assert changed_periods((2025, 202503, 202505), (2025, 202505)) == {2025, 202503, 202505}


def test_the_first_month_is_no_year() -> None:
    assert first_month((2024, 2025, 202503, 202412)) == 202412
    assert first_month((2025,)) is None


def test_a_pass_that_ends_leaves_what_is_sealed_and_what_may_be_sealed_until_then() -> None:
    assert periods_of_ended((2024, 202412), (202501,)) == {2024, 202412, 2025, 202501}
    assert periods_of_ended((2024, 202412), (ALL_MONTHS, 202501)) == {ALL_PERIODS}
    assert periods_of_ended((2024, 202412), (LAST_MONTH,)) == {2024, 202412}
    assert periods_of_ended((), ()) == set()
