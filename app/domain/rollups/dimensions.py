"""Dimensions: attributes of an event type of whose values contents have totals, beside the rows by source.

The rows of a dimension lie under a kind of their own, so that they are not read together with the rows by source. Each
event of the type has one row of the dimension; its value is None if the event has none. A content claims a dimension by
holding its rows. It holds them for all of its events of the type, or for none: `Incomplete` finds out which.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from app.domain.state.metadata_values import texts_at, value_of
from app.domain.values.conditions import Condition
from app.domain.values.paths import Steps, split_path

from .rows import CountedRow, RowKey, Totals

MAX_VALUES = 1_000
"""Values of one dimension in one content. With one more, the dimension overflows."""
MAX_VALUE_CHARACTERS = 255
"""Characters of a value of a dimension, as JSON text. An event with a longer one leaves its hour without the dimension."""
_MARK = "#"


class Dimension(NamedTuple):
    """Attribute of an event type, by the path of its values in the metadata."""

    type: str
    path: str

    @property
    def kind(self) -> str:
        """The kind of the rows of the dimension. No type of events begins so, and no two dimensions share one."""
        return f"{_MARK}{len(self.type)}{_MARK}{self.type}{_MARK}{self.path}"


def is_dimension(kind: str) -> bool:
    """Return whether a kind of rows is that of a dimension, and not a type of events."""
    return kind.startswith(_MARK)


def dimension_of(kind: str) -> Dimension:
    """Return the dimension of a kind for which `is_dimension` is true."""
    length, rest = kind.removeprefix(_MARK).split(_MARK, 1)
    return Dimension(rest[: int(length)], rest[int(length) + 1 :])


def row_by_value(row: CountedRow, dimension: Dimension, metadata: object, steps: Steps) -> CountedRow | None:
    """Return the row of a dimension in which an event counts that has this row by source and this metadata.

    None if no row can have it: the event has several values, or one that is too long. `steps` are those of the path.
    """
    texts = texts_at(metadata, steps)
    if len(texts) > 1 or len(texts[0] or "") > MAX_VALUE_CHARACTERS:
        return None
    key = row.key._replace(source=None, dimension=dimension.path, value=texts[0])
    return CountedRow(row.start_ms, dimension.kind, key, totals=row.totals)


def rows_by_values(
    row: CountedRow, dimension: Dimension, metadata: object, condition: Condition | None
) -> list[CountedRow]:
    """Return the rows in which an event counts for a question that reads it, with its row by source.

    Without a condition, there is one for each value. With one, which is met if one of the values meets it, there is one
    row with that value, or none.
    """
    texts = texts_at(metadata, split_path(dimension.path))
    if condition is not None:
        texts = [text for text in texts if text is not None and condition.matches_values([value_of(text)])][:1]
    key = row.key._replace(source=None, dimension=dimension.path)
    return [CountedRow(row.start_ms, dimension.kind, key._replace(value=text), totals=row.totals) for text in texts]


def holds(dimension: Dimension, types: Collection[str], kinds: Collection[str]) -> bool:
    """Return whether a content with these types of events and these kinds has the rows of a dimension.

    A content without an event of the type has all of its rows: none.
    """
    return dimension.type not in types or dimension.kind in kinds


@dataclass(slots=True)
class Incomplete:
    """Kinds of dimensions that a content cannot claim, found while its parts are read."""

    kinds: set[str] = field(default_factory=set)

    def compare(self, parts: Iterable[Collection[str]]) -> None:
        """Find the dimensions that a part does not hold although it has events of their type.

        Each part is given by its types of events and its kinds.
        """
        parts = list(parts)
        for kind in sorted({kind for part in parts for kind in part if is_dimension(kind)}):
            if not all(holds(dimension_of(kind), part, part) for part in parts):
                self.kinds.add(kind)


class ValueRows:
    """Rows of dimensions for the events of one content, one after the other.

    Of a dimension with too many values, no more rows are made: it overflows, and the memory that it takes is bounded.
    """

    def __init__(self, dimensions: Mapping[Dimension, Steps]) -> None:
        self.incomplete = Incomplete()
        self._of_type: dict[str, list[tuple[Dimension, Steps, set[str | None]]]] = {}
        for dimension, steps in dimensions.items():
            self._of_type.setdefault(dimension.type, []).append((dimension, steps, {None}))

    def rows(self, row: CountedRow, metadata: object) -> Iterator[CountedRow]:
        """Yield the rows of dimensions in which an event counts that has this row by source."""
        for dimension, steps, values in self._of_type.get(row.type, ()):
            found = row_by_value(row, dimension, metadata, steps)
            if found is None:
                self.incomplete.kinds.add(dimension.kind)
            elif len(values) <= MAX_VALUES + 1:
                values.add(found.key.value)
                yield found


def claimed(
    content: Mapping[str, Mapping[RowKey, Mapping[int, Totals]]], incomplete: Collection[str]
) -> tuple[dict[str, Mapping[RowKey, Mapping[int, Totals]]], list[Dimension]]:
    """Return a content without the dimensions that it cannot claim, and the dimensions that overflow in it."""
    overflowing = [
        dimension_of(kind)
        for kind in sorted(content)
        if is_dimension(kind) and len({key.value for key in content[kind]} - {None}) > MAX_VALUES
    ]
    left_out = {*incomplete, *(each.kind for each in overflowing)}
    return {kind: rows for kind, rows in content.items() if kind not in left_out}, overflowing
