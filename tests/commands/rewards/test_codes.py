"""Codes of redemptions: one that no customer has seen becomes free again, whatever crashes and whichever till records."""

from __future__ import annotations

import asyncio
import contextlib
from random import Random
from typing import Any
from zlib import crc32

import pytest

from app.commands.passes.removals import remove_events
from app.commands.rewards import codes as code_commands
from app.commands.rewards.redemptions import RedemptionInput, redeem_reward
from app.domain.errors import Refused
from app.domain.rewards.redemptions import RedemptionStatus
from app.store.stages.endpoint_leases import EndpointLeases
from app.store.workspace.codes import CodeQueries
from app.store.workspace.events import EventQueries
from app.store.workspace.reactions import ReactionQueries
from tests.business import Business
from tests.crashes import Crash, CrashInjector
from tests.workers.stages.test_deliver_crashes import with_crashes
from tests.workers.stages.test_restock import restock

from .shop import create, give_points, read, redeem, request, roll_back

STEPS = (
    (CodeQueries, ("claim", "free", "close")),
    (EventQueries, ("insert",)),
    (EndpointLeases, ("claim", "save_progress", "go_idle")),
    (ReactionQueries, ("announce_work",)),
)
PATTERN = {"pattern": "C-######"}


async def held(business: Business) -> list[str]:
    """Return the ids of the codes that no redemption can claim."""
    docs = await business.ctx.resources.db["reward_codes"].find({"workspace": business.ctx.workspace.id}).to_list(None)
    return sorted(doc["_id"] for doc in docs)


def ids_of(business: Business, *codes: str | None) -> list[str]:
    return sorted(business.ctx.workspace.codes.id_of(code) for code in codes if code is not None)


async def test_code_is_free_again_only_if_no_customer_has_seen_it(business: Business) -> None:
    """The code of a redemption that was rolled back or removed stays taken: the customer may still show it."""
    await create(business, code=PATTERN)
    await give_points(business, 200, "ann")
    rolled, removed = await redeem(business), await redeem(business)
    declined = await redeem(business)
    assert declined.status is RedemptionStatus.FAILED
    assert await held(business) == ids_of(business, rolled.code, removed.code)
    await roll_back(business, rolled.id)
    assert removed.event is not None
    await remove_events(business.ctx, [(removed.event.pass_id, removed.event.id)])
    await business.run_worker()
    await restock(business)
    assert await held(business) == ids_of(business, rolled.code, removed.code)
    assert await business.ctx.workspace.codes.open_codes(2, 10) == []


async def test_repeat_that_stalls_until_the_decline_gives_its_code_back(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two tills send one redemption. The slow one claims the code when the other's is declined and its code is free."""
    await create(business, code=PATTERN)
    await business.create_passes("ann")
    claim = CodeQueries.claim

    async def slow_claim(self: CodeQueries, *args: Any, **options: Any) -> bool:
        monkeypatch.setattr(CodeQueries, "claim", claim)
        await redeem(business, external_id="1")
        assert await held(business) == []
        return await claim(self, *args, **options)

    monkeypatch.setattr(CodeQueries, "claim", slow_claim)
    await request(business, external_id="1")
    assert len(await held(business)) == 1
    await restock(business, age=False)
    assert len(await held(business)) == 1
    await restock(business)
    assert await held(business) == []


async def test_repeat_that_claims_another_code_than_was_recorded_gives_it_back(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first code was taken when one till asked, and free when the other did."""
    monkeypatch.setattr(code_commands, "make_code", lambda *args: f"C-{args[3]}")
    await create(business, code=PATTERN)
    await give_points(business, 100, "ann")
    codes = business.ctx.workspace.codes
    await codes.claim("C-0", "red_other", "pass_other", system_ms=1)
    found = await redeem(business, external_id="1")
    assert found.code == "C-1"
    await codes.free([(codes.id_of("C-0"), "red_other")])
    assert found.id is not None
    assert await codes.claim("C-0", found.id, "pass", system_ms=1)
    await restock(business)
    assert await held(business) == ids_of(business, "C-1")


@pytest.mark.parametrize("seed", range(2))
async def test_crashes_and_two_tills_use_up_no_code_and_give_none_twice(
    business: Business, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Five codes exist, three redemptions can be paid, and eight are sent by two tills each."""
    monkeypatch.setattr(code_commands, "make_code", lambda *args: f"C-{(crc32(args[2].encode()) + args[3]) % 5}")
    await create(business, code=PATTERN)
    await give_points(business, 300, "ann")
    injector, random, redeemed_ids = CrashInjector(seed, 0.2), Random(seed), set[str]()

    async def send(external_id: str) -> None:
        asked = RedemptionInput(reward_key="coffee", pass_external_id="ann", external_id=external_id)
        with contextlib.suppress(Crash, Refused):
            redeemed = await redeem_reward(business.ctx, asked, wait_seconds=0)
            redeemed_ids.add(redeemed.redemption.id or "")

    with monkeypatch.context() as crashing:
        for cls, names in STEPS:
            for name in names:
                crashing.setattr(cls, name, with_crashes(injector, getattr(cls, name)))
        for number in range(8):
            await asyncio.gather(*(send(f"r{number}") for _ in range(2)))
            with contextlib.suppress(Crash):
                await business.run_worker()
            if random.random() < 0.5:
                await send(f"r{number}")
            with contextlib.suppress(Crash):
                await restock(business)
    assert sum(injector.crashes.values()) > 3
    # A till whose calls all crashed repeats: it does not know the redemption that one of them has recorded.
    for number in range(8):
        await send(f"r{number}")
    await business.run_worker()
    await business.ctx.workspace.reactions.announce_work(0)
    await business.react()
    await restock(business)
    found = [await read(business, each) for each in redeemed_ids]
    codes = [each.code for each in found if each.code is not None]
    assert (len(codes), len(set(codes))) == (3, 3)
    assert await held(business) == ids_of(business, *codes)
