"""A short run of the crash harness: every process is killed at random, and nothing is lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.domain.webhooks.partitions import PARTITIONS
from tests.crash.harness import run
from tests.crash.processes import Plan
from tests.crash.report import Minimum
from tests.patience import PATIENCE_SECONDS

LESS = Minimum(faults=10, worker_crashes=4, acknowledged=60, removed=3, transitions=12)
"""A third of what a run by hand waits for. To start a killed process takes over a second of CPU time."""


# The run waits up to PATIENCE_SECONDS for its minimum, and as long for each of the ends of its work.
@pytest.mark.timeout(6 * PATIENCE_SECONDS)
async def test_random_crashes_of_all_processes_lose_and_double_nothing(tmp_path: Path) -> None:
    report = await run(tmp_path, Plan(seed=11, workers=2, crash_chance=0.003), LESS)
    assert report.problems == []
    assert report.followed <= report.activities
    assert report.delivered == report.activities
    assert report.repeated <= PARTITIONS * (report.faults.total() + report.worker_crashes)
