"""Crashes and races of workers that send messages: none is lost, and each outcome is recorded once."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from app.clock import FixedClock
from app.domain.messages.messages import Message, MessageStatus
from app.domain.webhooks.partitions import partition_of
from app.resources import Resources
from app.store.stages.endpoint_leases import LEASE_MS, EndpointLeases
from app.store.workspace.events import EventQueries
from app.store.workspace.messages import MessageQueries
from tests.crashes import Crash, CrashInjector
from tests.messaging import HOUR, Harness, open_harness
from tests.patience import wait_until
from workers.worker import Worker

STEPS = (
    (EndpointLeases, ("claim", "save_progress", "go_idle")),
    (MessageQueries, ("due", "save", "next_due_ms")),
    (EventQueries, ("insert",)),
)


@pytest.fixture
async def harness(resources: Resources, clock: FixedClock) -> AsyncIterator[Harness]:
    """Open a business with a channel to a local mail server."""
    async with open_harness(resources, clock) as opened:
        yield opened


def with_crashes(injector: CrashInjector, method: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    async def step(*args: Any, **options: Any) -> Any:
        return await injector.with_crashes(method.__name__, method)(*args, **options)

    return step


async def queue(harness: Harness, passes: int, count: int) -> list[Message]:
    """Queue messages to so many passes, in turn."""
    cards = [await harness.customer(f"c{number}") for number in range(passes)]
    return [await harness.queue(cards[number % passes], template=f"Mail {number}") for number in range(count)]


def count_mails(harness: Harness) -> Counter[str]:
    return Counter(mail.id.partition("@")[0] for mail in harness.mail.mails)


async def test_crashes_at_any_step_lose_no_message_and_record_each_outcome_once(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some mails fail on their way, and the worker crashes at any of its writes, before or after it."""
    messages = await queue(harness, 12, 60)
    injector = CrashInjector(3, 0.1)
    answers = 0

    def fail_sometimes(_: object) -> str:
        nonlocal answers
        answers += 1
        return "451 try later" if answers % 7 == 0 else "250 OK"

    harness.mail.answer_data = fail_sometimes
    with monkeypatch.context() as patched:
        for cls, names in STEPS:
            for name in names:
                patched.setattr(cls, name, with_crashes(injector, getattr(cls, name)))
        for _ in range(40):
            harness.now_ms += LEASE_MS
            with contextlib.suppress(Crash):
                await harness.send_only(worker=Worker.on(harness.business.ctx.resources))
    harness.mail.answer_data = lambda _: "250 OK"
    await harness.send(HOUR)
    await harness.send(HOUR)
    assert sum(injector.crashes.values()) > 5
    stored = await harness.business.ctx.workspace.messages.get_many([each.id for each in messages])
    assert {each.status for each in stored.values()} == {MessageStatus.SENT}
    sent = count_mails(harness)
    assert set(sent) == {each.id for each in messages}
    repeated = Counter(partition_of(each.pass_id) for each in messages for _ in range(sent[each.id] - 1))
    assert max(repeated.values(), default=0) <= sum(injector.crashes.values())
    reported = [each.data["event"]["metadata"]["message"] for each in await harness.outcomes()]  # type: ignore[index]
    assert sorted(reported) == sorted(each.id for each in messages)


async def test_concurrent_workers_send_no_message_twice(harness: Harness) -> None:
    messages = await queue(harness, 10, 40)
    workers = [Worker.on(harness.business.ctx.resources) for _ in range(4)]
    await asyncio.gather(*(harness.send_only(worker=worker) for worker in workers))
    assert count_mails(harness) == {each.id: 1 for each in messages}


async def test_worker_whose_lease_ended_repeats_one_message_for_each_partition(harness: Harness) -> None:
    messages = await queue(harness, 10, 30)
    partitions = len({partition_of(each.pass_id) for each in messages})
    may_answer = asyncio.Event()
    asked: list[str] = []

    async def hold(to: str) -> str:
        asked.append(to)
        await may_answer.wait()
        return "250 OK"

    harness.mail.hold_recipient = hold
    slow, quick = (Worker.on(harness.business.ctx.resources) for _ in range(2))
    first = asyncio.create_task(harness.send_only(worker=slow))
    await wait_until(lambda: len(asked) >= partitions, pause_seconds=0.005)
    harness.now_ms += LEASE_MS
    second = asyncio.create_task(harness.send_only(worker=quick))
    await wait_until(lambda: len(asked) >= 2 * partitions, pause_seconds=0.005)
    may_answer.set()
    await asyncio.gather(first, second)
    await harness.business.run_worker()
    sent = count_mails(harness)
    assert set(sent) == {each.id for each in messages}
    assert sum(sent.values()) == len(messages) + partitions
    assert len(await harness.outcomes()) == len(messages)
