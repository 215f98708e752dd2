"""Engine: runs one operation on behalf of any transport.

It checks the document, the cost, the scope and the budget, then executes the fields within the time limit.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from inspect import isawaitable
from typing import Any, Protocol, cast

from graphql import (
    DocumentNode,
    ExecutionResult,
    ExperimentalIncrementalExecutionResults,
    GraphQLError,
    GraphQLSchema,
    OperationDefinitionNode,
    OperationType,
    experimental_execute_incrementally,
    subscribe,
)
from graphql.pyutils import AwaitableOrValue
from strawberry.execution import optimized_is_awaitable

from app.domain.actors import READ, SUBSCRIBE, WRITE, Actor
from app.domain.errors import Denied
from app.graphql.errors import (
    ErrorCode,
    RequestRefused,
    format_execution_errors,
    refuse,
    refuse_with,
)
from app.graphql.time_limit import TimeLimit
from app.rate_limits import Allowance, Budget
from app.store.mongo.usage import StoreShares, StoreUsage
from app.telemetry import metrics, operations

from .defer import render_first_body, render_next_body
from .documents import MAX_ERRORS, Documents
from .executors import AnswerExecutor, EventExecutor
from .limits import Limits
from .quotas import Quota
from .rendering import Body, format_request_errors, render_body
from .requests import Request
from .spending import Spending
from .token_executors import TokenAnswerExecutor, TokenEventExecutor

SCOPES = {OperationType.QUERY: READ, OperationType.MUTATION: WRITE, OperationType.SUBSCRIPTION: SUBSCRIBE}
"""Scope that each type of operation needs. The resolver of a field checks any further scope that the field needs."""

BYTES_PER_POINT = 1_024
"""Bytes of a request that cost one point, which is spent before the request is decoded."""
UPLOAD_BYTES_PER_POINT = 65_536
"""Bytes of a request with files that cost one point. They are stored, not decoded."""
CHECK_POINTS_PER_KILOBYTE = 20
"""Points for parsing and validating 1,024 characters of a document that this process has not in its cache."""


class OperationContext(Protocol):
    """Context of one operation, which resolvers find in `info.context`, as far as the engine needs it.

    `cursor` is the position of a stream after its last response; None if the stream has no positions. `resume_after` is
    the cursor at which a reconnected client continues; it takes precedence over the arguments. `allowance` is what is
    left of the key's budget; None if keys have no budgets. `spent_points` were spent for the operation so far. `plans` says
    what was read for each aggregation so far.
    """

    cursor: str | None
    resume_after: str | None
    allowance: Allowance | None
    spent_points: int
    time_limit: TimeLimit | None
    plans: list[dict[str, object]]

    @property
    def actor(self) -> Actor:
        """The API key of the request."""

    async def check_key(self) -> None:
        """Raise Unauthenticated if the key that started the operation is revoked or expired."""


OpenContext = Callable[[Mapping[str, str], str | None, str | None], Awaitable[OperationContext]]
"""A function that returns the context of one operation.

Its arguments are the headers of the request, the IP address of the client and the value of the Authorization header.
Raises Unauthenticated, or Unavailable (safe to repeat).
"""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A request whose document is valid, with its operation and its cost in points.

    `document` has no @defer; `document_with_defer` is the document as sent, or None if it has none.
    """

    request: Request
    document: DocumentNode
    operation: OperationDefinitionNode
    cost: int
    document_with_defer: DocumentNode | None = None

    @property
    def kind(self) -> OperationType:
        """The type of the operation: query, mutation or subscription."""
        return self.operation.operation


class Engine:
    """Execution of operations against one schema, within the limits. Each process has one engine."""

    def __init__(
        self,
        schema: GraphQLSchema,
        limits: Limits | None = None,
        subscriptions: Quota | None = None,
        budget: Budget | None = None,
        shares: StoreShares | None = None,
    ) -> None:
        self._schema = schema
        self._limits = limits or Limits()
        self._documents = Documents(schema, self._limits)
        self._subscriptions = subscriptions or Quota("subscriptions", 10_000, 5_000)
        self._spending = Spending(budget, shares or StoreShares(), self._limits)

    async def spend_on_text(self, context: OperationContext, size_bytes: int) -> None:
        """Spend the points for a request of that size: one for each 1,024 bytes, at least one.

        Call it before decoding the request, so that also a request that is refused costs points. The points count
        towards the cost of the operation. Raises RequestRefused: THROTTLED, and LIMIT_EXCEEDED for more points than an
        operation may cost.
        """
        points = max(1, size_bytes // BYTES_PER_POINT)
        if points > self._limits.cost:
            message = (
                f"The request costs {points} points by its size; at most {self._limits.cost} are allowed. Send less."
            )
            raise refuse(ErrorCode.LIMIT_EXCEEDED, message, limit="cost", most=self._limits.cost, requested=points)
        await self._spending.spend(context, points)

    async def spend_on_upload(self, context: OperationContext, size_bytes: int) -> None:
        """Spend the points for files of that size: one for each 65,536 bytes, at least one.

        They cost at most as much as an operation may cost, so that every size can be paid. Raises RequestRefused
        (THROTTLED).
        """
        await self._spending.spend(context, min(max(1, size_bytes // UPLOAD_BYTES_PER_POINT), self._limits.cost))

    async def prepare_paid(self, request: Request, context: OperationContext) -> Prepared:
        """Spend the points for checking the document, unless it is in the cache, and then prepare the request.

        Raises RequestRefused: THROTTLED, and all that `prepare` raises.
        """
        unchecked = self._documents.count_unchecked(request.query)
        if unchecked:
            await self._spending.spend(context, unchecked * CHECK_POINTS_PER_KILOBYTE // 1_024)
        return self.prepare(request)

    def prepare(self, request: Request) -> Prepared:
        """Check the document of a request and compute its cost.

        Raises RequestRefused for an invalid document, and LIMIT_EXCEEDED for an operation that costs too much.
        """
        document, operation, pricing, document_with_defer = self._documents.find_operation(
            request.query, request.operation_name
        )
        cost, limit = pricing.cost_of(operation, request.variables or {}), self._limits.cost
        if cost > limit:
            message = (
                f"The operation costs {cost} points; at most {limit} are allowed. Select fewer items, or fewer fields."
            )
            raise refuse(ErrorCode.LIMIT_EXCEEDED, message, limit="cost", most=limit, requested=cost)
        prepared = Prepared(
            request=request,
            document=document,
            operation=operation,
            cost=cost,
            document_with_defer=document_with_defer,
        )
        name = prepared.operation.name
        operations.current().note_document(name.value if name else None, prepared.kind.value)
        return prepared

    async def run(self, prepared: Prepared, context: OperationContext) -> Body:
        """Run a query or mutation and return its response. Raises RequestRefused if the operation was not executed."""
        await self._admit(prepared, context)
        limit = context.time_limit = TimeLimit(self._limits.timeout_seconds)
        with self._spending.open_usage(context, limit) as usage:
            try:
                with usage.active():
                    result = self._execute(prepared, prepared.document, context)
                    if isawaitable(result):
                        async with limit.apply():
                            result = await result
            except RecursionError as error:
                raise refuse_with(error) from None
            except TimeoutError:
                raise self._end_error(prepared, usage) from None
            if usage.error is not None:
                raise refuse_with(usage.error)
        # This document has no @defer, so there is exactly one result.
        return {**render_body(cast(ExecutionResult, result)), **self._extensions(prepared, context)}

    def _end_error(self, prepared: Prepared, usage: StoreUsage) -> RequestRefused:
        """Return the error of an operation that was ended: by a limit of its usage, or by its time limit."""
        return self._timeout_error(prepared.kind) if usage.error is None else refuse_with(usage.error)

    def _execute(
        self, prepared: Prepared, document: DocumentNode, context: OperationContext
    ) -> AwaitableOrValue[ExecutionResult | ExperimentalIncrementalExecutionResults]:
        # The plain `execute` of graphql-core rejects every document if the schema has @defer.
        return experimental_execute_incrementally(
            self._schema,
            document,
            context_value=context,
            variable_values=prepared.request.variables,
            operation_name=prepared.request.operation_name,
            is_awaitable=cast(Any, optimized_is_awaitable),
            executor_class=AnswerExecutor if context.actor.grant is None else TokenAnswerExecutor,
            max_coercion_errors=MAX_ERRORS,
            hide_suggestions=not self._limits.introspection,
        )

    def _timeout_error(self, kind: OperationType) -> RequestRefused:
        to_write = "Retry it with the same external ids or idempotency key, or send less at once."
        to_read = "Ask for a shorter time or for fewer items at once, or ask again later."
        advice = to_write if kind is OperationType.MUTATION else to_read
        message = f"The operation took longer than {self._limits.timeout_seconds:g} s. {advice}"
        return refuse(ErrorCode.OPERATION_TIMEOUT, message)

    def _extensions(self, prepared: Prepared, context: OperationContext) -> Body:
        cost = {"requested": context.spent_points, "most": self._limits.cost}
        if context.allowance is not None:
            cost["remaining"] = context.allowance.remaining
        return {"extensions": {"cost": cost, **({"plan": context.plans} if prepared.request.explain else {})}}

    async def stream_increments(self, prepared: Prepared, context: OperationContext) -> AsyncGenerator[Body, None]:
        """Run a query or mutation with @defer and yield its responses: the data that is ready, then the deferred parts.

        Raises RequestRefused if the operation was not executed.
        """
        await self._admit(prepared, context)
        limit = context.time_limit = TimeLimit(self._limits.timeout_seconds)
        with self._spending.open_usage(context, limit) as usage:
            try:
                with usage.active():
                    result = self._execute(prepared, prepared.document_with_defer or prepared.document, context)
                    async with limit.apply():
                        first = await result if isawaitable(result) else result
                if usage.error is not None:
                    raise refuse_with(usage.error)
                if isinstance(first, ExecutionResult):
                    yield {**render_body(first), **self._extensions(prepared, context)}
                    return
                yield {**render_first_body(first.initial_result), **self._extensions(prepared, context)}
                async with contextlib.aclosing(first.subsequent_results) as later_results:
                    while True:
                        with usage.active():
                            async with limit.apply():
                                later = await anext(later_results, None)
                        if usage.error is not None:
                            raise refuse_with(usage.error)
                        if later is None:
                            return
                        yield render_next_body(later)
            except RecursionError as error:
                raise refuse_with(error) from None
            except TimeoutError:
                raise self._end_error(prepared, usage) from None

    async def stream(self, prepared: Prepared, context: OperationContext) -> AsyncGenerator[Body, None]:
        """Run any operation and yield its responses. A query or mutation has one response.

        Raises RequestRefused if the operation was not executed.
        """
        if prepared.kind is not OperationType.SUBSCRIPTION:
            yield await self.run(prepared, context)
            return
        await self._admit(prepared, context)
        with self._subscriptions.acquire(context.actor):
            with self._spending.open_usage(context) as usage, usage.active():
                source = await self._subscribe(prepared, context)
            metrics.SUBSCRIPTIONS.inc()
            try:
                async with contextlib.aclosing(self._read_messages(prepared, context, source)) as results:
                    async for result in results:
                        # Check the key before each response: a stream must end once its key is revoked or expired.
                        await context.check_key()
                        yield render_body(result)
            except Exception as error:  # noqa: BLE001  # the subscriber gets the translated error as its last response
                yield {
                    "data": None,
                    "errors": format_execution_errors([GraphQLError(str(error), original_error=error)]),
                }
            finally:
                metrics.SUBSCRIPTIONS.dec()
                aclose = getattr(source, "aclose", None)
                if aclose is not None:
                    await aclose()

    async def _read_messages(
        self, prepared: Prepared, context: OperationContext, source: AsyncIterator[ExecutionResult]
    ) -> AsyncGenerator[ExecutionResult, None]:
        """Yield the results of a subscription. Each that needs the store costs as much as the operation.

        The stream waits for the points, so it becomes slow instead of ending. Raises the error of an exceeded limit.
        """
        is_paid = True  # The cost of the first result was spent at the start.
        while True:
            with self._spending.open_usage(context) as usage, usage.active():
                result = await anext(source, None)
            if result is None:
                return
            if usage.error is not None:
                raise usage.error
            if usage.calls and not is_paid:
                await self._spending.spend_patiently(context, prepared.cost)
            is_paid = False
            yield result

    async def _admit(self, prepared: Prepared, context: OperationContext) -> None:
        actor = context.actor
        try:
            actor.require(SCOPES[prepared.kind])
        except Denied as error:
            raise refuse_with(error) from None
        await self._spending.spend(context, max(0, prepared.cost - context.spent_points))

    async def _subscribe(self, prepared: Prepared, context: OperationContext) -> AsyncIterator[ExecutionResult]:
        request = prepared.request
        source = subscribe(
            self._schema,
            prepared.document,
            context_value=context,
            variable_values=request.variables,
            operation_name=request.operation_name,
            executor_class=EventExecutor if context.actor.grant is None else TokenEventExecutor,
            max_coercion_errors=MAX_ERRORS,
            hide_suggestions=not self._limits.introspection,
        )
        if isinstance(source, Awaitable):
            source = await source
        if isinstance(source, ExecutionResult):
            raise RequestRefused(format_request_errors(source.errors or []))
        return source
