"""The retry schedule of webhook messages: the delays of Standard Webhooks, and Retry-After."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from app.domain.webhooks.deliveries import (
    RETRIES_IN_PARTITION,
    RETRY_DELAYS_SECONDS,
    next_attempt_ms,
    parse_retry_after,
)

HOUR = 3_600_000


def test_ten_retries_end_75_hours_and_35_minutes_after_the_first_attempt() -> None:
    now_ms, delays = 0, []
    failures = 1
    while (next_ms := next_attempt_ms(failures, now_ms, 0.0)) is not None:
        delays.append((next_ms - now_ms) // 1000)
        now_ms, failures = next_ms, failures + 1
    assert delays == [0, 5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400]
    assert now_ms == 75 * HOUR + 35 * 60_000 + 5_000
    assert sum(delays[:RETRIES_IN_PARTITION]) == 305


@pytest.mark.parametrize("failures", range(1, len(RETRY_DELAYS_SECONDS) + 1))
def test_random_delay_is_at_most_a_fifth_longer_and_never_shorter(failures: int) -> None:
    earliest, latest = next_attempt_ms(failures, 1_000, 0.0), next_attempt_ms(failures, 1_000, 1.0)
    assert earliest is not None
    assert latest is not None
    assert earliest <= latest <= 1_000 + (earliest - 1_000) * 1.2


def test_endpoint_may_ask_for_up_to_an_hour_but_not_for_less_than_the_schedule() -> None:
    assert next_attempt_ms(1, 0, 0.0, 30) == 30_000
    assert next_attempt_ms(1, 0, 0.0, 10**9) == HOUR
    assert next_attempt_ms(5, 0, 0.0, 30) == 2 * HOUR


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("120", 120), (" 5 ", 5), (None, 0), ("", 0), ("-1", 0), ("1.5", 0), ("٣", 0), ("9" * 10, 0), ("soon", 0),
     ("Wed, 21 Oct 2026 07:30:00 GMT", 120), ("Wed, 21 Oct 2026 07:00:00 GMT", 0),
     ("Wed, 21 Oct 2026 07:30:00 -0000", 0),
     ("Wed, 99 Oct 2026 07:30:00 GMT", 0)],
)  # fmt: skip
def test_retry_after_is_seconds_or_a_date(text: str | None, seconds: int) -> None:
    assert parse_retry_after(text, datetime(2026, 10, 21, 7, 28, tzinfo=UTC)) == seconds
