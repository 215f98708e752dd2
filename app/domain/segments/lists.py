"""Parsers of the lists in an event criterion, such as its types."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from app.domain.errors import Code, InvalidInput
from app.domain.events.events import Category

MAX_LISTED = 50
"""Entries in one list of an event criterion."""


def parse_list(raw: object, path: tuple[str, ...], name: str) -> list[tuple[int, object]]:
    """Return the entries of a list with their indexes; none for None. Raises InvalidInput."""
    if raw is None:
        return []
    if not isinstance(raw, Sequence) or isinstance(raw, str):
        raise InvalidInput(Code.INVALID, "Give a list.", *path, name)
    if len(raw) > MAX_LISTED:
        raise InvalidInput(Code.TOO_MANY, f"Give at most {MAX_LISTED} entries.", *path, name)
    return list(enumerate(raw))


def parse_names(raw: object, path: tuple[str, ...], parse: Callable[..., str]) -> tuple[str, ...]:
    """Return the names of a list, sorted and without repeats, so that equal questions share one measure.

    Raises InvalidInput.
    """
    items = parse_list(raw, path[:-1], path[-1])
    return tuple(sorted({parse(item, *path, str(index)) for index, item in items}))


def parse_category_name(raw: object, *path: str) -> str:
    """Return the name of a category. Raises InvalidInput: UNKNOWN."""
    if str(raw) not in Category.__members__:
        raise InvalidInput(Code.UNKNOWN, f"Give one of {', '.join(Category)}.", *path)
    return str(raw)
