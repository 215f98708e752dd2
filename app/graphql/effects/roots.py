"""Fields of Query and Mutation for effects outside passes."""

from __future__ import annotations

import strawberry

from app.graphql.types.paging import Connection

from . import parked
from .parked import ParkedEffect, RetryParkedEffectsPayload


@strawberry.type
class EffectQueries:
    """Fields of Query that read effects outside passes."""

    parked_effects: Connection[ParkedEffect] = strawberry.field(resolver=parked.list_parked_effects)


@strawberry.type
class EffectMutations:
    """Fields of Mutation that make effects outside passes again."""

    retry_parked_effects: RetryParkedEffectsPayload = strawberry.mutation(resolver=parked.retry_parked_effects)
