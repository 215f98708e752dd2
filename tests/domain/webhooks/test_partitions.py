"""When an endpoint is taken to be away, how long it is left alone, and when it is given up (checklist 3.4)."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from app.domain.webhooks.partitions import (
    CIRCUIT_OPENS_AFTER_FAILURES,
    CIRCUIT_OPENS_AFTER_MS,
    DISABLED_AFTER_MS,
    PARTITIONS,
    EndpointHealth,
    partition_of,
)


def test_passes_are_spread_over_all_lanes_and_each_stays_in_its_own() -> None:
    lanes = [partition_of(f"pass_{number:024x}") for number in range(1_000)]
    assert set(lanes) == set(range(PARTITIONS))
    assert lanes == [partition_of(f"pass_{number:024x}") for number in range(1_000)]


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 4_000)), max_size=40))
def test_it_is_away_exactly_after_ten_failures_in_a_row_that_took_ten_seconds(
    tries: Sequence[tuple[bool, int]],
) -> None:
    health, now_ms = EndpointHealth(), 0
    row: list[int] = []
    for succeeded, waited in tries:
        now_ms += waited
        health = EndpointHealth() if succeeded else health.after_failure(now_ms)
        row = [] if succeeded else [*row, now_ms]
        trips = [
            at
            for count, at in enumerate(row, start=1)
            if count >= CIRCUIT_OPENS_AFTER_FAILURES and at - row[0] >= CIRCUIT_OPENS_AFTER_MS
        ]
        assert health.circuit_opened_ms == (trips[0] if trips else None)
        assert health.failures == len(row)


def test_it_is_left_alone_for_5_seconds_then_twice_as_long_up_to_5_minutes() -> None:
    health, holds = EndpointHealth(circuit_opened_ms=0), []
    for _ in range(9):
        holds.append(health.probe_delay_ms(0.0) // 1000)
        health = health.after_probe_pause()
    assert holds == [5, 10, 20, 40, 80, 160, 300, 300, 300]
    assert EndpointHealth().probe_delay_ms(1.0) == 6_000
    assert EndpointHealth().probe_delay_ms(0.0, 60) == 60_000
    assert EndpointHealth().probe_delay_ms(0.0, 10**6) == 3_600_000


def test_after_75_hours_and_35_minutes_it_is_given_up() -> None:
    health = EndpointHealth(failures=10, failing_since_ms=0, circuit_opened_ms=1_000)
    assert not health.is_given_up(1_000 + DISABLED_AFTER_MS - 1)
    assert health.is_given_up(1_000 + DISABLED_AFTER_MS)
    assert not EndpointHealth(failures=10**6, failing_since_ms=0).is_given_up(10**15)
