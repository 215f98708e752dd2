"""Partitions, and the health of an endpoint: when its circuit opens, how long probes pause, when it is disabled."""

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


def test_passes_spread_over_all_partitions_and_each_keeps_its_own() -> None:
    partitions = [partition_of(f"pass_{number:024x}") for number in range(1_000)]
    assert set(partitions) == set(range(PARTITIONS))
    assert partitions == [partition_of(f"pass_{number:024x}") for number in range(1_000)]


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 4_000)), max_size=40))
def test_circuit_opens_after_ten_failures_in_a_row_over_ten_seconds(
    attempts: Sequence[tuple[bool, int]],
) -> None:
    health, now_ms = EndpointHealth(), 0
    failed_at_ms: list[int] = []
    for succeeded, waited_ms in attempts:
        now_ms += waited_ms
        health = EndpointHealth() if succeeded else health.after_failure(now_ms)
        failed_at_ms = [] if succeeded else [*failed_at_ms, now_ms]
        opening = [
            at
            for count, at in enumerate(failed_at_ms, start=1)
            if count >= CIRCUIT_OPENS_AFTER_FAILURES and at - failed_at_ms[0] >= CIRCUIT_OPENS_AFTER_MS
        ]
        assert health.circuit_opened_ms == (opening[0] if opening else None)
        assert health.failures == len(failed_at_ms)


def test_probes_pause_for_5_seconds_then_twice_as_long_up_to_5_minutes() -> None:
    health, pauses = EndpointHealth(circuit_opened_ms=0), []
    for _ in range(9):
        pauses.append(health.probe_delay_ms(0.0) // 1000)
        health = health.after_probe_pause()
    assert pauses == [5, 10, 20, 40, 80, 160, 300, 300, 300]
    assert EndpointHealth().probe_delay_ms(1.0) == 6_000
    assert EndpointHealth().probe_delay_ms(0.0, 60) == 60_000
    assert EndpointHealth().probe_delay_ms(0.0, 10**6) == 3_600_000


def test_endpoint_is_given_up_after_75_hours_and_35_minutes() -> None:
    health = EndpointHealth(failures=10, failing_since_ms=0, circuit_opened_ms=1_000)
    assert not health.is_given_up(1_000 + DISABLED_AFTER_MS - 1)
    assert health.is_given_up(1_000 + DISABLED_AFTER_MS)
    assert not EndpointHealth(failures=10**6, failing_since_ms=0).is_given_up(10**15)
