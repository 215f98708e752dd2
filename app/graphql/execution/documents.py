"""Cache of documents: each is parsed, measured and validated once. Rejected documents are cached too.

The worst document within the limits takes about 0.2 s of CPU. The time is measured in `test_documents.py`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from importlib import import_module
from typing import Any, NamedTuple

from graphql import (
    DocumentNode,
    GraphQLError,
    GraphQLSchema,
    GraphQLSyntaxError,
    Node,
    NoSchemaIntrospectionCustomRule,
    OperationDefinitionNode,
    get_operation_ast,
    parse,
    print_ast,
    specified_rules,
    validate,
)
from graphql.validation.rules import overlapping_fields_can_be_merged

from app.graphql.errors import ErrorCode, RequestRefused, format_document_errors, refuse

from .cost import Pricing
from .defer import remove_defer
from .limits import (
    Limits,
    comparison_limit_error,
    depth_limit_error,
    find_exceeded_limits,
    length_limit_error,
    token_limit_error,
)

_MAX_CACHED_DOCUMENTS = 1_000
# A character of a parsed document takes about 120 bytes of memory.
_MAX_CACHED_CHARACTERS = 1_000_000
MAX_DOCUMENT_CHARACTERS = 100_000
"""Characters of a document. A comment or a text of megabytes is one token, and takes half a second to read."""
MAX_ERRORS = 10
"""Errors in the answer to an invalid document. Looking for names that are like an unknown one takes up to 10 ms."""
_MAX_QUOTED_CHARACTERS = 200
_TOO_MANY_TOKENS = "Syntax Error: Document contains more than"
_ABORTED = "Validation aborted."

MAX_COMPARISONS = 25_000
"""Pairs of fields with the same name that validation compares. graphql-core 3.3.2 allows 250,000, which take 0.9 s."""
# A comparison costs two units of this budget.
overlapping_fields_can_be_merged.MAX_COMPLEXITY_BUDGET = 2 * MAX_COMPARISONS


@dataclass(frozen=True, slots=True)
class _Document:
    """A checked document: its syntax tree without @defer and its prices, or the errors that reject it."""

    node: DocumentNode | None
    pricing: Pricing | None
    document_with_defer: DocumentNode | None = None
    errors: Sequence[dict[str, Any]] = ()


class FoundOperation(NamedTuple):
    """A document without @defer, one of its operations, and the prices of its operations.

    `document_with_defer` is the document as sent; None if it has no @defer.
    """

    document: DocumentNode
    operation: OperationDefinitionNode
    pricing: Pricing
    document_with_defer: DocumentNode | None


class Documents:
    """Checked documents of one schema. The cache drops the least recently used ones first."""

    def __init__(self, schema: GraphQLSchema, limits: Limits | None = None) -> None:
        self._schema = schema
        self._limits = limits or Limits()
        self._rules = [*specified_rules, *(() if self._limits.introspection else (NoSchemaIntrospectionCustomRule,))]
        self._cache: OrderedDict[str, _Document] = OrderedDict()
        self._characters = 0

    def count_unchecked(self, query: str) -> int:
        """Return the characters to parse and validate: 0 if the cache has the document, or if it is too long."""
        return 0 if query in self._cache or len(query) > MAX_DOCUMENT_CHARACTERS else len(query)

    def find_operation(self, query: str, name: str | None) -> FoundOperation:
        """Return the checked document and its operation `name`. A document with one operation needs no name.

        Raises RequestRefused: GRAPHQL_PARSE_FAILED, GRAPHQL_VALIDATION_FAILED, LIMIT_EXCEEDED or
        OPERATION_RESOLUTION_FAILURE.
        """
        if len(query) > MAX_DOCUMENT_CHARACTERS:
            raise RequestRefused(format_document_errors([length_limit_error(MAX_DOCUMENT_CHARACTERS)]))
        checked = self._cache.get(query)
        if checked is None:
            checked = self._check(query)
            self._store(query, checked)
        else:
            self._cache.move_to_end(query)
        if checked.errors or checked.node is None or checked.pricing is None:
            # Copy the errors, so that no two responses share them.
            raise RequestRefused(deepcopy(list(checked.errors)))
        operation = get_operation_ast(checked.node, name)
        if operation is None:
            message = "The document has several operations, or none. Name the one to run in 'operationName'."
            if name:
                message = f"The document has no operation named '{name}'. Correct 'operationName'."
            raise refuse(ErrorCode.OPERATION_RESOLUTION_FAILURE, message)
        return FoundOperation(
            document=checked.node,
            operation=operation,
            pricing=checked.pricing,
            document_with_defer=checked.document_with_defer,
        )

    def _check(self, query: str) -> _Document:
        limits = self._limits
        try:
            document = parse(query, max_tokens=limits.tokens)
            errors = find_exceeded_limits(document, limits) or validate(
                self._schema,
                document,
                self._rules,
                max_errors=MAX_ERRORS,
                hide_suggestions=not limits.introspection,
            )
        except GraphQLSyntaxError as error:
            return _rejected(token_limit_error(limits) if error.message.startswith(_TOO_MANY_TOKENS) else error)
        except GraphQLError as error:
            return _rejected(error)
        except RecursionError:
            return _rejected(depth_limit_error(limits))
        if errors:
            too_many = comparison_limit_error(MAX_COMPARISONS)
            return _rejected(*(too_many if error.message == _ABORTED else error for error in errors))
        node = remove_defer(document)
        return _Document(node, Pricing(self._schema, node), None if node is document else document)

    def _store(self, query: str, checked: _Document) -> None:
        self._cache[query] = checked
        self._characters += len(query)
        while len(self._cache) > _MAX_CACHED_DOCUMENTS or self._characters > _MAX_CACHED_CHARACTERS:
            dropped, _ = self._cache.popitem(last=False)
            self._characters -= len(dropped)


def _quote(node: Node) -> str:
    """Return the text of a value in the document, cut to `_MAX_QUOTED_CHARACTERS`."""
    if node.loc is None:
        return print_ast(node)
    text = node.loc.source.body[node.loc.start : node.loc.end]
    return text if len(text) <= _MAX_QUOTED_CHARACTERS else text[:_MAX_QUOTED_CHARACTERS] + "…"


# graphql-core 3.3.2 prints the whole value into each error: 25 ms and 35 KB for an input object of 3,000 fields.
import_module("graphql.utilities.validate_input_value").print_for_error = _quote  # type: ignore[attr-defined]


def _rejected(*errors: GraphQLError) -> _Document:
    # Store formatted errors: a GraphQLError refers to nodes, which would keep the whole parsed document in memory.
    return _Document(node=None, pricing=None, errors=format_document_errors(errors))
