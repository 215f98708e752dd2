"""Paths into JSON: keys and list indexes joined by points. One meaning for conditions, sums and attributes.

A step of a path that meets a list goes into each of its elements, so "items.sku" is the `sku` of every item. A step that
is a number also names the element of that index: "items.0.sku". A list that lies directly in a list is not entered,
except by its index. MongoDB reads paths in the same way.

A point in a key separates levels: `{"utm.source": "mail"}` is read as `{"utm": {"source": "mail"}}`. Empty parts are left
out, of paths as of keys.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal

from .decimals import read_number

Steps = tuple[str, ...]
MAX_DEPTH = 40
"""Levels of a JSON value in which keys are split. A path has at most 20 steps, and each may pass through a list."""


def split_path(path: str) -> Steps:
    """Return the steps of a path; none if it consists of points only."""
    return tuple(step for step in path.split(".") if step)


def iter_values(document: object, steps: Steps) -> Iterator[object]:
    """Yield each value at the steps: texts, numbers, booleans and objects, but neither nulls nor lists.

    A list at the end of the path stands for its elements. `document` has no keys with points; see `split_keys`.
    """
    value = document
    for depth, step in enumerate(steps):
        if isinstance(value, dict):
            value = value.get(step)
        elif isinstance(value, list):
            yield from _iter_in_list(value, step, steps[depth + 1 :])
            return
        else:
            return
    if isinstance(value, list):
        for item in value:
            if item is not None and not isinstance(item, list):
                yield item
    elif value is not None:
        yield value


def _iter_in_list(items: list[object], step: str, rest: Steps) -> Iterator[object]:
    if is_index(step) and int(step) < len(items):
        yield from iter_values(items[int(step)], rest)
    for item in items:
        if isinstance(item, dict) and step in item:
            yield from iter_values(item[step], rest)


def iter_numbers(document: object, steps: Steps) -> Iterator[Decimal]:
    """Yield each number at the steps, exactly. Texts that hold a number count as it; other values are left out."""
    for value in iter_values(document, steps):
        number = read_number(value)
        if number is not None:
            yield number


def is_index(step: str) -> bool:
    """Return whether a step can name an element of a list: "0", "1" and so on, without leading zeros."""
    return step.isascii() and step.isdigit() and len(step) < 7 and (step[0] != "0" or step == "0")


def find_value(document: object, steps: Steps) -> object:
    """Return the one value at the steps, or None. A step names a member, or an element of a list by its index.

    A member whose name contains points takes precedence over a longer path of the same text. Use this for a mapping,
    which reads a single value; conditions and sums use `iter_values`.
    """
    if not steps:
        return document
    if isinstance(document, Mapping):
        for length in range(len(steps), 0, -1):
            name = ".".join(steps[:length])
            if name in document and (found := find_value(document[name], steps[length:])) is not None:
                return found
        return None
    if isinstance(document, list) and is_index(steps[0]) and int(steps[0]) < len(document):
        return find_value(document[int(steps[0])], steps[1:])
    return None


def has_points(value: object, depth: int = MAX_DEPTH) -> bool:
    """Return whether a key in a JSON value contains a point, in its first levels."""
    if depth and isinstance(value, dict):
        for key, item in value.items():
            if "." in key or (isinstance(item, (dict, list)) and has_points(item, depth - 1)):
                return True
    elif depth and isinstance(value, list):
        for item in value:
            if isinstance(item, (dict, list)) and has_points(item, depth - 1):
                return True
    return False


def split_keys(value: object) -> object:
    """Return a JSON value in the form that paths are read in: keys with points become levels.

    The value itself is returned if no key contains a point. Where two keys lead to the same place, both values are kept:
    objects are joined, and other values become one list. Levels that no path reaches may be left out.
    """
    return _split(value, MAX_DEPTH) if has_points(value) else value


def _split(value: object, depth: int) -> object:
    if not depth:
        return None if isinstance(value, (dict, list)) else value
    if isinstance(value, list):
        return [_split(item, depth - 1) for item in value]
    if not isinstance(value, dict):
        return value
    found: dict[str, object] = {}
    for key, item in value.items():
        steps = split_path(key)
        if not 0 < len(steps) <= depth:
            continue
        part = _split(item, depth - len(steps))
        for step in reversed(steps[1:]):
            part = {step: part}
        _add(found, steps[0], part)
    return found


def _add(target: dict[str, object], key: str, value: object) -> None:
    """Add a value under a key of a new object, in place: repeated copies would take quadratic time."""
    present = target.get(key)
    if present is None:
        target[key] = value
    elif isinstance(present, dict) and isinstance(value, dict):
        for name, item in value.items():
            _add(present, name, item)
    elif value is not None:
        if not isinstance(present, list):
            present = target[key] = [present]
        present.extend(value if isinstance(value, list) else [value])
