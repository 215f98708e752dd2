"""A short run of the crash harness: every process is killed at random, and nothing is lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.domain.webhooks.partitions import PARTITIONS
from tests.crash.harness import run


@pytest.mark.timeout(240)
async def test_random_crashes_of_all_processes_lose_and_double_nothing(tmp_path: Path) -> None:
    report = await run(tmp_path, seconds=25, seed=11)
    assert report.problems == []
    # A run with few faults, or without transitions, would prove nothing.
    assert report.faults.total() >= 30, report.faults
    assert report.worker_crashes >= 10
    assert report.transitions >= 40
    assert report.acknowledged >= 100
    assert report.removed >= 10
    assert report.erased >= 1
    assert report.merged >= 1
    assert report.followed <= report.activities
    assert report.delivered == report.activities
    assert report.repeated <= PARTITIONS * (report.faults.total() + report.worker_crashes)
    assert report.seconds_without_redis < 5
    assert report.seconds_after_restart < 4
