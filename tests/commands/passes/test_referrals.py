"""confirmPass and recordReferral: what a customer did is recorded once, and rules reward it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from app.commands.passes.merges import merge_passes
from app.commands.passes.referrals import confirm_pass, record_referral
from app.commands.passes.removals import erase_pass
from app.commands.rules.rules import create_rule
from app.domain.activities import CONFIRMED, CUSTOM_EVENT, REFERRED
from app.domain.errors import Code, Conflict, NotFound, Refused
from app.domain.events.events import Event
from app.domain.events.receipts import RecordStatus
from app.domain.ids import outward_id
from app.store.workspace.events import EventQueries
from tests.business import Business


async def cards(business: Business, *names: str) -> list[str]:
    """Create passes, and return their ids."""
    return [card.id for card in await business.create_passes(*names)]


async def test_pass_is_confirmed_once(business: Business) -> None:
    [ann] = await cards(business, "ann")
    calls = [await confirm_pass(business.ctx, ann) for _ in range(2)]
    await business.run_worker()
    assert [call.outcome.results[0].status for call in calls] == [RecordStatus.CREATED, RecordStatus.DUPLICATE]
    [activity] = await business.read_log(types=(CONFIRMED,))
    assert (activity.pass_id, activity.category) == (ann, "ACTION")


async def test_referral_is_an_event_of_both_customers_and_a_repeat_changes_nothing(business: Business) -> None:
    ann, bob = await cards(business, "ann", "bob")
    for _ in range(2):
        await record_referral(business.ctx, ann, bob)
    await business.run_worker()
    [referred] = await business.read_log(types=(REFERRED,))
    assert (referred.pass_id, referred.data["referral"]) == (ann, {"referredBy": bob})
    [told] = await business.read_log(types=(CUSTOM_EVENT,))
    event: Any = told.data["event"]
    assert (told.pass_id, event["type"], event["metadata"]["pass"]) == (bob, "friend_referred", ann)


async def test_repeat_records_what_a_crashed_call_did_not(business: Business, monkeypatch: pytest.MonkeyPatch) -> None:
    ann, bob = await cards(business, "ann", "bob")
    insert = EventQueries.insert

    async def insert_first_only(queries: EventQueries, events: Sequence[tuple[Event, bytes]]) -> set[int]:
        return await insert(queries, events[:1])

    with monkeypatch.context() as crashed:
        crashed.setattr(EventQueries, "insert", insert_first_only)
        call = await record_referral(business.ctx, ann, bob, "ref-1")
    event = call.outcome.results[0].event
    assert event is not None
    second = outward_id("event", event.id, 0)
    assert await business.ctx.workspace.events.get_many([second]) == {}
    repeat = await record_referral(business.ctx, ann, bob, "ref-1")
    assert repeat.outcome.results[0].status is RecordStatus.DUPLICATE
    assert second in await business.ctx.workspace.events.get_many([second])


async def test_external_id_names_one_referral(business: Business) -> None:
    ann, bob, cat = await cards(business, "ann", "bob", "cat")
    await record_referral(business.ctx, ann, bob, "ref-1")
    with pytest.raises(Conflict):
        await record_referral(business.ctx, ann, cat, "ref-1")
    call = await record_referral(business.ctx, ann, bob, "ref-2")
    assert call.outcome.results[0].status is RecordStatus.CREATED


async def test_customer_cannot_refer_the_own_pass_or_one_that_does_not_exist(business: Business) -> None:
    ann, bob = await cards(business, "ann", "bob")
    with pytest.raises(NotFound) as missing:
        await record_referral(business.ctx, ann, "pass_nowhere")
    assert missing.value.problems[0].field == ("referredByPassId",)
    await business.run_worker()
    await merge_passes(business.ctx, ann, bob)
    await business.run_worker()
    with pytest.raises(Refused) as same:
        await record_referral(business.ctx, ann, bob)
    assert (same.value.problems[0].code, same.value.problems[0].field) == (Code.INVALID, ("referredByPassId",))
    await erase_pass(business.ctx, external_id="ann")
    await business.run_worker()
    with pytest.raises(NotFound):
        await confirm_pass(business.ctx, ann)


@pytest.mark.parametrize("kind", ["pass_confirmed", "pass_referred", "friend_referred"])
async def test_only_the_mutations_record_these_types(business: Business, kind: str) -> None:
    [result] = (await business.record({"type": kind})).results
    assert (result.status, result.problems[0].field) == (RecordStatus.REJECTED, ("type",))


async def test_rule_rewards_the_customer_who_recommends(business: Business) -> None:
    ann, bob = await cards(business, "ann", "bob")
    trigger, effects = {"event": {"types": ["friend_referred"]}}, [{"awardPoints": {"points": 200}}]
    await create_rule(business.ctx, {"key": "friends", "name": "Friends", "trigger": trigger, "effects": effects})
    business.clock.set(await business.clock.now() + timedelta(seconds=1))
    await record_referral(business.ctx, ann, bob)
    await record_referral(business.ctx, ann, bob)
    await business.run_worker()
    assert [(await business.read_pass(name)).points for name in ("ann", "bob")] == [0, 200]
