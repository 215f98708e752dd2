"""Engine: runs one operation on behalf of any transport.

It checks the document, the cost, the scope and the budget, then executes the fields within the time limit.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from inspect import isawaitable
from typing import Any, Protocol, Self, cast

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
from graphql.execution.executor_throwing_on_incremental import ExecutorThrowingOnIncremental
from graphql.pyutils import AwaitableOrValue
from strawberry.execution import optimized_is_awaitable

from app.domain.actors import READ, SUBSCRIBE, WRITE, Actor
from app.domain.errors import Denied, Throttled
from app.graphql.errors import (
    ErrorCode,
    RequestRefused,
    format_execution_errors,
    format_variable_errors,
    refuse,
    refuse_with,
)
from app.rate_limits import Allowance, Budget
from app.telemetry import metrics, operations

from .defer import render_first_body, render_next_body
from .documents import Documents
from .limits import Limits
from .quotas import Quota
from .requests import Request

SCOPES = {OperationType.QUERY: READ, OperationType.MUTATION: WRITE, OperationType.SUBSCRIPTION: SUBSCRIBE}
"""Scope that each type of operation needs. The resolver of a field checks any further scope that the field needs."""

Body = dict[str, Any]


class OperationContext(Protocol):
    """Context of one operation, which resolvers find in `info.context`, as far as the engine needs it.

    `cursor` is the position of a stream after its last response; None if the stream has no positions. `resume_after` is
    the cursor at which a reconnected client continues; it takes precedence over the arguments. `allowance` is what is
    left of the key's budget; None if keys have no budgets.
    """

    cursor: str | None
    resume_after: str | None
    allowance: Allowance | None

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


class _EventExecutor(ExecutorThrowingOnIncremental):
    """Executor of a subscription that frees the memory of each event after the event."""

    def build_per_event_executor(self, payload: Any) -> Self:
        executor = cast(Self, super().build_per_event_executor(payload))
        # graphql-core 3.3.2 keeps the fields collected for each event until the subscription ends: 2.3 KB a message.
        executor._relevant_sub_fields = {}
        return executor


class Engine:
    """Execution of operations against one schema, within the limits. Each process has one engine."""

    def __init__(
        self,
        schema: GraphQLSchema,
        limits: Limits | None = None,
        subscriptions: Quota | None = None,
        budget: Budget | None = None,
    ) -> None:
        self._schema = schema
        self._limits = limits or Limits()
        self._documents = Documents(schema, self._limits)
        self._budget = budget
        self._subscriptions = subscriptions or Quota("subscriptions", 10_000, 5_000)

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
        try:
            result = self._execute(prepared, prepared.document, context)
            if isawaitable(result):
                # An upload takes as long as the client's connection needs. Its size is limited instead of its time.
                async with asyncio.timeout(None if prepared.request.uploads else self._limits.timeout_seconds):
                    result = await result
        except RecursionError as error:
            raise refuse_with(error) from None
        except TimeoutError:
            raise self._timeout_error() from None
        # This document has no @defer, so there is exactly one result.
        return {**_render_body(cast(ExecutionResult, result)), **self._cost_extension(prepared, context)}

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
            hide_suggestions=not self._limits.introspection,
        )

    def _timeout_error(self) -> RequestRefused:
        message = (
            f"The operation took longer than {self._limits.timeout_seconds:g} s. Retry it with the same external ids "
            "or idempotency key, or ask for less at once."
        )
        return refuse(ErrorCode.OPERATION_TIMEOUT, message)

    def _cost_extension(self, prepared: Prepared, context: OperationContext) -> Body:
        cost = {"requested": prepared.cost, "most": self._limits.cost}
        if context.allowance is not None:
            cost["remaining"] = context.allowance.remaining
        return {"extensions": {"cost": cost}}

    async def stream_increments(self, prepared: Prepared, context: OperationContext) -> AsyncGenerator[Body, None]:
        """Run a query or mutation with @defer and yield its responses: the data that is ready, then the deferred parts.

        Raises RequestRefused if the operation was not executed.
        """
        await self._admit(prepared, context)
        deadline = asyncio.get_running_loop().time() + self._limits.timeout_seconds
        try:
            result = self._execute(prepared, prepared.document_with_defer or prepared.document, context)
            async with asyncio.timeout_at(deadline):
                first = await result if isawaitable(result) else result
            if isinstance(first, ExecutionResult):
                yield {**_render_body(first), **self._cost_extension(prepared, context)}
                return
            yield {**render_first_body(first.initial_result), **self._cost_extension(prepared, context)}
            async with contextlib.aclosing(first.subsequent_results) as later_results:
                while True:
                    async with asyncio.timeout_at(deadline):
                        later = await anext(later_results, None)
                    if later is None:
                        return
                    yield render_next_body(later)
        except RecursionError as error:
            raise refuse_with(error) from None
        except TimeoutError:
            raise self._timeout_error() from None

    async def stream(self, prepared: Prepared, context: OperationContext) -> AsyncGenerator[Body, None]:
        """Run any operation and yield its responses. A query or mutation has one response.

        Raises RequestRefused if the operation was not executed.
        """
        if prepared.kind is not OperationType.SUBSCRIPTION:
            yield await self.run(prepared, context)
            return
        await self._admit(prepared, context)
        with self._subscriptions.acquire(context.actor.key_id):
            source = await self._subscribe(prepared, context)
            metrics.SUBSCRIPTIONS.inc()
            try:
                async for result in source:
                    # Check the key before each response: a stream must end once its key is revoked or expired.
                    await context.check_key()
                    yield _render_body(result)
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

    async def _admit(self, prepared: Prepared, context: OperationContext) -> None:
        actor = context.actor
        try:
            actor.require(SCOPES[prepared.kind])
            if self._budget is not None:
                context.allowance = await self._budget.spend(actor.key_id, prepared.cost)
            operations.current().add_cost(prepared.cost)
        except (Denied, Throttled) as error:
            raise refuse_with(error) from None

    async def _subscribe(self, prepared: Prepared, context: OperationContext) -> AsyncIterator[ExecutionResult]:
        request = prepared.request
        source = subscribe(
            self._schema,
            prepared.document,
            context_value=context,
            variable_values=request.variables,
            operation_name=request.operation_name,
            executor_class=_EventExecutor,
            hide_suggestions=not self._limits.introspection,
        )
        if isinstance(source, Awaitable):
            source = await source
        if isinstance(source, ExecutionResult):
            raise RequestRefused(_format_request_errors(source.errors or []))
        return source


def _render_body(result: ExecutionResult) -> Body:
    if result.data is None and result.errors and not any(error.path for error in result.errors):
        raise RequestRefused(_format_request_errors(result.errors))
    body: Body = {"data": result.data}
    if result.errors:
        body["errors"] = format_execution_errors(result.errors)
    return body


def _format_request_errors(errors: Collection[GraphQLError]) -> list[dict[str, Any]]:
    if any(error.original_error is not None and error.path for error in errors):
        return format_execution_errors(errors)
    return format_variable_errors(errors)
