"""Redemptions: the type, the redemptions of a pass, and what a pass could redeem now."""

from __future__ import annotations

from decimal import Decimal

import strawberry

from app.commands.rewards.availability import find_offers, find_reasons
from app.commands.rewards.redemptions import find_redemptions
from app.domain.actors import READ
from app.domain.events import events as event_domain
from app.domain.events.guards import Reason
from app.domain.ids import redemption_id
from app.domain.passes.passes import Pass
from app.domain.rewards import redemptions as domain
from app.domain.rewards.redemptions import RedemptionStatus
from app.graphql.context import Info
from app.graphql.events.events import CONTENT, Event, event_of
from app.graphql.types.enums import describe_enum
from app.graphql.types.ids import to_global_id
from app.graphql.types.paging import Connection, Pagination
from app.store.mongo.paging import Page

from .rewards import Reward, fetch_reward, reward_of

describe_enum(
    RedemptionStatus,
    "RedemptionStatus",
    {
        "PENDING": "The redemption is recorded and not decided yet. Ask again, or repeat the call with its external id.",
        "SUCCEEDED": "The redemption counts: its points are spent.",
        "FAILED": "The redemption was declined. It counts nowhere, and `reasons` says why.",
        "ROLLED_BACK": "The redemption succeeded and was rolled back: its points are back.",
    },
)


@strawberry.type
class RedemptionReason:
    """Reason why a pass cannot redeem a reward."""

    code: str = strawberry.field(
        description="Kind of the reason: `INSUFFICIENT_POINTS`, `NOT_IN_SEGMENT`, `LIMIT_PER_PASS`, `SOLD_OUT`, "
        "`NOT_ACTIVE` or `PASS_NOT_ACTIVE`."
    )
    message: str = strawberry.field(description="One sentence for people, such as a till can print.")


@strawberry.type
class Redemption:
    """Redemption of a reward by a pass. It is an event whose outcome is decided when it is counted."""

    id: strawberry.ID | None = strawberry.field(
        description="Id of the redemption, for `rollbackRedemption`. Null with `validateOnly`."
    )
    reward_key: str = strawberry.field(description="Key of the reward.")
    quantity: int = strawberry.field(description="Units.")
    status: RedemptionStatus = strawberry.field(description="State of the redemption.")
    reasons: list[RedemptionReason] = strawberry.field(
        description="Why the redemption failed. Empty unless its state is `FAILED`."
    )
    points_spent: Decimal | None = strawberry.field(
        description="Points that the redemption spent; 0 if it failed or was rolled back. Null while it is pending."
    )
    balance_after: Decimal | None = strawberry.field(
        description="Balance of points just after the decision. Null while the redemption is pending."
    )
    code: str | None = strawberry.field(
        description="Code for the customer, unique in the workspace. Null if the reward has no codes, and unless the "
        "redemption succeeded."
    )
    event: Event | None = strawberry.field(description="Event that records the redemption. Null with `validateOnly`.")
    reward_id: strawberry.Private[str]

    @strawberry.field
    async def reward(self, info: Info) -> Reward | None:
        """Reward that was redeemed. Needs the scope `read`."""
        info.context.actor.require(READ)
        return await fetch_reward(info.context, self.reward_id)


@strawberry.type
class PassReward:
    """Reward, and whether a pass can redeem one unit of it now."""

    reward: Reward = strawberry.field(description="The reward.")
    available: bool = strawberry.field(description="Whether the pass can redeem one unit now.")
    reasons: list[RedemptionReason] = strawberry.field(description="Why not; empty if it can.")


listing = Pagination[event_domain.Event]("redemption", (int, str), lambda event: (event.occurred_ms, event.id))


def redemption_object(redemption: domain.Redemption, *, is_own: bool = False) -> Redemption:
    """Return the GraphQL object of a redemption. `is_own`: the call itself sent what the event says."""
    event = redemption.event
    sent = (*CONTENT, "origin") if is_own else ()
    return Redemption(
        id=None if redemption.id is None else strawberry.ID(to_global_id("Redemption", redemption.id)),
        reward_key=redemption.reward_key,
        quantity=redemption.quantity,
        status=redemption.status,
        reasons=reasons_of(redemption.reasons),
        points_spent=redemption.points_spent,
        balance_after=redemption.balance_after,
        code=redemption.code,
        event=None if event is None else event_of(event, sent=sent),
        reward_id=redemption.reward_id,
    )


def reasons_of(reasons: tuple[Reason, ...]) -> list[RedemptionReason]:
    """Return the GraphQL objects of reasons."""
    return [RedemptionReason(code=each.code, message=each.message) for each in reasons]


async def redemptions_page(
    info: Info, card: Pass, first: int | None, after: str | None, last: int | None, before: str | None
) -> Connection[Redemption]:
    """Return a page of the redemptions of a pass, the newest first."""
    span = listing.span(first, after, last, before)
    store = info.context.workspace.redemptions
    page = await store.page(card.id, span)
    found = await find_redemptions(info.context.workspace, [redemption_id(event.id) for event in page.items])
    events = [event for event in page.items if redemption_id(event.id) in found]

    def to_node(event: event_domain.Event) -> Redemption:
        return redemption_object(found[redemption_id(event.id)])

    return listing.connection(Page(events, page.has_more), span, to_node, lambda: store.count(card.id))


async def rewards_for(info: Info, card: Pass) -> list[PassReward]:
    """Return what a pass could redeem now, and why not the rest."""
    ctx = info.context.commands
    offers = await info.context.read_once(info, "offers", lambda: find_offers(ctx))
    found = await find_reasons(ctx, card, [reward.latest for reward in offers.rewards], offers.sold_out)
    return [
        PassReward(reward=reward_of(reward), available=not found[reward.id], reasons=reasons_of(found[reward.id]))
        for reward in offers.rewards
    ]
