"""The first and the last event are found in one read, or part by part where the store would read all events."""

from __future__ import annotations

from functools import partial
from itertools import pairwise

import pytest

from app.domain.values.instants import DAY_MS, EARLIEST, LATEST, from_ms, parse_instant, to_ms
from app.resources import Resources
from app.store.mongo.ids import new_id
from app.store.mongo.queries import CHUNK
from app.store.operations import first_events
from app.store.operations.first_events import find_event_instant, split_time

LOW_MS, HIGH_MS = to_ms(EARLIEST), to_ms(LATEST)
NOW_MS = 1_780_000_000_000


def test_parts_of_time_are_complete_and_short_where_events_are() -> None:
    parts = split_time(LOW_MS, HIGH_MS, NOW_MS)
    assert (parts[0][0], parts[-1][1]) == (LOW_MS, HIGH_MS)
    assert all(before[1] == after[0] for before, after in pairwise(parts))
    assert {end - start for start, end in parts if 946_684_800_000 <= start < NOW_MS} == {7 * DAY_MS}
    assert len(parts) < 1_800
    assert split_time(5, 6, NOW_MS) == [(5, 6)]


@pytest.mark.parametrize("in_chunk", [100, CHUNK])
async def test_ends_of_a_large_store_are_those_of_a_small_one(
    resources: Resources, monkeypatch: pytest.MonkeyPatch, in_chunk: int
) -> None:
    workspace_id, other = new_id("ws"), new_id("ws")
    instants = ("1950-06-01T00:00:00Z", "1999-12-31T23:59:59.999Z", "2000-01-01T00:00:00Z", "2000-03-01T12:00:00Z")
    times = [to_ms(parse_instant(each)) for each in instants]
    docs = [{"_id": new_id("event"), "workspace": workspace_id, "occurred_at": from_ms(at)} for at in times]
    await resources.db["events"].insert_many([*docs, {**docs[0], "_id": new_id("event"), "workspace": other}])
    find = partial(find_event_instant, resources.db, in_chunk, {"workspace": workspace_id})
    low_ms, high_ms = times[0] - DAY_MS, times[3] + DAY_MS
    for large in (first_events.LARGE_STORE_EVENTS, 0):
        monkeypatch.setattr(first_events, "LARGE_STORE_EVENTS", large)
        for low, high in ((low_ms, high_ms), (times[0] + 1, times[3]), (times[1], times[2]), (times[2] + 1, times[3])):
            inside = [at for at in times if low <= at < high]
            assert await find(low, high) == min(inside, default=None)
            assert await find(low, high, direction=-1) == max(inside, default=None)
