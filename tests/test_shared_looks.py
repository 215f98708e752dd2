"""Shared looks: many callers wait with one look at a time, and each gets what it waits for."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

import pytest

from app.domain.errors import Unavailable
from app.shared_looks import SharedLook
from tests.patience import PATIENCE_SECONDS


class Work:
    """Keys that become done, and the looks at them."""

    def __init__(self) -> None:
        self.done: set[str] = set()
        self.looks: list[tuple[set[str], set[str]]] = []
        self.looked = asyncio.Condition()
        self.idle = 0
        self.error: Exception | None = None
        self.look = SharedLook(self.find_done, self.note_idle)

    def note_idle(self) -> None:
        self.idle += 1

    async def find_done(self, keys: Collection[str], new: Collection[str]) -> set[str]:
        self.looks.append((set(keys), set(new)))
        async with self.looked:
            self.looked.notify_all()
        if self.error is not None:
            raise self.error
        return self.done & set(keys)

    async def wait_for_looks(self, number: int) -> None:
        async with self.looked, asyncio.timeout(PATIENCE_SECONDS):
            await self.looked.wait_for(lambda: len(self.looks) >= number)


async def test_callers_share_a_look_and_get_their_own_keys() -> None:
    work = Work()
    callers = [asyncio.create_task(work.look.wait({f"k{n}", "all"}, PATIENCE_SECONDS)) for n in range(50)]
    await work.wait_for_looks(2)
    assert work.looks[1][0] == {"all", *(f"k{n}" for n in range(50))}
    assert work.looks[1][1] == set()
    work.done = {"all", *(f"k{n}" for n in range(50))}
    assert await asyncio.gather(*callers) == [set()] * 50
    assert len(work.looks) < 50
    await asyncio.sleep(0)
    assert work.idle == 1


async def test_caller_that_comes_later_ends_a_long_pause_and_its_keys_are_new() -> None:
    work = Work()
    first = asyncio.create_task(work.look.wait({"a"}, PATIENCE_SECONDS))
    await work.wait_for_looks(4)
    work.done = {"b"}
    assert await work.look.wait({"b"}, PATIENCE_SECONDS) == set()
    assert [new for _, new in work.looks if new] == [{"a"}, {"b"}]
    work.done = {"a"}
    assert await first == set()


async def test_caller_gets_what_is_not_done_in_time_and_the_others_go_on_waiting() -> None:
    work = Work()
    other = asyncio.create_task(work.look.wait({"a"}, PATIENCE_SECONDS))
    work.done = {"b"}
    assert await work.look.wait({"b", "c"}, 0.2) == {"c"}
    assert not other.done()
    work.done = {"a"}
    assert await other == set()
    assert await work.look.wait(set(), 1) == set()


async def test_failed_look_ends_every_wait_and_a_later_one_begins_anew() -> None:
    work = Work()
    work.error = Unavailable("store")
    callers = [asyncio.create_task(work.look.wait({"a"}, PATIENCE_SECONDS)) for _ in range(2)]
    for caller in callers:
        with pytest.raises(Unavailable):
            await caller
    work.error, work.done = None, {"a"}
    assert await work.look.wait({"a"}, PATIENCE_SECONDS) == set()


async def test_cancelled_caller_leaves_and_the_loop_ends() -> None:
    work = Work()
    caller = asyncio.create_task(work.look.wait({"a"}, PATIENCE_SECONDS))
    await work.wait_for_looks(1)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not work.idle:
            await asyncio.sleep(0.01)
    assert await work.look.wait(["b"], 0) == {"b"}
