"""Fields of Query and Mutation that belong to rewards."""

from __future__ import annotations

import strawberry

from app.graphql.types.paging import Connection

from . import mutations
from .mutations import (
    ArchiveRewardPayload,
    CreateRewardPayload,
    RedeemRewardPayload,
    RollbackRedemptionPayload,
    UpdateRewardPayload,
)
from .rewards import Reward, find_reward, list_rewards


@strawberry.type
class RewardQueries:
    """Fields of Query that read rewards."""

    reward: Reward | None = strawberry.field(resolver=find_reward)
    rewards: Connection[Reward] = strawberry.field(resolver=list_rewards)


@strawberry.type
class RewardMutations:
    """Fields of Mutation that change and redeem rewards."""

    create_reward: CreateRewardPayload = strawberry.mutation(resolver=mutations.create_reward)
    update_reward: UpdateRewardPayload = strawberry.mutation(resolver=mutations.update_reward)
    archive_reward: ArchiveRewardPayload = strawberry.mutation(resolver=mutations.archive_reward)
    redeem_reward: RedeemRewardPayload = strawberry.mutation(resolver=mutations.redeem_reward)
    rollback_redemption: RollbackRedemptionPayload = strawberry.mutation(resolver=mutations.rollback_redemption)
