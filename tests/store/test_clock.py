"""The manual clock in the store."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from app.domain.errors import InvalidInput
from app.domain.values.instants import EPOCH
from app.resources import Resources
from app.store.clock import MANUAL_CLOCK_DELAY, MongoClock

JULY = datetime(1998, 7, 1, tzinfo=UTC)
MILLISECOND = timedelta(milliseconds=1)


async def test_manual_clock_shows_1970_until_it_is_set(resources: Resources) -> None:
    clock = MongoClock(resources.db)
    assert await clock.now() == EPOCH
    assert await clock.elapsed() == EPOCH


async def test_every_process_reads_the_instant_that_was_set(resources: Resources) -> None:
    assert await MongoClock(resources.db).set(JULY) == JULY
    assert await MongoClock(resources.db).now() == JULY


async def test_instant_is_truncated_to_milliseconds(resources: Resources) -> None:
    clock = MongoClock(resources.db)
    assert await clock.set(JULY + timedelta(microseconds=1999)) == JULY + MILLISECOND
    assert await clock.now() == JULY + MILLISECOND


async def test_manual_clock_only_moves_forward(resources: Resources) -> None:
    clock = MongoClock(resources.db)
    await clock.set(JULY)
    with pytest.raises(InvalidInput, match="only moves forward"):
        await clock.set(JULY - MILLISECOND)
    assert await clock.now() == JULY


async def test_instant_that_was_just_set_has_not_elapsed(resources: Resources) -> None:
    clock = MongoClock(resources.db)
    await clock.set(JULY)
    assert await clock.elapsed() == JULY - MILLISECOND


async def test_instant_has_elapsed_after_the_delay(resources: Resources) -> None:
    clock = MongoClock(resources.db)
    await clock.set(JULY)
    long_ago = datetime.now(UTC) - MANUAL_CLOCK_DELAY
    await resources.db.get_collection("clock").update_one({"_id": "clock"}, {"$set": {"moved_at": long_ago}})
    assert await clock.elapsed() == JULY


async def test_setting_the_same_instant_again_does_not_restart_the_delay(resources: Resources) -> None:
    clock = MongoClock(resources.db)
    await clock.set(JULY)
    long_ago = datetime.now(UTC) - MANUAL_CLOCK_DELAY
    await resources.db.get_collection("clock").update_one({"_id": "clock"}, {"$set": {"moved_at": long_ago}})
    assert await clock.set(JULY) == JULY
    assert await clock.elapsed() == JULY
