"""The table of the flow: what each stage reads, what it writes, and which stages it wakes.

`tests/contracts/test_flow.py` compares the code with this table. Redis carries the wake-ups; a lost one costs at most
the time until the next sweep.
"""

from __future__ import annotations

from dataclasses import dataclass

from app.domain.ids import SLOTS

SLOTS_PER_RANGE = 16
"""Slots of one range. A fold job serves one range, so a batch over all passes takes few round trips."""
SLOT_RANGES = tuple(f"{low}-{low + SLOTS_PER_RANGE - 1}" for low in range(0, SLOTS, SLOTS_PER_RANGE))


@dataclass(frozen=True, slots=True)
class Stage:
    """Stage of the flow. `key` names the unit that one run works on."""

    name: str
    module: str
    key: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    wakes: tuple[str, ...]


FLOW = (
    Stage(
        name="hook",
        module="app.commands.inbound.deliveries",
        key="message",
        reads=("inbound_hooks", "inbound_deliveries", "pass_names", "definitions"),
        writes=("inbound_deliveries", "passes", "pass_names", "events"),
        wakes=("fold",),
    ),
    Stage(
        name="rerun",
        module="workers.stages.rerun",
        key="message",
        reads=("inbound_hooks", "inbound_deliveries", "pass_names", "events", "definitions"),
        writes=("inbound_deliveries", "passes", "pass_names", "events"),
        wakes=("fold",),
    ),
    Stage(
        name="record",
        module="app.commands.events.record",
        key="request",
        reads=("pass_names", "events", "definitions"),
        writes=("passes", "pass_names", "events", "receipts", "request_keys"),
        wakes=("fold",),
    ),
    Stage(
        name="fold",
        module="workers.stages.fold",
        key="slot range",
        reads=("events", "passes", "definitions"),
        writes=("passes", "events", "rollup_heads"),
        wakes=("publish", "merge", "erase"),
    ),
    Stage(
        name="due",
        module="workers.stages.due",
        key="slot range",
        reads=("events", "passes", "definitions"),
        writes=("passes",),
        wakes=("fold", "publish"),
    ),
    Stage(
        name="schedule",
        module="workers.stages.schedule",
        key="segment",
        reads=("scheduled_edits", "segments", "definitions", "replaced_versions", "passes"),
        writes=("scheduled_edits", "definitions", "audit"),
        wakes=("backfill",),
    ),
    Stage(
        name="backfill",
        module="workers.stages.backfill",
        key="workspace",
        reads=("events", "passes", "definitions"),
        writes=("passes", "definitions", "replaced_versions"),
        wakes=("fold", "publish"),
    ),
    Stage(
        name="publish",
        module="workers.stages.publish",
        key="workspace",
        reads=("passes", "events", "segments"),
        writes=("activities", "intervals", "segment_days", "histories", "passes", "webhook_lanes", "react_lanes"),
        wakes=("feed", "fold", "deliver", "react"),
    ),
    Stage(
        name="merge",
        module="workers.stages.merge",
        key="pass",
        reads=("passes", "events"),
        writes=("passes", "pass_names", "intervals", "events", "pass_periods"),
        wakes=("fold", "erase"),
    ),
    Stage(
        name="erase",
        module="workers.stages.erase",
        key="pass",
        reads=("passes", "events", "activities", "jobs", "react_lanes"),
        writes=(
            "passes",
            "pass_names",
            "events",
            "activities",
            "intervals",
            "erasures",
            "inbound_deliveries",
            "reward_units",
            "reward_codes",
            "parked_reactions",
            "react_lanes",
            "messages",
            "message_templates",
            "pass_periods",
            "rollup_heads",
            "active_counts",
        ),
        wakes=("publish", "merge", "react"),
    ),
    Stage(
        name="forget",
        module="workers.stages.forget",
        key="workspace",
        reads=("passes", "events"),
        writes=(),
        wakes=(),
    ),
    Stage(
        name="restock",
        module="workers.stages.restock",
        key="workspace",
        reads=("reward_units", "reward_codes", "events", "passes"),
        writes=("reward_units", "reward_codes", "reward_stocks", "events"),
        wakes=(),
    ),
    Stage(
        name="retain",
        module="workers.stages.retain",
        key="workspace",
        reads=(
            "activities",
            "passes",
            "webhook_lanes",
            "webhook_deliveries",
            "react_lanes",
            "histories",
            "jobs",
            "audit",
        ),
        writes=("activities", "jobs", "audit"),
        wakes=(),
    ),
    Stage(
        name="seal_passes",
        module="workers.stages.seal_passes",
        key="workspace",
        reads=("passes", "events", "pass_periods", "rollup_heads", "active_counts"),
        writes=("passes", "pass_periods", "active_counts"),
        wakes=(),
    ),
    Stage(
        name="seal",
        module="workers.stages.seal",
        key="workspace",
        reads=("rollup_heads", "rollups", "events"),
        writes=("rollup_heads", "rollups"),
        wakes=(),
    ),
    Stage(
        name="import",
        module="app.commands.jobs.imports",
        key="request",
        reads=("jobs",),
        writes=("jobs", "job_files", "audit"),
        wakes=("jobs",),
    ),
    Stage(
        name="export",
        module="app.commands.jobs.exports",
        key="request",
        reads=("activities", "jobs"),
        writes=("jobs", "audit"),
        wakes=("jobs",),
    ),
    Stage(
        name="jobs",
        module="workers.stages.run_job",
        key="job",
        reads=(
            "jobs",
            "job_files",
            "passes",
            "events",
            "definitions",
            "activities",
            "webhook_endpoints",
            "webhook_deliveries",
        ),
        writes=(
            "passes",
            "pass_names",
            "events",
            "jobs",
            "job_files",
            "webhook_deliveries",
            "webhook_lanes",
            "messages",
            "channel_lanes",
            "rollup_heads",
        ),
        wakes=("fold", "deliver", "send"),
    ),
    Stage(
        name="deliver",
        module="workers.stages.deliver",
        key="workspace",
        reads=("webhook_endpoints", "webhook_lanes", "webhook_deliveries", "activities", "passes"),
        writes=("webhook_endpoints", "webhook_lanes", "webhook_deliveries"),
        wakes=(),
    ),
    Stage(
        name="react",
        module="workers.stages.react",
        key="workspace",
        reads=("react_lanes", "parked_reactions", "activities", "passes"),
        writes=("react_lanes", "parked_reactions", "events", "messages", "channel_lanes"),
        wakes=("fold", "send"),
    ),
    Stage(
        name="send",
        module="workers.stages.send",
        key="workspace",
        reads=("channels", "channel_lanes", "messages", "message_templates", "passes", "events"),
        writes=("channel_lanes", "messages", "events"),
        wakes=("fold",),
    ),
    Stage(name="feed", module="app.feed.tailer", key="workspace", reads=("activities",), writes=(), wakes=()),
)


def range_of(slot: int) -> str:
    """Return the key of the range that contains a slot."""
    return SLOT_RANGES[slot // SLOTS_PER_RANGE]


def bounds_of(key: str) -> tuple[int, int]:
    """Return the first and the last slot of a range. A workspace may follow the range, as in the wake-ups of the fold."""
    low, _, high = key.partition("/")[0].partition("-")
    return int(low), int(high)
