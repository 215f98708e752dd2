"""Gift cards: a balance of money in one currency, exact, that never becomes negative."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any

import pytest

from app.commands.passes.merges import merge_passes
from app.commands.passes.passes import create_passes
from app.domain.activities import EVENT_DECLINED, GIFT_BALANCE_ADDED
from app.domain.errors import Code, Conflict
from app.domain.events.event_queries import EventQuery
from app.domain.events.events import GIFT_ADDED, GIFT_SPENT
from app.domain.events.receipts import RecordStatus
from app.domain.passes.gifts import INSUFFICIENT_BALANCE, NOT_A_GIFT_CARD, WRONG_CURRENCY, gift_balance
from app.domain.passes.inputs import PassInput
from app.domain.passes.passes import GIFT_CARD, LOYALTY_CARD
from app.store.mongo.paging import PageRequest
from tests.business import Business


@pytest.fixture(name="business")
async def business_with_card(business: Business) -> Business:
    """Return a business with the gift card `card`, in EUR."""
    await create_passes(business.ctx, [PassInput("card", kind=GIFT_CARD, currency="EUR")])
    return business


async def change(business: Business, kind: str, amount: object, currency: str = "EUR", name: str = "card") -> Any:
    """Record a change of the balance, and return the outcome of the item."""
    outcome = await business.record({"type": kind, "amount": amount, "currency": currency, "pass_external_id": name})
    return outcome.results[0]


async def balance(business: Business, name: str = "card") -> Decimal:
    """Return the balance after all work is done."""
    await business.run_worker()
    card = await business.read_pass(name)
    assert card.gift_currency is not None
    return gift_balance(card.gift_currency, card.aggregates, card.made_aggregates)


async def reasons(business: Business) -> list[str]:
    """Return the codes of the reasons why events were declined."""
    page = await business.ctx.workspace.events.page(EventQuery(types=(GIFT_ADDED, GIFT_SPENT)), PageRequest(1_000))
    return sorted(reason.code for event in page.items for reason in event.outcome.reasons)


async def test_balance_is_what_was_added_less_what_was_spent_exactly(business: Business) -> None:
    await change(business, GIFT_ADDED, "50.10")
    await business.run_worker()
    await change(business, GIFT_SPENT, "0.01")
    await change(business, GIFT_SPENT, "20.09")
    assert await balance(business) == 30
    assert [each.type for each in await business.read_log()].count(GIFT_BALANCE_ADDED) == 1


async def test_card_cannot_spend_more_than_it_holds(business: Business) -> None:
    await change(business, GIFT_ADDED, 10)
    await business.run_worker()
    await change(business, GIFT_SPENT, "10.01")
    assert await balance(business) == 10
    assert await reasons(business) == [INSUFFICIENT_BALANCE]
    assert EVENT_DECLINED in [each.type for each in await business.read_log()]


async def test_of_many_tills_at_once_exactly_as_many_succeed_as_the_card_can_pay(business: Business) -> None:
    await change(business, GIFT_ADDED, 100)
    await business.run_worker()
    await asyncio.gather(*(change(business, GIFT_SPENT, 10) for _ in range(40)))
    assert await balance(business) == 0
    assert await reasons(business) == [INSUFFICIENT_BALANCE] * 30


async def test_card_holds_one_currency_only(business: Business) -> None:
    await change(business, GIFT_ADDED, 10, "USD")
    assert await balance(business) == 0
    assert await reasons(business) == [WRONG_CURRENCY]


async def test_other_passes_have_no_balance(business: Business) -> None:
    await business.create_passes("ann")
    await change(business, GIFT_ADDED, 10, name="ann")
    await business.run_worker()
    assert await reasons(business) == [NOT_A_GIFT_CARD]
    assert (await business.read_pass("ann")).kind == LOYALTY_CARD


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({}, Code.REQUIRED),
        ({"amount": 0}, Code.OUT_OF_RANGE),
        ({"amount": 1, "correction_of": "event_x"}, Code.INVALID),
    ],
)
async def test_change_without_an_amount_is_rejected(business: Business, fields: dict[str, object], code: Code) -> None:
    outcome = await business.record({"type": GIFT_ADDED, "pass_external_id": "card", **fields})
    assert outcome.results[0].status is RecordStatus.REJECTED
    assert outcome.results[0].problems[0].code is code


async def test_kind_and_currency_are_part_of_a_repeated_creation(business: Business) -> None:
    inputs = [
        PassInput("card", kind=GIFT_CARD, currency="EUR"),
        PassInput("card", kind=GIFT_CARD, currency="USD"),
        PassInput("card"),
        PassInput("new", currency="EUR"),
        PassInput("new", kind="VOUCHER"),
        PassInput("dollars", kind=GIFT_CARD),
    ]
    results = [(await create_passes(business.ctx, [each]))[0] for each in inputs]
    assert [each.status.value for each in results] == [
        "DUPLICATE", "CONFLICT", "CONFLICT", "REJECTED", "REJECTED", "CREATED",
    ]  # fmt: skip
    assert results[5].card is not None
    assert results[5].card.gift_currency == (await business.ctx.profile()).currency


async def test_gift_cards_are_merged_only_with_gift_cards_of_their_currency(business: Business) -> None:
    await create_passes(business.ctx, [PassInput("other", kind=GIFT_CARD, currency="EUR"), PassInput("ann")])
    await change(business, GIFT_ADDED, 10)
    await change(business, GIFT_ADDED, 5, name="other")
    await business.run_worker()
    ids = await business.ctx.workspace.passes.ids_of(["card", "other", "ann"])
    with pytest.raises(Conflict):
        await merge_passes(business.ctx, ids["ann"], ids["card"])
    await merge_passes(business.ctx, ids["card"], ids["other"])
    assert await balance(business) == 15
