"""Documents: parsed, measured and validated once, then remembered, failures too."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from graphql import (
    DocumentNode,
    GraphQLError,
    GraphQLSchema,
    OperationDefinitionNode,
    get_operation_ast,
    parse,
    validate,
)

from .errors import ErrorCode, RequestRefused, document_errors, refused
from .limits import Limits, exceeded

_REMEMBERED = 1_000
_REMEMBERED_CHARACTERS = 8_000_000
_LONGEST_REMEMBERED = 100_000
_MAX_ERRORS = 20


@dataclass(frozen=True, slots=True)
class _Checked:
    document: DocumentNode | None
    errors: tuple[GraphQLError, ...] = ()


class Documents:
    """The documents of one schema, least recently used forgotten first."""

    def __init__(self, schema: GraphQLSchema, limits: Limits | None = None) -> None:
        self._schema = schema
        self._limits = limits or Limits()
        self._known: OrderedDict[str, _Checked] = OrderedDict()
        self._characters = 0

    def operation(self, query: str, name: str | None) -> tuple[DocumentNode, OperationDefinitionNode]:
        """The valid document of a query, and the operation that `name` picks from it.

        Raises RequestRefused: GRAPHQL_PARSE_FAILED, GRAPHQL_VALIDATION_FAILED or OPERATION_RESOLUTION_FAILURE.
        """
        checked = self._known.get(query)
        if checked is None:
            checked = self._check(query)
            self._remember(query, checked)
        else:
            self._known.move_to_end(query)
        if checked.errors or checked.document is None:
            raise RequestRefused(document_errors(checked.errors))
        operation = get_operation_ast(checked.document, name)
        if operation is None:
            said = f"There is no operation named '{name}'." if name else "Name the operation to run in operationName."
            raise refused(ErrorCode.OPERATION_RESOLUTION_FAILURE, said)
        return checked.document, operation

    def _check(self, query: str) -> _Checked:
        try:
            document = parse(query, max_tokens=self._limits.tokens)
        except GraphQLError as error:
            return _Checked(None, (error,))
        except RecursionError:
            return _Checked(None, (GraphQLError("The document is nested too deeply."),))
        errors = exceeded(document, self._limits)
        try:
            errors = errors or validate(self._schema, document, max_errors=_MAX_ERRORS)
        except RecursionError:
            errors = [GraphQLError("The document is nested too deeply.")]
        return _Checked(document, tuple(errors))

    def _remember(self, query: str, checked: _Checked) -> None:
        if len(query) > _LONGEST_REMEMBERED:
            return
        self._known[query] = checked
        self._characters += len(query)
        while len(self._known) > _REMEMBERED or self._characters > _REMEMBERED_CHARACTERS:
            forgotten, _ = self._known.popitem(last=False)
            self._characters -= len(forgotten)
