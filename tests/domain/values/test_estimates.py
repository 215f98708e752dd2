"""Estimates of numbers of passes: the interval contains the truth about as often as it says."""

from __future__ import annotations

import pytest

from app.domain.ids import MAX_DRAW, draw_of
from app.domain.values.estimates import Estimate, estimate_count


@pytest.mark.parametrize(
    ("hits", "drawn", "total", "expected"),
    [
        (3, 10, 10, Estimate(3, 3, 3, exact=True)),
        (0, 0, 0, Estimate(0, 0, 0, exact=True)),
        (0, 0, 50, Estimate(0, 0, 50, exact=False)),
        (0, 2_000, 1_000_000, Estimate(0, 0, 1_914, exact=False)),
        (2_000, 2_000, 1_000_000, Estimate(1_000_000, 998_086, 1_000_000, exact=False)),
        (500, 2_000, 1_000_000, Estimate(250_000, 231_532, 269_425, exact=False)),
    ],
)
def test_estimate_has_the_interval_of_wilson(hits: int, drawn: int, total: int, expected: Estimate) -> None:
    assert estimate_count(hits, drawn, total) == expected


@pytest.mark.parametrize("member_count", [3, 40, 200, 390])
def test_interval_contains_the_truth_in_95_of_100_draws(member_count: int) -> None:
    """Of 400 passes, 100 are drawn by the lowest draws. Their ids differ in each of 400 workspaces."""
    held = 0
    for workspace in range(400):
        drawn = sorted(range(400), key=lambda n: draw_of(f"pass_{workspace}_{n}"))[:100]
        found = estimate_count(sum(n < member_count for n in drawn), 100, 400)
        assert found.low <= found.count <= found.high
        held += found.low <= member_count <= found.high
    assert held >= 0.93 * 400


def test_draws_are_spread_evenly() -> None:
    draws = [draw_of(f"pass_{n}") for n in range(1_000)]
    assert all(0 <= each < MAX_DRAW for each in draws)
    assert 450 < sum(each < MAX_DRAW // 2 for each in draws) < 550
