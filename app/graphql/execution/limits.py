"""Limits on documents, checked in time linear to their length before anything that takes longer looks at them."""

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
    """How large a document may be, fragments counted each time they are spread, what it may cost, how long it may run."""

    tokens: int = 10_000
    depth: int = 20
    fields: int = 2_000
    aliases: int = 100
    directives: int = 100
    spreads: int = 200
    # Fields that share a name in one selection set are compared pair by pair by validation.
    repeats: int = 20
    cost: int = 100_000
    seconds: float = 30.0
    introspection: bool = True

    @classmethod
    def of(cls, settings: Settings) -> Limits:
        """The limits that the settings ask for."""
        return cls(
            tokens=settings.max_tokens,
            depth=settings.max_depth,
            fields=settings.max_fields,
            aliases=settings.max_aliases,
            directives=settings.max_directives,
            # What costs more than a whole budget could never be paid.
            cost=min(settings.max_cost, settings.budget_points or settings.max_cost),
            seconds=settings.operation_seconds,
            introspection=settings.introspection == "on",
        )


@dataclass(frozen=True, slots=True)
class _Size:
    depth: int = 0
    fields: int = 0
    aliases: int = 0
    directives: int = 0
    spreads: int = 0

    def beside(self, other: _Size) -> _Size:
        return _Size(
            max(self.depth, other.depth),
            self.fields + other.fields,
            self.aliases + other.aliases,
            self.directives + other.directives,
            self.spreads + other.spreads,
        )


class _Measuring:
    """Measures each selection set and each fragment once."""

    def __init__(self, document: DocumentNode, limits: Limits) -> None:
        self._fragments = {
            node.name.value: node for node in document.definitions if isinstance(node, FragmentDefinitionNode)
        }
        self._limits = limits
        self._known: dict[str, _Size] = {}

    def of(self, selections: SelectionSetNode | None, level: int = 0) -> _Size:
        """The size of a selection set with everything below it."""
        if selections is None:
            return _Size()
        if level > self._limits.depth:
            # Stop here: the rest may be nested deeper than the interpreter's stack.
            return _Size(depth=1)
        total = _Size()
        names: Counter[str] = Counter()
        for node in selections.selections:
            directives = len(node.directives or ())
            match node:
                case FieldNode():
                    names[node.alias.value if node.alias else node.name.value] += 1
                    below = self.of(node.selection_set, level + 1)
                    size = _Size(
                        below.depth + 1,
                        below.fields + 1,
                        below.aliases + (node.alias is not None),
                        below.directives + directives,
                        below.spreads,
                    )
                case InlineFragmentNode():
                    size = self.of(node.selection_set, level).beside(_Size(directives=directives))
                case FragmentSpreadNode():
                    size = self._fragment(node.name.value).beside(_Size(directives=directives, spreads=1))
                case _:
                    continue
            total = total.beside(size)
        if names and names.most_common(1)[0][1] > self._limits.repeats:
            name, count = names.most_common(1)[0]
            said = f"'{name}' is selected {count} times in one place; at most {self._limits.repeats}."
            raise _error("repeats", self._limits.repeats, said)
        return total

    def _fragment(self, name: str) -> _Size:
        known = self._known.get(name)
        if known is None:
            # A fragment that spreads itself measures as nothing here; validation refuses it.
            self._known[name] = _Size()
            fragment = self._fragments.get(name)
            known = self._known[name] = self.of(fragment.selection_set) if fragment else _Size()
        return known


def exceeded(document: DocumentNode, limits: Limits) -> list[GraphQLError]:
    """What is too large about the document; empty where nothing is."""
    try:
        return list(_exceeded(document, limits))
    except GraphQLError as error:
        return [error]


def _exceeded(document: DocumentNode, limits: Limits) -> Iterator[GraphQLError]:
    measuring = _Measuring(document, limits)
    for node in document.definitions:
        if isinstance(node, FragmentDefinitionNode):
            measuring.of(node.selection_set)
    for node in document.definitions:
        if not isinstance(node, OperationDefinitionNode):
            continue
        size = measuring.of(node.selection_set).beside(_Size(directives=len(node.directives or ())))
        for name in ("depth", "fields", "aliases", "directives", "spreads"):
            found, most = getattr(size, name), getattr(limits, name)
            if found > most:
                yield _error(name, most, f"The operation is too large: more than {most} in {name}.", node)


def too_many_tokens(limits: Limits) -> GraphQLError:
    """The error for a document with more tokens than allowed."""
    return _error("tokens", limits.tokens, f"The document is too long: more than {limits.tokens} tokens.")


def too_deep(limits: Limits) -> GraphQLError:
    """The error for a document that is nested deeper than can be read."""
    return _error("depth", limits.depth, "The document is nested too deeply.")


def _error(name: str, most: int, message: str, node: Node | None = None) -> GraphQLError:
    return GraphQLError(message, node, extensions={"code": ErrorCode.LIMIT_EXCEEDED, "limit": name, "most": most})
