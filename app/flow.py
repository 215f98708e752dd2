"""The one table of the flow: what each stage reads, what it writes, and whom it wakes.

A test holds the code to it. Redis carries the wakes; losing one costs at most the time until the next sweep.
"""

from __future__ import annotations

from dataclasses import dataclass

from app.domain.ids import SLOTS

SLOTS_PER_RANGE = 16
"""One fold job serves a range of slots: a batch over all passes then takes a few round trips, not a few for each slot."""
SLOT_RANGES = tuple(f"{low}-{low + SLOTS_PER_RANGE - 1}" for low in range(0, SLOTS, SLOTS_PER_RANGE))


@dataclass(frozen=True, slots=True)
class Stage:
    """One arrow of the flow. `key` is what one run of it works on."""

    name: str
    module: str
    key: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    wakes: tuple[str, ...]


FLOW = (
    Stage(
        "hook",
        "app.commands.inbound.deliveries",
        "message",
        ("inbound_hooks", "inbound_deliveries", "passes", "definitions"),
        ("inbound_deliveries", "passes", "events"),
        ("fold",),
    ),
    Stage(
        "record",
        "app.commands.events.record",
        "request",
        ("passes", "events", "definitions"),
        ("passes", "events", "receipts", "request_keys"),
        ("fold",),
    ),
    Stage(
        "fold",
        "workers.stages.fold",
        "slot range",
        ("events", "passes", "definitions"),
        ("passes", "events"),
        ("publish", "merge", "erase"),
    ),
    Stage(
        "due", "workers.stages.due", "slot range", ("events", "passes", "definitions"), ("passes",), ("fold", "publish")
    ),
    Stage(
        "backfill",
        "workers.stages.backfill",
        "workspace",
        ("events", "passes", "definitions"),
        ("passes",),
        ("fold", "publish"),
    ),
    Stage(
        "publish",
        "workers.stages.publish",
        "workspace",
        ("passes", "events", "segments"),
        ("activities", "passes", "webhook_lanes"),
        ("feed", "fold", "deliver"),
    ),
    Stage("merge", "workers.stages.merge", "pass", ("passes", "events"), ("passes", "events"), ("fold", "erase")),
    Stage(
        "erase",
        "workers.stages.erase",
        "pass",
        ("passes", "events", "activities"),
        ("passes", "events", "activities", "erasures"),
        ("publish", "merge"),
    ),
    Stage("import", "app.commands.jobs.imports", "request", (), ("jobs", "job_files"), ("jobs",)),
    Stage("export", "app.commands.jobs.exports", "request", ("activities",), ("jobs", "audit"), ("jobs",)),
    Stage(
        "jobs",
        "workers.stages.run_job",
        "job",
        (
            "jobs",
            "job_files",
            "passes",
            "events",
            "definitions",
            "activities",
            "webhook_endpoints",
            "webhook_deliveries",
        ),
        ("passes", "events", "jobs", "job_files", "webhook_deliveries", "webhook_lanes"),
        ("fold", "deliver"),
    ),
    Stage(
        "deliver",
        "workers.stages.deliver",
        "workspace",
        ("webhook_endpoints", "webhook_lanes", "webhook_deliveries", "activities", "passes"),
        ("webhook_endpoints", "webhook_lanes", "webhook_deliveries"),
        (),
    ),
    Stage("feed", "app.feed.tailer", "workspace", ("activities",), (), ()),
)


def range_of(slot: int) -> str:
    """The key of the range that a slot belongs to."""
    return SLOT_RANGES[slot // SLOTS_PER_RANGE]


def bounds_of(key: str) -> tuple[int, int]:
    """The first and the last slot of a range."""
    low, _, high = key.partition("-")
    return int(low), int(high)
