"""Paths of a mapping: they point into one item of a message, into the whole body, or to a header."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from app.domain.errors import Code, InvalidInput
from app.domain.values.paths import find_value
from app.domain.values.text import parse_text

ITEM = "$item"
BODY = "$body"
HEADERS = "$headers"
ROOTS = (ITEM, BODY, HEADERS)
MAX_STEPS = 20
MAX_PATH = 200
"""Characters of a path."""


@dataclass(frozen=True, slots=True)
class Scope:
    """The values that paths point into: an item of the body, the body, and the headers by their names in lower case."""

    item: object
    body: object
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Path:
    """A root, and the member names and list indexes that lead from it to a value. `text` is the path as written."""

    root: str
    steps: tuple[str, ...]
    text: str

    def resolve(self, scope: Scope) -> object:
        """Return the value at the path, or None. An empty text counts as None: many systems send one for no value."""
        if self.root == HEADERS:
            return scope.headers.get(".".join(self.steps).lower()) or None
        found = find_value(scope.body if self.root == BODY else scope.item, self.steps)
        return None if found == "" else found


def parse_path(raw: object, *field: str) -> Path:
    """Return the path of a text such as "customer.email", "lines.0.sku", "$body.order.id" or "$headers.x-topic".

    A path without a root begins at the item. Raises InvalidInput: INVALID, TOO_LONG, UNKNOWN (another root), and
    TOO_MANY (more than 20 steps).
    """
    text = parse_text(raw, *field, max_length=MAX_PATH)
    first, *steps = text.split(".")
    if first not in ROOTS:
        if first.startswith("$"):
            raise InvalidInput(
                Code.UNKNOWN, f"A path begins with a member name or with one of {', '.join(ROOTS)}.", *field
            )
        first, steps = ITEM, [first, *steps]
    if not all(steps) or (first == HEADERS and not steps):
        raise InvalidInput(
            Code.INVALID,
            'A path consists of member names and list indexes, joined by points: "customer.email" or "lines.0.sku".',
            *field,
        )
    if len(steps) > MAX_STEPS:
        raise InvalidInput(Code.TOO_MANY, f"The path has {len(steps)} steps; at most {MAX_STEPS} are allowed.", *field)
    return Path(first, tuple(steps), text)
