"""Runs one operation: scope, document, variables, fields; on whatever transport it came."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from inspect import isawaitable
from typing import Any, Protocol, cast

from graphql import (
    DocumentNode,
    ExecutionResult,
    GraphQLError,
    GraphQLSchema,
    OperationDefinitionNode,
    OperationType,
    execute,
    subscribe,
)
from strawberry.execution import optimized_is_awaitable

from app import metrics, operations
from app.domain.actors import READ, SUBSCRIBE, WRITE, Actor
from app.domain.errors import Denied

from .documents import Documents
from .errors import RequestRefused, execution_errors, refused_by, variable_errors
from .requests import Request

SCOPES = {OperationType.QUERY: READ, OperationType.MUTATION: WRITE, OperationType.SUBSCRIPTION: SUBSCRIBE}
"""The scope that each kind of operation needs; fields that need `admin` ask for it themselves."""

Body = dict[str, Any]


class OperationContext(Protocol):
    """What resolvers find in `info.context`, as far as running operations needs to know it."""

    @property
    def actor(self) -> Actor:
        """Who asks."""


OpenContext = Callable[[Mapping[str, str], str | None, str | None], Awaitable[OperationContext]]
"""The context of one operation from the request's headers, the caller's address and the authorization to use.

Raises Unauthenticated, or Unavailable (safe to repeat).
"""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A request whose document is valid."""

    request: Request
    document: DocumentNode
    operation: OperationDefinitionNode

    @property
    def kind(self) -> OperationType:
        """Query, mutation or subscription."""
        return self.operation.operation


class Engine:
    """Runs operations against one schema."""

    def __init__(self, schema: GraphQLSchema, documents: Documents | None = None) -> None:
        self._schema = schema
        self._documents = documents or Documents(schema)

    def prepare(self, request: Request) -> Prepared:
        """The request with its document and operation. Raises RequestRefused."""
        prepared = Prepared(request, *self._documents.operation(request.query, request.operation_name))
        name = prepared.operation.name
        operations.current().understood(name.value if name else None, prepared.kind.value)
        return prepared

    async def run(self, prepared: Prepared, context: OperationContext) -> Body:
        """The response of a query or mutation: `data`, and `errors` where there are any. Raises RequestRefused."""
        _require(context.actor, prepared.kind)
        request = prepared.request
        try:
            result = execute(
                self._schema,
                prepared.document,
                context_value=context,
                variable_values=request.variables,
                operation_name=request.operation_name,
                is_awaitable=cast(Any, optimized_is_awaitable),
            )
            if isawaitable(result):
                result = await result
        except RecursionError as error:
            raise refused_by(error) from None
        return _body(result)

    async def stream(self, prepared: Prepared, context: OperationContext) -> AsyncGenerator[Body, None]:
        """The responses of any operation, one after the other; a query or mutation has one. Raises RequestRefused."""
        if prepared.kind is not OperationType.SUBSCRIPTION:
            yield await self.run(prepared, context)
            return
        _require(context.actor, prepared.kind)
        request = prepared.request
        source = subscribe(
            self._schema,
            prepared.document,
            context_value=context,
            variable_values=request.variables,
            operation_name=request.operation_name,
        )
        if isinstance(source, Awaitable):
            source = await source
        if isinstance(source, ExecutionResult):
            raise RequestRefused(_request_errors(source.errors or []))
        metrics.SUBSCRIPTIONS.inc()
        try:
            async for result in source:
                yield _body(result)
        except Exception as error:  # noqa: BLE001  # whatever ends a stream is told to its subscriber, translated
            yield {"data": None, "errors": execution_errors([GraphQLError(str(error), original_error=error)])}
        finally:
            metrics.SUBSCRIPTIONS.dec()
            aclose = getattr(source, "aclose", None)
            if aclose is not None:
                await aclose()


def _require(actor: Actor, kind: OperationType) -> None:
    try:
        actor.require(SCOPES[kind])
    except Denied as error:
        raise refused_by(error) from None


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
