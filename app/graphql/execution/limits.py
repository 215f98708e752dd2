"""Limits on the size of documents, checked before validation.

The check takes time linear to the length of the document. Validation of a hostile document can take much longer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    InlineFragmentNode,
    Node,
    OperationDefinitionNode,
    SelectionSetNode,
)

from app.config.settings import Settings
from app.graphql.errors import ErrorCode


@dataclass(frozen=True)
class Limits:
    """Limits on the size, the cost and the duration of one operation.

    A fragment counts each time it is spread. `repeats` limits fields of one name in one selection set. `cost` is in
    points.
    """

    tokens: int = 10_000
    depth: int = 20
    fields: int = 2_000
    aliases: int = 100
    directives: int = 100
    spreads: int = 200
    # Introspection of the whole schema takes up to 0.05 s, in which the process answers no other client.
    introspections: int = 5
    # Validation compares all pairs of fields that share a name in one selection set.
    repeats: int = 20
    # Validation walks each operation with its variables. Clients send one, or the few of a file.
    operations: int = 100
    # Pages of generated clients have about 100 fragments.
    fragments: int = 500
    cost: int = 100_000
    timeout_seconds: float = 30.0
    introspection: bool = True

    @classmethod
    def from_settings(cls, settings: Settings) -> Limits:
        """Return the limits that the settings give."""
        return cls(
            tokens=settings.max_tokens,
            depth=settings.max_depth,
            fields=settings.max_fields,
            aliases=settings.max_aliases,
            directives=settings.max_directives,
            # A key could never pay for an operation that costs more than a full budget.
            cost=min(settings.max_cost, settings.budget_points or settings.max_cost),
            timeout_seconds=settings.operation_seconds,
            introspection=settings.introspection == "on",
        )


@dataclass(frozen=True, slots=True)
class _Size:
    """Size of a selection set with everything below it."""

    depth: int = 0
    fields: int = 0
    aliases: int = 0
    directives: int = 0
    spreads: int = 0
    introspections: int = 0

    def plus(self, other: _Size) -> _Size:
        return _Size(
            depth=max(self.depth, other.depth),
            fields=self.fields + other.fields,
            aliases=self.aliases + other.aliases,
            directives=self.directives + other.directives,
            spreads=self.spreads + other.spreads,
            introspections=self.introspections + other.introspections,
        )


class _Measurement:
    """Measurement of one document, which visits each selection set and each fragment once."""

    def __init__(self, document: DocumentNode, limits: Limits) -> None:
        self._fragments = {
            node.name.value: node for node in document.definitions if isinstance(node, FragmentDefinitionNode)
        }
        self._limits = limits
        self._fragment_sizes: dict[str, _Size] = {}

    def measure(self, selections: SelectionSetNode | None, level: int = 0) -> _Size:
        """Return the size of a selection set. Raises GraphQLError if it selects one name too often."""
        if selections is None:
            return _Size()
        if level > self._limits.depth:
            # Stop here: the selections below may be nested deeper than the stack of the interpreter.
            return _Size(depth=1)
        total = _Size()
        names: Counter[str] = Counter()
        for node in selections.selections:
            directives = len(node.directives or ())
            match node:
                case FieldNode():
                    names[node.alias.value if node.alias else node.name.value] += 1
                    below = self.measure(node.selection_set, level + 1)
                    size = _Size(
                        depth=below.depth + 1,
                        fields=below.fields + 1,
                        aliases=below.aliases + (node.alias is not None),
                        directives=below.directives + directives,
                        spreads=below.spreads,
                        introspections=below.introspections + (node.name.value == "__schema"),
                    )
                case InlineFragmentNode():
                    size = self.measure(node.selection_set, level).plus(_Size(directives=directives))
                case FragmentSpreadNode():
                    size = self._measure_fragment(node.name.value).plus(_Size(directives=directives, spreads=1))
                case _:
                    continue
            total = total.plus(size)
        if names and names.most_common(1)[0][1] > self._limits.repeats:
            name, count = names.most_common(1)[0]
            message = (
                f"One selection set selects '{name}' {count} times; at most {self._limits.repeats} are allowed. "
                "Select it fewer times."
            )
            raise _error("repeats", self._limits.repeats, message)
        return total

    def _measure_fragment(self, name: str) -> _Size:
        size = self._fragment_sizes.get(name)
        if size is None:
            # A fragment that spreads itself has size 0 in its own measurement. Validation rejects such a fragment.
            self._fragment_sizes[name] = _Size()
            fragment = self._fragments.get(name)
            size = self._fragment_sizes[name] = self.measure(fragment.selection_set) if fragment else _Size()
        return size


def find_exceeded_limits(document: DocumentNode, limits: Limits) -> list[GraphQLError]:
    """Return an error for each limit that the document exceeds."""
    try:
        return list(_check_sizes(document, limits))
    except GraphQLError as error:
        return [error]


def _check_sizes(document: DocumentNode, limits: Limits) -> Iterator[GraphQLError]:
    _check_definitions(document, limits)
    measurement = _Measurement(document, limits)
    for node in document.definitions:
        if isinstance(node, FragmentDefinitionNode):
            measurement.measure(node.selection_set)
    for node in document.definitions:
        if not isinstance(node, OperationDefinitionNode):
            continue
        size = measurement.measure(node.selection_set).plus(_Size(directives=len(node.directives or ())))
        for name in ("depth", "fields", "aliases", "directives", "spreads", "introspections"):
            limit = getattr(limits, name)
            if getattr(size, name) > limit:
                message = f"The operation has more than {limit} {name}. Split the operation."
                if name == "depth":
                    message = f"The operation is nested more than {limit} levels deep. Select fewer levels."
                yield _error(name, limit, message, node)


def _check_definitions(document: DocumentNode, limits: Limits) -> None:
    for name, kind in (("operations", OperationDefinitionNode), ("fragments", FragmentDefinitionNode)):
        limit = getattr(limits, name)
        if sum(isinstance(node, kind) for node in document.definitions) > limit:
            raise _error(name, limit, f"The document has more than {limit} {name}. Split the document.")


def token_limit_error(limits: Limits) -> GraphQLError:
    """Return the error for a document with more tokens than the limit."""
    return _error("tokens", limits.tokens, f"The document has more than {limits.tokens} tokens. Split the operation.")


def length_limit_error(maximum: int) -> GraphQLError:
    """Return the error for a document that is too long to be parsed."""
    return _error("characters", maximum, f"The document has more than {maximum:,} characters. Split the operation.")


def comparison_limit_error(maximum: int) -> GraphQLError:
    """Return the error for a document of which validation would compare too many pairs of fields."""
    message = (
        "The document selects fields of the same names too often to be validated. Spread fewer fragments in one "
        "selection, or split the operation."
    )
    return _error("comparisons", maximum, message)


def depth_limit_error(limits: Limits) -> GraphQLError:
    """Return the error for a document that is nested too deeply to be parsed."""
    return _error("depth", limits.depth, "The document is nested too deeply to be parsed. Select fewer levels.")


def _error(name: str, limit: int, message: str, node: Node | None = None) -> GraphQLError:
    return GraphQLError(message, node, extensions={"code": ErrorCode.LIMIT_EXCEEDED, "limit": name, "most": limit})
