"""Runs one operation: scope, document, variables, fields; on whatever transport it came."""

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
from app.graphql.errors import ErrorCode, RequestRefused, execution_errors, refuse, refuse_with, variable_errors
from app.rate_limits import Allowance, Budget
from app.telemetry import metrics, operations

from .defer import first_body, next_body
from .documents import Documents
from .limits import Limits
from .quotas import Quota
from .requests import Request

SCOPES = {OperationType.QUERY: READ, OperationType.MUTATION: WRITE, OperationType.SUBSCRIPTION: SUBSCRIBE}
"""The scope that each kind of operation needs; fields that need another one, wherever they stand, ask for it themselves."""

Body = dict[str, Any]


class OperationContext(Protocol):
    """What resolvers find in `info.context`, as far as running operations needs to know it.

    `cursor` is where a stream stands after its last response, None where it has no such place; `resume_after` is where a
    client that comes back wants to go on, whatever the arguments say.
    """

    cursor: str | None
    resume_after: str | None

    allowance: Allowance | None

    @property
    def actor(self) -> Actor:
        """Who asks."""

    async def check_key(self) -> None:
        """Nothing; raises Unauthenticated where the key that began the operation works no more."""


OpenContext = Callable[[Mapping[str, str], str | None, str | None], Awaitable[OperationContext]]
"""The context of one operation from the request's headers, the caller's address and the authorization to use.

Raises Unauthenticated, or Unavailable (safe to repeat).
"""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A request whose document is valid, and the points it costs; `deferring` is the document with its @defer, if any."""

    request: Request
    document: DocumentNode
    operation: OperationDefinitionNode
    cost: int
    deferring: DocumentNode | None = None

    @property
    def kind(self) -> OperationType:
        """Query, mutation or subscription."""
        return self.operation.operation


class _EventExecutor(ExecutorThrowingOnIncremental):
    """Remembers of an event what it collects while it executes it, and no longer."""

    def build_per_event_executor(self, payload: Any) -> Self:
        executor = cast(Self, super().build_per_event_executor(payload))
        # graphql-core 3.3.2 keeps it as long as the subscription lives, under keys that no other event has.
        executor._relevant_sub_fields = {}
        return executor


class Engine:
    """Runs operations against one schema, within limits."""

    def __init__(
        self,
        schema: GraphQLSchema,
        limits: Limits | None = None,
        places: Quota | None = None,
        budget: Budget | None = None,
    ) -> None:
        self._schema = schema
        self._limits = limits or Limits()
        self._documents = Documents(schema, self._limits)
        self._budget = budget
        self._places = places or Quota("subscriptions", 10_000, 5_000)

    def prepare(self, request: Request) -> Prepared:
        """The request with its document and operation. Raises RequestRefused."""
        document, operation, pricing, deferring = self._documents.operation(request.query, request.operation_name)
        cost, most = pricing.of(operation, request.variables or {}), self._limits.cost
        if cost > most:
            said = f"The operation costs {cost} points, more than {most}: ask for fewer items, or less of each."
            raise refuse(ErrorCode.LIMIT_EXCEEDED, said, limit="cost", most=most, requested=cost)
        prepared = Prepared(request, document, operation, cost, deferring)
        name = prepared.operation.name
        operations.current().understood(name.value if name else None, prepared.kind.value)
        return prepared

    async def run(self, prepared: Prepared, context: OperationContext) -> Body:
        """The response of a query or mutation: `data`, and `errors` where there are any. Raises RequestRefused."""
        await self._admit(prepared, context)
        try:
            result = self._executed(prepared, prepared.document, context)
            if isawaitable(result):
                # A file takes as long as its caller's line does; its size is limited instead.
                async with asyncio.timeout(None if prepared.request.uploads else self._limits.seconds):
                    result = await result
        except RecursionError as error:
            raise refuse_with(error) from None
        except TimeoutError:
            raise self._too_long() from None
        # There is no @defer in this document, so there is one result.
        return {**_body(cast(ExecutionResult, result)), **self._cost(prepared, context)}

    def _executed(
        self, prepared: Prepared, document: DocumentNode, context: OperationContext
    ) -> AwaitableOrValue[ExecutionResult | ExperimentalIncrementalExecutionResults]:
        # graphql-core's plain `execute` refuses a schema that has @defer, also for documents that do not use it.
        return experimental_execute_incrementally(
            self._schema,
            document,
            context_value=context,
            variable_values=prepared.request.variables,
            operation_name=prepared.request.operation_name,
            is_awaitable=cast(Any, optimized_is_awaitable),
            hide_suggestions=not self._limits.introspection,
        )

    def _too_long(self) -> RequestRefused:
        said = f"The operation took longer than {self._limits.seconds:g} s. It is safe to repeat with the same keys."
        return refuse(ErrorCode.OPERATION_TIMEOUT, said)

    def _cost(self, prepared: Prepared, context: OperationContext) -> Body:
        cost = {"requested": prepared.cost, "most": self._limits.cost}
        if context.allowance is not None:
            cost["remaining"] = context.allowance.remaining
        return {"extensions": {"cost": cost}}

    async def increments(self, prepared: Prepared, context: OperationContext) -> AsyncGenerator[Body, None]:
        """The responses of a query or mutation that defers: what is there at once, then the rest. Raises RequestRefused."""
        await self._admit(prepared, context)
        deadline = asyncio.get_running_loop().time() + self._limits.seconds
        try:
            result = self._executed(prepared, prepared.deferring or prepared.document, context)
            async with asyncio.timeout_at(deadline):
                found = await result if isawaitable(result) else result
            if isinstance(found, ExecutionResult):
                yield {**_body(found), **self._cost(prepared, context)}
                return
            yield {**first_body(found.initial_result), **self._cost(prepared, context)}
            async with contextlib.aclosing(found.subsequent_results) as later:
                while True:
                    async with asyncio.timeout_at(deadline):
                        each = await anext(later, None)
                    if each is None:
                        return
                    yield next_body(each)
        except RecursionError as error:
            raise refuse_with(error) from None
        except TimeoutError:
            raise self._too_long() from None

    async def stream(self, prepared: Prepared, context: OperationContext) -> AsyncGenerator[Body, None]:
        """The responses of any operation, one after the other; a query or mutation has one. Raises RequestRefused."""
        if prepared.kind is not OperationType.SUBSCRIPTION:
            yield await self.run(prepared, context)
            return
        await self._admit(prepared, context)
        with self._places.acquire(context.actor.key_id):
            source = await self._source(prepared, context)
            metrics.SUBSCRIPTIONS.inc()
            try:
                async for result in source:
                    # Revoked, expired, replaced: a stream may outlive its key by years, and must not by a message.
                    await context.check_key()
                    yield _body(result)
            except Exception as error:  # noqa: BLE001  # whatever ends a stream is told to its subscriber, translated
                yield {"data": None, "errors": execution_errors([GraphQLError(str(error), original_error=error)])}
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
            operations.current().spent(prepared.cost)
        except (Denied, Throttled) as error:
            raise refuse_with(error) from None

    async def _source(self, prepared: Prepared, context: OperationContext) -> AsyncIterator[ExecutionResult]:
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
            raise RequestRefused(_request_errors(source.errors or []))
        return source


def _body(result: ExecutionResult) -> Body:
    if result.data is None and result.errors and not any(error.path for error in result.errors):
        raise RequestRefused(_request_errors(result.errors))
    body: Body = {"data": result.data}
    if result.errors:
        body["errors"] = execution_errors(result.errors)
    return body


def _request_errors(errors: Collection[GraphQLError]) -> list[dict[str, Any]]:
    if any(error.original_error is not None and error.path for error in errors):
        return execution_errors(errors)
    return variable_errors(errors)
