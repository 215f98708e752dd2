"""Rewards: the type with its versions, and the queries that find and list rewards."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any

import strawberry

from app.commands.rewards.rewards import warn_about_reward
from app.domain.actors import READ
from app.domain.rewards import rewards as domain
from app.domain.rules.rules import PerPassLimit
from app.domain.values.instants import to_ms
from app.domain.values.periods import PeriodUnit
from app.graphql.context import Info, RequestContext
from app.graphql.segments.criteria import SegmentCriteria, criteria_of
from app.graphql.segments.windows import FixedWindowCriteria, RollingWindowCriteria, fixed_window_of, rolling_window_of
from app.graphql.types.consistency import Consistency, ConsistencyArgument, TokenArgument
from app.graphql.types.enums import describe_enum
from app.graphql.types.ids import to_global_id
from app.graphql.types.named import find_named_id, list_objects
from app.graphql.types.node import Node, fetcher
from app.graphql.types.paging import After, Before, Connection, First, Last, Pagination
from app.graphql.types.payloads import InputWarning, warnings_of
from app.graphql.types.scalars import JSON


class RewardStatus(StrEnum):
    """State of a reward."""

    ACTIVE = "ACTIVE"
    ARCHIVED = "ARCHIVED"


describe_enum(
    RewardStatus,
    "RewardStatus",
    {
        "ACTIVE": "The reward can be redeemed in its active period.",
        "ARCHIVED": "The reward cannot be redeemed any more. Redemptions stay, and can be rolled back.",
    },
)


@strawberry.type
class RewardPerPassLimit:
    """Limit on the units that one pass may redeem: ever, in a window, or in a calendar period."""

    count: int = strawberry.field(description="Largest number of units.")
    within: RollingWindowCriteria | None = strawberry.field(description="Window in which units count.")
    calendar: PeriodUnit | None = strawberry.field(description="Calendar period in which units count.")


@strawberry.type
class RewardLimits:
    """Limits on the redemptions of a reward."""

    per_pass: RewardPerPassLimit | None = strawberry.field(description="Limit for each pass. Null for none.")
    total: int | None = strawberry.field(description="Units that exist, the stock. Null for no limit.")
    per_request: int | None = strawberry.field(description="Largest `quantity` of one redemption. Null for 1,000.")


@strawberry.type
class RewardTerms:
    """What a reward says: the fields of a reward and of each of its versions."""

    version: int = strawberry.field(
        description="Number of the version, from 1. Every change but that of a name or description makes a version."
    )
    status: RewardStatus = strawberry.field(description="State of the reward.")
    points_cost: Decimal = strawberry.field(description="Points that one unit costs.")
    criteria: SegmentCriteria | None = strawberry.field(
        description="Criteria that a pass must match to redeem the reward. Null for none."
    )
    limits: RewardLimits = strawberry.field(description="Limits on the redemptions.")
    active: FixedWindowCriteria | None = strawberry.field(
        description="Period in which the reward can be redeemed. Null for always."
    )
    timezone: str = strawberry.field(description="IANA time zone of calendar periods.")
    code_pattern: str | None = strawberry.field(description="Pattern of the codes. Null if redemptions get no code.")
    metadata: JSON = strawberry.field(description="Details as a JSON object.")


@strawberry.type
class RewardVersion(RewardTerms):
    """Version of a reward. It holds from its instant until the next version."""

    created_at: datetime = strawberry.field(description="Instant from which the version holds.")


@strawberry.type
class Reward(RewardTerms, Node):
    """Something that customers can redeem, for points or for nothing."""

    key: str = strawberry.field(description="Key of the reward: permanent and unique in the workspace.")
    name: str = strawberry.field(description="Name of the reward for people.")
    description: str | None = strawberry.field(description="Description of the reward. Null if none was given.")
    created_at: datetime = strawberry.field(description="Instant at which the reward was created.")
    updated_at: datetime = strawberry.field(description="Instant of the last change of the reward.")
    stored: strawberry.Private[domain.LabelledReward]

    @strawberry.field
    async def versions(
        self, info: Info, first: First = None, after: After = None, last: Last = None, before: Before = None
    ) -> Connection[RewardVersion]:
        """Versions of the reward, newest first. Needs the scope `read`."""
        info.context.actor.require(READ)
        span = versions_listing.span(first, after, last, before)
        store, reward_id = info.context.workspace.rewards, self.stored.id
        page = await store.versions(reward_id, span)
        return versions_listing.connection(page, span, _version_of, lambda: store.count_versions(reward_id))

    @strawberry.field
    async def units_left(self, info: Info) -> int | None:
        """Units in stock that no redemption holds. Null without a stock. Needs the scope `read`."""
        info.context.actor.require(READ)
        total = self.stored.terms.total
        if total is None:
            return None
        return total - await info.context.workspace.stock.count_taken(self.stored.id, 1, total)

    @strawberry.field
    async def warnings(self, info: Info) -> list[InputWarning]:
        """Remarks about a reward that looks like a mistake, as `createReward` returns them."""
        return warnings_of(await warn_about_reward(info.context.commands, self.stored.latest))


listing = Pagination[domain.LabelledReward]("reward", (int, str), lambda each: (to_ms(each.created_at), each.id))
versions_listing = Pagination[domain.RewardVersion]("reward_version", (int,), lambda version: (version.revision,))


def _terms_of(version: domain.RewardVersion) -> dict[str, Any]:
    """Return the fields of `RewardTerms` for a version."""
    terms = version.terms
    return {
        "version": version.version,
        "status": RewardStatus.ARCHIVED if version.archived else RewardStatus.ACTIVE,
        "points_cost": terms.points_cost,
        "criteria": None if terms.criteria is None else criteria_of(terms.criteria),
        "limits": RewardLimits(
            per_pass=None if terms.per_pass is None else _limit_of(terms.per_pass),
            total=terms.total,
            per_request=terms.per_request,
        ),
        "active": fixed_window_of(terms.active_from_ms, terms.active_to_ms),
        "timezone": terms.timezone,
        "code_pattern": terms.code_pattern,
        "metadata": JSON(dict(terms.metadata)),
    }


def _limit_of(limit: PerPassLimit) -> RewardPerPassLimit:
    return RewardPerPassLimit(count=limit.count, within=rolling_window_of(limit.within_ms), calendar=limit.calendar)


def _version_of(version: domain.RewardVersion) -> RewardVersion:
    return RewardVersion(**_terms_of(version), created_at=version.at)


def reward_of(reward: domain.LabelledReward) -> Reward:
    """Return the GraphQL object of a reward."""
    return Reward(
        **_terms_of(reward.latest),
        id=strawberry.ID(to_global_id("Reward", reward.id)),
        key=reward.key,
        name=reward.name,
        description=reward.description,
        created_at=reward.created_at,
        updated_at=reward.updated_at,
        stored=reward,
    )


@fetcher("Reward")
async def fetch_reward(context: RequestContext, reward_id: str) -> Reward | None:
    """Return the reward with this database id, or None."""
    reward = await context.load.rewards.load(reward_id)
    return None if reward is None else reward_of(reward)


async def find_reward(
    info: Info,
    id: Annotated[strawberry.ID | None, strawberry.argument(description="Id of the reward.")] = None,
    key: Annotated[str | None, strawberry.argument(description="Key of the reward.")] = None,
    consistency: ConsistencyArgument = Consistency.EVENTUAL,
    token: TokenArgument = None,
) -> Reward | None:
    """Return the reward with this id or key.

    Give exactly one of them. Null if no reward matches. Needs the scope `read`.
    """
    by_key = info.context.workspace.rewards.by_key
    reward_id = await find_named_id(info, "Reward", id, key, by_key=by_key, consistency=consistency, token=token)
    return None if reward_id is None else await fetch_reward(info.context, reward_id)


async def list_rewards(
    info: Info,
    first: First = None,
    after: After = None,
    last: Last = None,
    before: Before = None,
    consistency: ConsistencyArgument = Consistency.EVENTUAL,
    token: TokenArgument = None,
) -> Connection[Reward]:
    """List the rewards of the workspace, newest first, archived ones included. Needs the scope `read`."""
    return await list_objects(
        info,
        listing,
        listing.span(first, after, last, before),
        store=info.context.workspace.rewards,
        loader=info.context.load.rewards,
        object_of=reward_of,
        consistency=consistency,
        token=token,
    )
