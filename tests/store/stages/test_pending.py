"""Reads of pending events: rounds go through them in index order, position by position, and miss none."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from app.domain.events.events import Category, Event, Origin
from app.domain.ids import SLOTS, slot_of
from app.resources import Resources
from app.store.codecs.events import to_doc
from app.store.operations.indexes import ensure_indexes
from app.store.stages.pending import BacklogPosition, PendingEvent, PendingQueries
from tests.backlogs import ExaminedCollection

START = datetime(2026, 1, 1, tzinfo=UTC)
WORKSPACES = ("ws_a", "ws_a0", "ws_b")
LOW, HIGH = 0, 7

Key = tuple[BacklogPosition, datetime, str]


def pass_ids_of_range() -> list[str]:
    """Return the ids of 60 passes in the slots LOW to HIGH; some ids begin with another one."""
    names = [f"pass_{n}" for n in range(2_000)]
    return [name for name in names if LOW <= slot_of(name) <= HIGH][:60]


def key_of(item: PendingEvent) -> Key:
    """Return the place of an event in the order of the index."""
    event = item.event
    position = BacklogPosition(slot_of(event.pass_id), item.workspace_id, event.pass_id)
    return position, event.occurred_at, event.id


@pytest.fixture
async def queries(resources: Resources) -> PendingQueries:
    """Store three pending events for each of 60 passes of three workspaces, and events outside the range."""
    await ensure_indexes(resources.db)
    docs = []
    for number, pass_id in enumerate(pass_ids_of_range()):
        for n in range(3):
            event = build_event(f"event_{number}_{n}", pass_id, START - timedelta(seconds=n))
            docs.append(to_doc(event, WORKSPACES[number % 3], b"", slot_of(pass_id)))
    outside = next(name for name in map(str, range(SLOTS * 9)) if slot_of(name) == HIGH + 1)
    docs.append(to_doc(build_event("event_outside", outside, START), WORKSPACES[0], b"", HIGH + 1))
    counted = to_doc(build_event("event_counted", pass_ids_of_range()[0], START), WORKSPACES[0], b"", 0)
    del counted["pend"]
    await resources.db["events"].insert_many([*docs, counted])
    return PendingQueries(resources.db, 7)


def build_event(event_id: str, pass_id: str, at: datetime) -> Event:
    """Return a visit."""
    return Event(
        id=event_id, pass_id=pass_id, category=Category.ACTIVITY, type="visit", amount=None, currency=None,
        points=Decimal(0), source="till", external_id=None, metadata={}, occurred_at=at, recorded_at=at,
        origin=Origin("API", "key_test"),
    )  # fmt: skip


async def test_pending_events_come_by_slot_workspace_pass_and_time(queries: PendingQueries) -> None:
    keys = [key_of(item) for item in await queries.pending(LOW, HIGH, None, 1_000)]
    assert len(keys) == 180
    assert keys == sorted(keys)
    assert {position.slot for position, _, _ in keys} == set(range(LOW, HIGH + 1))


async def test_every_position_divides_the_pending_events_into_those_before_and_behind_it(
    queries: PendingQueries,
) -> None:
    keys = [key_of(item) for item in await queries.pending(LOW, HIGH, None, 1_000)]
    for after in {position for position, _, _ in keys}:
        behind = [key for key in keys if key[0] > after]
        found = await queries.pending(LOW, HIGH, after, 1_000)
        assert [key_of(item) for item in found] == behind
        for limit in (1, 5):
            found = await queries.pending(LOW, HIGH, after, limit)
            assert [key_of(item) for item in found] == behind[:limit]


@pytest.mark.parametrize(
    ("between", "expected"),
    [
        (("", None), {"ws_a", "ws_a0", "ws_b"}),
        (("", "ws_a0"), {"ws_a"}),
        (("ws_a\0", None), {"ws_a0", "ws_b"}),
        (("ws_a\0", "ws_b"), {"ws_a0"}),
    ],
)
async def test_pending_events_of_a_slot_are_read_for_a_range_of_workspaces(
    queries: PendingQueries, between: tuple[str, str | None], expected: set[str]
) -> None:
    keys = [key_of(item) for item in await queries.pending(3, 3, None, 1_000)]
    found = [key_of(item) for item in await queries.pending_between(3, between, 1_000)]
    assert found == [key for key in keys if key[0].workspace_id in expected]
    assert {position.workspace_id for position, _, _ in found} == expected
    assert [key_of(item) for item in await queries.pending_between(3, between, 2)] == found[:2]


async def test_passes_with_pending_events_are_found_in_their_own_workspace_only(queries: PendingQueries) -> None:
    pass_ids = pass_ids_of_range()
    workspace_ids = {pass_id: WORKSPACES[number % 3] for number, pass_id in enumerate(pass_ids)}
    assert await queries.with_pending(workspace_ids | {"pass_none": "ws_a"}) == set(pass_ids)
    assert await queries.with_pending(dict.fromkeys(pass_ids, "ws_c")) == set()
    assert await queries.with_pending({}) == set()


async def test_read_of_a_long_backlog_examines_few_more_events_than_it_returns(queries: PendingQueries) -> None:
    keys = [key_of(item) for item in await queries.pending(LOW, HIGH, None, 1_000)]
    queries._events = examined = ExaminedCollection(queries._events)  # type: ignore[assignment]
    in_slot = Counter(position.slot for position, _, _ in keys)
    for limit, read in ((in_slot[LOW], [[LOW]]), (in_slot[LOW] + 1, [[LOW], [LOW + 1, LOW + 2]])):
        examined.examined.clear()
        found = await queries.pending(LOW, HIGH, None, limit, is_long=True)
        assert [key_of(item) for item in found] == keys[:limit]
        assert examined.examined == [sum(in_slot[slot] for slot in slots) for slots in read]
    examined.examined.clear()
    assert [key_of(item) for item in await queries.pending(LOW, HIGH, None, 1_000, is_long=True)] == keys
    assert len(examined.examined) == 4, "1, 2, 4 slots and the last one"
