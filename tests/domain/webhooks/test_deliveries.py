"""When a message is tried again: the schedule of Standard Webhooks, to its last second (checklist 3.4)."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from app.domain.webhooks.deliveries import RETRIES_IN_PARTITION, RETRY_DELAYS_SECONDS, parse_retry_after, retry_delay_ms

HOUR = 3_600_000


def test_ten_retries_end_75_hours_and_35_minutes_after_the_first_try() -> None:
    now_ms, times = 0, []
    failures = 1
    while (next_ms := retry_delay_ms(failures, now_ms, 0.0)) is not None:
        times.append((next_ms - now_ms) // 1000)
        now_ms, failures = next_ms, failures + 1
    assert times == [0, 5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400]
    assert now_ms == 75 * HOUR + 35 * 60_000 + 5_000
    assert sum(times[:RETRIES_IN_PARTITION]) == 305


@pytest.mark.parametrize("failures", range(1, len(RETRY_DELAYS_SECONDS) + 1))
def test_chance_makes_a_delay_at_most_a_fifth_longer_and_never_shorter(failures: int) -> None:
    least, most = retry_delay_ms(failures, 1_000, 0.0), retry_delay_ms(failures, 1_000, 1.0)
    assert least is not None
    assert most is not None
    assert least <= most <= 1_000 + (least - 1_000) * 1.2


def test_an_endpoint_may_ask_for_up_to_an_hour_and_not_for_less_than_the_schedule() -> None:
    assert retry_delay_ms(1, 0, 0.0, 30) == 30_000
    assert retry_delay_ms(1, 0, 0.0, 10**9) == HOUR
    assert retry_delay_ms(5, 0, 0.0, 30) == 2 * HOUR


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("120", 120), (" 5 ", 5), (None, 0), ("", 0), ("-1", 0), ("1.5", 0), ("٣", 0), ("9" * 10, 0), ("soon", 0),
     ("Wed, 21 Oct 2026 07:30:00 GMT", 120), ("Wed, 21 Oct 2026 07:00:00 GMT", 0), ("Wed, 21 Oct 2026 07:30:00 -0000", 0),
     ("Wed, 99 Oct 2026 07:30:00 GMT", 0)],
)  # fmt: skip
def test_a_retry_after_is_seconds_or_a_date_or_nothing(text: str | None, seconds: int) -> None:
    assert parse_retry_after(text, datetime(2026, 10, 21, 7, 28, tzinfo=UTC)) == seconds
