"""Turns: which slots a round reads for other workspaces, and which of their pending events it gets."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from app.domain.ids import slot_of
from app.flow import SLOT_RANGES, bounds_of
from app.store.stages.pending import BacklogPosition, PendingEvent
from tests.business import Business, create_business
from workers.stages import turns
from workers.stages.fold import fold_once
from workers.stages.turns import find_unread_slots, order_ranges, read_first_events

KEY = SLOT_RANGES[0]
SLOTS_OF_KEY = range(16)


async def read_backlog(business: Business) -> list[PendingEvent]:
    """Return all pending events of the slot range, in order."""
    return await business.worker.fold_queries.pending(0, 15, None, 100_000)


async def open_with_backlogs(business: Business, *sizes: int) -> list[Business]:
    """Create a workspace for each size, with a pending event on each of so many passes; order them by id."""
    found = [await create_business(business.ctx.resources, business.clock, f"W{n}") for n in range(len(sizes))]
    found.sort(key=lambda each: each.ctx.workspace.id)
    for each, size in zip(found, sizes, strict=True):
        if size:
            await each.record(*({"amount": 1, "pass_external_id": f"p{n}"} for n in range(size)))
    return found


async def test_workspaces_behind_long_backlogs_of_others_get_their_turns_in_order(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each read of a slot is full of one workspace's events, so it hides the workspaces behind it."""
    monkeypatch.setattr(turns, "EVENTS_PER_TURN", 3)
    workspaces = await open_with_backlogs(business, 200, 0, 40, 300, 30)
    expected: dict[str, list[str]] = {}
    for item in await read_backlog(business):
        expected.setdefault(item.workspace_id, []).append(item.event.id)
    ids = [each.ctx.workspace.id for each in workspaces]
    for count in (1, 2, 4, 9):
        found = await read_first_events(business.worker, SLOTS_OF_KEY, ("", None), count)
        assert list(found) == [each for each in ids if each in expected][:count]
        assert all([item.event.id for item in items] == expected[each][:3] for each, items in found.items())
    found = await read_first_events(business.worker, SLOTS_OF_KEY, (ids[1], ids[4]), 9)
    assert list(found) == [ids[2], ids[3]]


async def test_workspaces_with_few_pending_events_need_one_read_of_each_slot(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    await open_with_backlogs(business, 9, 9, 9, 9)
    reads = count_reads(business, monkeypatch)
    await read_first_events(business.worker, SLOTS_OF_KEY, ("", None), 9)
    assert reads == Counter(SLOTS_OF_KEY)


async def test_only_a_full_round_reads_turns_and_then_each_unread_slot_twice(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = count_reads(business, monkeypatch)
    await business.record(*({"amount": 1, "pass_external_id": f"p{n}"} for n in range(200)))
    pending = await read_backlog(business)
    monkeypatch.setattr("workers.stages.fold.FOLD_BATCH_SIZE", len(pending) + 1)
    await fold_once(business.worker, KEY)
    assert reads == {}
    await business.record(*({"amount": 1, "pass_external_id": f"p{n}"} for n in range(200)))
    pending = await read_backlog(business)
    monkeypatch.setattr("workers.stages.fold.FOLD_BATCH_SIZE", len(pending) // 2)
    last = slot_of(pending[len(pending) // 2 - 1].event.pass_id)
    await fold_once(business.worker, KEY)
    assert reads == {slot: 2 for slot in SLOTS_OF_KEY if slot >= last}


def count_reads(business: Business, monkeypatch: pytest.MonkeyPatch) -> Counter[int]:
    """Return the number of reads for turns so far, by slot."""
    reads: Counter[int] = Counter()
    pending_between = business.worker.fold_queries.pending_between

    async def count_and_read(slot: int, *args: Any, **options: Any) -> list[PendingEvent]:
        reads[slot] += 1
        return await pending_between(slot, *args, **options)

    monkeypatch.setattr(business.worker.fold_queries, "pending_between", count_and_read)
    return reads


async def test_slots_of_which_a_read_saw_everything_are_not_read_again(business: Business) -> None:
    await business.record(*({"amount": 1, "pass_external_id": f"p{n}"} for n in range(300)))
    pending = await read_backlog(business)
    slots = [slot_of(item.event.pass_id) for item in pending]
    until = slots.index(9) + 1
    assert find_unread_slots(bounds_of(KEY), None, pending[:until]) == list(range(9, 16))
    first = slots.index(4)
    start = BacklogPosition(4, business.ctx.workspace.id, pending[first].event.pass_id)
    assert find_unread_slots(bounds_of(KEY), start, pending[first + 1 : until]) == [*range(5), *range(9, 16)]
    assert find_unread_slots(bounds_of(KEY), start, pending[first + 1 : first + 2]) == list(SLOTS_OF_KEY)


@pytest.mark.parametrize("last", ["", "a", "b", "bb", "c", "d", "e"])
@pytest.mark.parametrize("fullest", ["a", "b", "c", "d"])
def test_ranges_contain_every_other_workspace_once_beginning_behind_the_last_turn(last: str, fullest: str) -> None:
    ids = ["a", "aa", "b", "bb", "c", "d"]
    others = [each for each in ids if each != fullest]
    expected = [each for each in others if each > last] + [each for each in others if each <= last]
    ranges = order_ranges(last, fullest)
    assert [each for first, end in ranges for each in ids if first <= each and (end is None or each < end)] == expected
