"""What operations take: points from the budgets of their API keys, and calls and data from the store."""

from __future__ import annotations

import asyncio
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import TYPE_CHECKING

from app.domain.errors import OperationTooLarge, Throttled
from app.graphql.errors import RequestRefused, refuse_with
from app.graphql.time_limit import TimeLimit
from app.rate_limits import Budget
from app.store.mongo.usage import StoreShares, StoreUsage
from app.telemetry import operations

from .limits import Limits

if TYPE_CHECKING:
    from .engine import OperationContext


class Spending:
    """Budgets and shares of one process, as operations use them. Without a budget, points are only counted."""

    def __init__(self, budget: Budget | None, shares: StoreShares, limits: Limits) -> None:
        self._budget = budget
        self._shares = shares
        self._limits = limits

    async def spend(self, context: OperationContext, points: int) -> None:
        """Spend points for an operation.

        Raises RequestRefused: THROTTLED if the budget does not cover them, LIMIT_EXCEEDED if a full budget would not.
        """
        try:
            await self._take(context, points)
        except (Throttled, OperationTooLarge) as error:
            raise refuse_with(error) from None

    async def spend_patiently(self, context: OperationContext, points: int) -> None:
        """Spend points for a message of a stream, and wait until the budget covers them."""
        while True:
            try:
                await self.spend(context, points)
            except RequestRefused as refusal:
                await asyncio.sleep(refusal.retry_after_seconds or 1.0)
            else:
                return

    def open_usage(
        self, context: OperationContext, time_limit: TimeLimit | None = None
    ) -> AbstractContextManager[StoreUsage]:
        """Open what an operation may take from the store; without a time limit, what a message of a stream may take."""
        key_id = context.actor.key_id

        async def charge(points: int) -> None:
            await self._take(context, points)

        def owe(points: int) -> None:
            if self._budget is not None:
                self._budget.owe(key_id, points)
            _note(context, points)

        return self._shares.open(
            context.actor.workspace_id,
            call_seconds=self._limits.timeout_seconds,
            remaining_seconds=None if time_limit is None else time_limit.remaining_seconds,
            when_exceeded=None if time_limit is None else time_limit.expire,
            points=0 if time_limit is None else context.spent_points,
            max_points=self._limits.cost
            if self._budget is None
            else min(self._limits.cost, self._budget.limit_of(key_id)),
            charge=charge,
            owe=owe,
        )

    async def _take(self, context: OperationContext, points: int) -> None:
        actor = context.actor
        if self._budget is not None:
            allowance = await self._budget.spend(actor.workspace_id, actor.key_id, points)
            context.allowance = replace(allowance, cost=context.spent_points + points)
        _note(context, points)


def _note(context: OperationContext, points: int) -> None:
    context.spent_points += points
    operations.current().add_cost(points)
