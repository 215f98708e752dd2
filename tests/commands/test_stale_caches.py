"""Processes with outdated caches give every caller the right answer (A1-01, A1-15)."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.clock import FixedClock
from app.resources import Resources
from app.store.operations import indexes
from tests.business import create_business

from .expected_outcomes import Call, Item
from .stale_caches import NAMES, StaleProcesses

EXTERNAL_IDS = ("1", "2", *(f"first {name}" for name in NAMES))
SECOND = timedelta(seconds=1)
PROCESS = st.integers(0, 2)
NAME = st.sampled_from(NAMES)
ITEM = st.builds(
    Item,
    NAME,
    st.sampled_from(EXTERNAL_IDS),
    st.integers(1, 2),
    st.booleans(),
    st.one_of(st.none(), st.none(), st.sampled_from(EXTERNAL_IDS)),
)
ITEMS = st.lists(ITEM, min_size=1, max_size=3).map(tuple)
CALL = st.builds(Call, ITEMS, st.sampled_from(["plain", "plain", "atomic", "dry"]))
MEANWHILE = st.one_of(
    st.tuples(st.just("merge_passes"), PROCESS, NAME, NAME),
    st.tuples(st.just("erase_pass"), PROCESS, NAME),
    st.tuples(st.just("fold")),
    st.tuples(st.just("finish")),
)
STEP = st.one_of(
    st.tuples(st.just("call_during"), PROCESS, CALL, MEANWHILE).map(lambda step: (*step[:3], *step[3])),
    st.tuples(st.just("call_during"), PROCESS, CALL, MEANWHILE).map(lambda step: (*step[:3], *step[3])),
    st.tuples(st.just("call"), PROCESS, CALL),
    st.tuples(st.just("call"), PROCESS, CALL),
    st.tuples(st.just("keyed"), PROCESS, ITEMS),
    st.tuples(st.just("repeat"), PROCESS, st.integers(0, 20)),
    st.tuples(st.just("repeat"), PROCESS, st.integers(0, 20)),
    st.tuples(st.just("call_twice_at_once"), st.builds(Call, ITEMS, st.sampled_from(["plain", "atomic"]))),
    st.tuples(st.just("create_pass"), PROCESS, NAME),
    st.tuples(st.just("merge_passes"), PROCESS, NAME, NAME),
    st.tuples(st.just("merge_passes"), PROCESS, NAME, NAME),
    st.tuples(st.just("erase_pass"), PROCESS, NAME),
    st.tuples(st.just("remove_event"), PROCESS, st.sampled_from(EXTERNAL_IDS)),
    st.tuples(st.just("delete_events"), PROCESS, NAME),
    st.tuples(st.just("expire_cache"), PROCESS),
    st.tuples(st.just("fold")),
    st.tuples(st.just("finish")),
    st.tuples(st.just("finish")),
)  # fmt: skip
SCRIPT = st.lists(STEP, min_size=8, max_size=16)


async def play(resources: Resources, clock: FixedClock, script: list[tuple[Any, ...]]) -> None:
    """Play a script in a workspace of its own. Raises AssertionError at the first wrong answer."""
    for name in ("passes", "events", "activities", "jobs"):
        await resources.db[name].delete_many({})
    simulation = StaleProcesses(await create_business(resources, clock, "Kiosk"))
    calls = [Call(tuple(Item(name, f"first {name}", 1) for name in NAMES), "plain")]
    for process in range(3):
        # The first call puts all passes into the cache of each process.
        await simulation.call(process, calls[0])
    for index, (step, *args) in enumerate(script):
        clock.set(await clock.now() + SECOND)
        if step == "repeat":
            process, number = args
            await simulation.call(process, calls[number % len(calls)])
            continue
        if step == "keyed":
            process, items = args
            calls.append(Call(tuple(replace(item, external_id=None) for item in items), "keyed", f"key {index}"))
            await simulation.call(process, calls[-1])
            continue
        calls += [each for each in args if isinstance(each, Call)]
        await getattr(simulation, step)(*args)
    await simulation.check_totals()


@settings(
    max_examples=8,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    deadline=None,
)
@given(SCRIPT)
async def test_processes_with_outdated_caches_give_right_outcomes(
    resources: Resources, clock: FixedClock, script: list[tuple[Any, ...]]
) -> None:
    await indexes.ensure_indexes(resources.db)
    await play(resources, clock, script)
