"""Everything dies, nothing is lost: a short run of the kill harness; `python -m tests.crash` runs it for longer."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.domain.webhooks.partitions import PARTITIONS
from tests.crash.harness import run


@pytest.mark.timeout(240)
async def test_nothing_is_lost_or_doubled_when_every_process_is_killed_at_random(tmp_path: Path) -> None:
    found = await run(tmp_path, seconds=25, seed=11)
    assert found.problems == []
    # A run in which little died, or nobody moved, would prove nothing.
    assert found.faults.total() >= 30, found.faults
    assert found.worker_deaths >= 10
    assert found.flips >= 40
    assert found.acknowledged >= 100
    assert found.removed >= 10
    assert found.erased >= 1
    assert found.merged >= 1
    assert found.followed <= found.activities
    assert found.delivered == found.activities
    assert found.repeated <= PARTITIONS * (found.faults.total() + found.worker_deaths)
    assert found.seconds_without_redis < 5
    assert found.seconds_after_restart < 4
