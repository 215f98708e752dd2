"""Estimates of numbers of passes: the interval contains the truth about as often as it says."""

from __future__ import annotations

import pytest

from app.domain.ids import MAX_DRAW, draw_of
from app.domain.values.estimates import Estimate, estimate_count, estimate_most


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


@pytest.mark.parametrize(
    ("drawn", "total", "expected"), [([], 9, 0), ([5, 7], 2, 12), ([5] * 100, 1_000, 5_000), ([0] * 9, 90, 0)]
)
def test_most_of_a_sum_is_the_sum_without_spread(drawn: list[int], total: int, expected: int) -> None:
    assert estimate_most(drawn, total) == expected


def test_most_of_a_sum_is_exceeded_in_few_draws() -> None:
    """Of 1,000 passes, one in twenty has 60 events and the others have 5. 200 are drawn in each of 400 workspaces."""
    counts = [60 if n % 20 == 0 else 5 for n in range(1_000)]
    exceeded = 0
    for workspace in range(400):
        drawn = sorted(range(1_000), key=lambda n: draw_of(f"pass_{workspace}_{n}"))[:200]
        exceeded += sum(counts) > estimate_most([counts[n] for n in drawn], 1_000)
    assert exceeded <= 0.05 * 400
