"""Log lines of a worker while Redis does not answer."""

from __future__ import annotations

import pytest

from workers.failures import REDIS_LOG_SECONDS, RedisFailureLog


def test_redis_outage_is_logged_once_in_10_seconds_with_the_failures_since(caplog: pytest.LogCaptureFixture) -> None:
    clock = [0.0]
    log = RedisFailureLog(lambda: clock[0])
    for _ in range(40):
        log.note(ConnectionRefusedError("connection refused"))
    clock[0] += REDIS_LOG_SECONDS
    log.note(ConnectionRefusedError("connection refused"))
    lines = [record.getMessage() for record in caplog.records]
    assert lines == [
        f"Redis unavailable, check REDIS_URL; the worker goes on without wake-ups: connection refused"
        f" ({unlogged} more failures since the last line)"
        for unlogged in (0, 39)
    ]
