"""A worker process that kills itself at random before or after named steps; otherwise the product's own worker."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any
from unittest.mock import patch

from app.domain.rollups.sealing import Timing
from app.domain.webhooks import deliveries
from app.store.stages.active_counts import ActiveCountQueries
from app.store.stages.endpoint_leases import EndpointLeases
from app.store.stages.erase import EraseQueries
from app.store.stages.fold import FoldQueries
from app.store.stages.job_leases import JobLeases
from app.store.stages.pass_periods import PassPeriodQueries
from app.store.stages.publish import PublishQueries
from app.store.stages.rollup_marks import RollupMarkQueries
from app.store.stages.rollups import SealQueries
from app.store.workspace.activities import ActivityQueries
from app.store.workspace.deliveries import DeliveryQueries
from app.store.workspace.events import EventQueries
from app.store.workspace.partitions import PartitionQueries
from app.store.workspace.reactions import ReactionQueries
from app.store.workspace.removals import RemovalQueries
from workers import rollup_looks, seal_looks, seals
from workers.main import main
from workers.stages import count_active

STEPS = {
    FoldQueries: (
        "pending",
        "passes",
        "still_pending",
        "save",
        "replace_by_stubs",
        "clear",
        "due_within",
        "mark_caught_up",
    ),
    EraseQueries: ("name_batch", "replace_events_by_stubs", "take_out_batches", "empty_activities", "finish"),
    RollupMarkQueries: ("mark_hours",),
    SealQueries: ("heads", "read_hour", "insert", "commit"),
    PassPeriodQueries: ("read", "insert", "commit", "clear_doubt", "delete_of_pass"),
    ActiveCountQueries: ("mark", "take_recounts", "count", "store"),
    RemovalQueries: ("insert",),
    JobLeases: ("commit",),
    PublishQueries: ("waiting", "published"),
    ActivityQueries: ("append",),
    PartitionQueries: ("announce_work",),
    EndpointLeases: ("claim", "take_over", "save_progress", "go_idle"),
    DeliveryQueries: ("insert",),
    ReactionQueries: ("announce_work", "park"),
    EventQueries: ("insert",),
}

SEALING = Timing(quiet=2.0, limit=5.0, old_quiet=2.0, old_limit=5.0, waits_for_end=False)
"""Delays of sealing. With those of the product, no hour of the run would be sealed before its end."""
MAX_RETRY_SECONDS = 5
"""Longest delay of a retry of a webhook message. The run would otherwise wait minutes for one that failed three times."""


def with_crashes(step: Callable[..., Awaitable[Any]], chance: float, random: Random) -> Callable[..., Awaitable[Any]]:
    """Return the step, changed so that the process kills itself before or after it, or stalls after it."""

    async def wrapper(*args: Any, **options: Any) -> Any:
        number = random.random()
        if number < chance / 2:
            os.kill(os.getpid(), signal.SIGKILL)
        result = await step(*args, **options)
        if number > 1 - chance / 2:
            os.kill(os.getpid(), signal.SIGKILL)
        if number > 1 - chance:
            await asyncio.sleep(random.random() * 0.5)
        return result

    return wrapper


if __name__ == "__main__":
    delays = (min(each, MAX_RETRY_SECONDS) for each in deliveries.RETRY_DELAYS_SECONDS)
    deliveries.RETRY_DELAYS_SECONDS = tuple(delays)  # type: ignore[assignment]
    patch.object(seals, "Timing", return_value=SEALING).start()
    rollup_looks.DIRTY_INTERVAL_SECONDS = 1.0
    seals.RETRY_SECONDS = 1.0
    count_active.COUNT_DELAY_SECONDS = 2.0
    seal_looks.SEAL_INTERVAL_SECONDS = 1.0
    seal_looks.SEAL_ALL_INTERVAL_SECONDS = 5.0
    seeded = Random(int(os.environ["CRASH_SEED"]) + os.getpid())
    for owner, names in STEPS.items():
        for name in names:
            setattr(owner, name, with_crashes(getattr(owner, name), float(os.environ["CRASH_CHANCE"]), seeded))
    main()
