"""Rewards that rules give: each firing gives its rewards once, by the terms of the reward, and failures can be repeated."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from app.commands.passes.removals import erase_pass, remove_events
from app.commands.rewards.redemptions import find_redemptions, rollback_redemption
from app.commands.rewards.rewards import archive_reward, create_reward, update_reward
from app.commands.rules.retries import retry_rule_firings
from app.commands.rules.rules import create_rule
from app.domain.activities import CODE_ISSUED, REDEEMED, REDEMPTION_FAILED, REWARDED
from app.domain.errors import Refused
from app.domain.events.event_queries import EventQuery
from app.domain.events.events import REDEMPTION
from app.domain.ids import outward_id, redemption_id
from app.domain.rewards.redemptions import Redemption, RedemptionStatus
from app.domain.rewards.rewards import LabelledReward
from app.domain.rules.statistics import FiringQuery, FiringStatus
from app.store.mongo.paging import PageRequest
from tests.business import Business


async def offer(business: Business, key: str = "coffee", **terms: Any) -> LabelledReward:
    """Create a reward that costs 100 points."""
    return await create_reward(business.ctx, {"key": key, "name": key, "pointsCost": 100, **terms})


async def give_on_purchase(business: Business, *rewards: str) -> str:
    """Create a rule that gives rewards for each purchase, and return its id."""
    effects = [{"issueReward": {"rewardKey": key}} for key in rewards]
    trigger = {"event": {"types": ["purchase"]}}
    sent: Mapping[str, object] = {"key": "gift", "name": "Gift", "trigger": trigger, "effects": effects}
    created = await create_rule(business.ctx, sent)
    business.clock.set(await business.clock.now() + timedelta(seconds=1))
    return created.id


async def redemptions(business: Business) -> list[Redemption]:
    """Return all redemptions, those that failed last."""
    page = await business.ctx.workspace.events.page(EventQuery(types=(REDEMPTION,)), PageRequest(1_000))
    found = await find_redemptions(business.ctx.workspace, [redemption_id(event.id) for event in page.items])
    return sorted(found.values(), key=lambda each: each.status, reverse=True)


async def failed_firings(business: Business) -> list[str]:
    """Return the reasons of the failed effects of all firings."""
    page = await business.ctx.workspace.firings.page(FiringQuery(status=FiringStatus.FAILED), PageRequest(100))
    results: list[Any] = [each for fired in page.items for each in fired.metadata["effects"]]  # type: ignore[attr-defined]
    return [each["reason"] for each in results if each["status"] == "FAILED"]


async def units(business: Business) -> int:
    """Return the number of units that redemptions hold."""
    return await business.ctx.resources.db["reward_units"].count_documents({"workspace": business.ctx.workspace.id})


async def test_rule_gives_each_reward_once_and_for_no_points(business: Business) -> None:
    await offer(business)
    await offer(business, "cake", code={"pattern": "CAKE-######"})
    await give_on_purchase(business, "coffee", "cake")
    await business.record({"amount": 5})
    await business.run_worker()
    found = await redemptions(business)
    assert sorted(each.reward_key for each in found) == ["cake", "coffee"]
    assert {each.status for each in found} == {RedemptionStatus.SUCCEEDED}
    assert sum([each.points_spent or Decimal(0) for each in found]) == 0
    log = [each.type for each in await business.read_log()]
    assert (log.count(REDEEMED), log.count(REWARDED), log.count(CODE_ISSUED)) == (2, 2, 1)
    await asyncio.gather(business.react(), business.react())
    assert len(await redemptions(business)) == 2


async def test_effects_of_one_firing_have_ids_of_their_own(business: Business, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mutant: without the index of the effect in the id, the second reward would count as a repeat of the first."""
    monkeypatch.setattr(
        "app.domain.reactions.reactions.outward_id", lambda prefix, event, _: outward_id(prefix, event, 0)
    )
    await offer(business)
    await offer(business, "cake")
    await give_on_purchase(business, "coffee", "cake")
    await business.record({"amount": 5})
    await business.run_worker()
    assert [each.reward_key for each in await redemptions(business)] == ["coffee"]


async def test_rule_cannot_name_a_reward_that_is_not_offered(business: Business) -> None:
    reward = await offer(business)
    await archive_reward(business.ctx, reward.id)
    for key in ("coffee", "none"):
        with pytest.raises(Refused) as refused:
            await give_on_purchase(business, key)
        assert refused.value.problems[0].field == ("effects", "0", "issueReward", "rewardKey")


async def test_sold_out_reward_fails_the_effect_and_a_retry_gives_it(business: Business) -> None:
    reward = await offer(business, limits={"total": 1})
    rule_id = await give_on_purchase(business, "coffee")
    await business.record({"amount": 5}, {"pass_external_id": "bob", "amount": 5})
    await business.run_worker()
    assert len(await redemptions(business)) == 1
    assert await failed_firings(business) == ["SOLD_OUT: All units of the reward are taken."]
    assert await retry_rule_firings(business.ctx, ids=None, rule_id=rule_id) == 1
    await business.run_worker()
    assert len(await failed_firings(business)) == 1
    await update_reward(business.ctx, reward.id, {"limits": {"total": 2}})
    assert await retry_rule_firings(business.ctx, ids=None, rule_id=rule_id) == 1
    await business.run_worker()
    assert await failed_firings(business) == []
    assert [each.status for each in await redemptions(business)] == [RedemptionStatus.SUCCEEDED] * 2
    assert await retry_rule_firings(business.ctx, ids=None, rule_id=rule_id) == 0
    assert await units(business) == 2


async def test_declined_reward_fails_the_effect_and_a_retry_takes_the_next_id(business: Business) -> None:
    """The limit for each pass is a term of the reward, so the walk declines the second one. Its unit is free again."""
    reward = await offer(business, limits={"perPass": {"count": 1}, "total": 10})
    rule_id = await give_on_purchase(business, "coffee")
    await business.record({"amount": 5}, {"amount": 6})
    await business.run_worker()
    found = await redemptions(business)
    assert [each.status for each in found] == [RedemptionStatus.SUCCEEDED, RedemptionStatus.FAILED]
    assert (await failed_firings(business))[0].startswith("LIMIT_PER_PASS")
    assert await units(business) == 1
    assert REDEMPTION_FAILED in [each.type for each in await business.read_log()]
    await update_reward(business.ctx, reward.id, {"limits": {"perPass": {"count": 5}, "total": 10}})
    business.clock.set(await business.clock.now() + timedelta(seconds=1))
    assert await retry_rule_firings(business.ctx, ids=None, rule_id=rule_id) == 1
    await business.run_worker()
    assert await failed_firings(business) == []
    statuses = [each.status for each in await redemptions(business)]
    assert statuses == [RedemptionStatus.SUCCEEDED, RedemptionStatus.SUCCEEDED, RedemptionStatus.FAILED]
    assert await units(business) == 2


async def test_units_of_redemptions_that_are_rolled_back_or_removed_are_free(business: Business) -> None:
    await offer(business, limits={"total": 10})
    await give_on_purchase(business, "coffee")
    await business.record(
        {"amount": 5}, {"pass_external_id": "bob", "amount": 5}, {"pass_external_id": "cy", "amount": 5}
    )
    await business.run_worker()
    assert await units(business) == 3
    first, second, _ = await redemptions(business)
    assert first.id is not None
    await rollback_redemption(business.ctx, first.id, max_seconds=0)
    await business.run_worker()
    assert await units(business) == 2
    assert second.event is not None
    await remove_events(business.ctx, [(second.event.pass_id, second.event.id)])
    await business.run_worker()
    assert await units(business) == 1


async def test_nothing_is_given_to_a_pass_that_is_erased_first(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.stages.erase.CACHE_EXPIRY_SECONDS", 0)
    await offer(business, limits={"total": 10})
    await give_on_purchase(business, "coffee")
    await business.record({"amount": 5})
    await erase_pass(business.ctx, external_id="ann")
    for _ in range(3):
        await business.run_worker()
    assert await redemptions(business) == []
    assert await units(business) == 0


async def test_a_late_insert_for_an_erased_pass_is_refused(business: Business) -> None:
    """A slow worker has read the firing before the erasure: it finds a stub under the id of the effect."""
    await offer(business)
    await give_on_purchase(business, "coffee")
    await business.record({"amount": 5})
    await business.run_worker()
    [redemption] = await redemptions(business)
    erasure = await erase_pass(business.ctx, external_id="ann")
    for _ in range(3):
        await business.run_worker()
    assert await business.ctx.resources.db["erasures"].find_one({"_id": erasure.pass_id}) is not None
    assert redemption.event is not None
    assert await business.ctx.workspace.events.insert([(redemption.event, b"")]) == {0}
    assert await redemptions(business) == []
