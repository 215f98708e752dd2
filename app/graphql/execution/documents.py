"""Documents: parsed, measured and validated once, then remembered, failures too."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, NamedTuple

from graphql import (
    DocumentNode,
    GraphQLError,
    GraphQLSchema,
    GraphQLSyntaxError,
    NoSchemaIntrospectionCustomRule,
    OperationDefinitionNode,
    get_operation_ast,
    parse,
    specified_rules,
    validate,
)

from app.graphql.errors import ErrorCode, RequestRefused, document_errors, refuse

from .cost import Pricing
from .defer import without_defer
from .limits import Limits, exceeded, too_deep, too_many_tokens

_MAX_CACHED_DOCUMENTS = 1_000
# A parsed character takes some 120 bytes.
_MAX_CACHED_CHARACTERS = 1_000_000
_MAX_CACHED_DOCUMENT_CHARACTERS = 100_000
_MAX_ERRORS = 20
_TOO_MANY_TOKENS = "Syntax Error: Document contains more than"


@dataclass(frozen=True, slots=True)
class _Document:
    node: DocumentNode | None
    pricing: Pricing | None
    deferring: DocumentNode | None = None
    errors: Sequence[dict[str, Any]] = ()


class Found(NamedTuple):
    """A document, without @defer; an operation of it; what its operations cost; and the document as sent if it defers."""

    document: DocumentNode
    operation: OperationDefinitionNode
    pricing: Pricing
    deferring: DocumentNode | None


class Documents:
    """The documents of one schema, least recently used forgotten first."""

    def __init__(self, schema: GraphQLSchema, limits: Limits | None = None) -> None:
        self._schema = schema
        self._limits = limits or Limits()
        self._rules = [*specified_rules, *(() if self._limits.introspection else (NoSchemaIntrospectionCustomRule,))]
        self._known: OrderedDict[str, _Document] = OrderedDict()
        self._characters = 0

    def operation(self, query: str, name: str | None) -> Found:
        """The valid document of a query, and the operation that `name` picks from it.

        Raises RequestRefused: GRAPHQL_PARSE_FAILED, GRAPHQL_VALIDATION_FAILED, LIMIT_EXCEEDED or
        OPERATION_RESOLUTION_FAILURE.
        """
        checked = self._known.get(query)
        if checked is None:
            checked = self._check(query)
            self._remember(query, checked)
        else:
            self._known.move_to_end(query)
        if checked.errors or checked.node is None or checked.pricing is None:
            # A copy: nobody shares an error with another request.
            raise RequestRefused(deepcopy(list(checked.errors)))
        operation = get_operation_ast(checked.node, name)
        if operation is None:
            said = f"There is no operation named '{name}'." if name else "Name the operation to run in operationName."
            raise refuse(ErrorCode.OPERATION_RESOLUTION_FAILURE, said)
        return Found(checked.node, operation, checked.pricing, checked.deferring)

    def _check(self, query: str) -> _Document:
        limits = self._limits
        try:
            document = parse(query, max_tokens=limits.tokens)
            errors = exceeded(document, limits) or validate(
                self._schema,
                document,
                self._rules,
                max_errors=_MAX_ERRORS,
                hide_suggestions=not limits.introspection,
            )
        except GraphQLSyntaxError as error:
            return _refused(too_many_tokens(limits) if error.message.startswith(_TOO_MANY_TOKENS) else error)
        except GraphQLError as error:
            return _refused(error)
        except RecursionError:
            return _refused(too_deep(limits))
        if errors:
            return _refused(*errors)
        node = without_defer(document)
        return _Document(node, Pricing(self._schema, node), None if node is document else document)

    def _remember(self, query: str, checked: _Document) -> None:
        if len(query) > _MAX_CACHED_DOCUMENT_CHARACTERS:
            return
        self._known[query] = checked
        self._characters += len(query)
        while len(self._known) > _MAX_CACHED_DOCUMENTS or self._characters > _MAX_CACHED_CHARACTERS:
            forgotten, _ = self._known.popitem(last=False)
            self._characters -= len(forgotten)


def _refused(*errors: GraphQLError) -> _Document:
    # As they will be told: the errors themselves would keep the whole parsed document.
    return _Document(None, None, None, document_errors(errors))
