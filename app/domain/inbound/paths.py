"""Paths into what a foreign system sent: of one item, of the whole body, or of the headers that came with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from app.domain.errors import Code, InvalidInput
from app.domain.values.text import parse_text

ITEM = "$item"
BODY = "$body"
HEADERS = "$headers"
ROOTS = (ITEM, BODY, HEADERS)
MAX_STEPS = 20
MAX_PATH = 200


@dataclass(frozen=True, slots=True)
class Scope:
    """What paths are looked up in: an item of the body, the body itself, and headers by their names in small letters."""

    item: object
    body: object
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Path:
    """Where to look: a root, and names or places of lists from there on. `text` is how it was written."""

    root: str
    steps: tuple[str, ...]
    text: str

    def of(self, scope: Scope) -> object:
        """What stands there; None for nothing, and for an empty text, which many systems send for nothing."""
        if self.root == HEADERS:
            return scope.headers.get(".".join(self.steps).lower()) or None
        found = scope.body if self.root == BODY else scope.item
        for step in self.steps:
            if isinstance(found, Mapping):
                found = found.get(step)
            elif isinstance(found, list) and step.isdecimal() and len(step) < 7 and int(step) < len(found):
                found = found[int(step)]
            else:
                return None
        return None if found == "" else found


def parse_path(raw: object, *field: str) -> Path:
    """The path of a text such as "customer.email", "lines.0.sku", "$body.order.id" or "$headers.x-topic".

    Without a root it begins at the item. Raises InvalidInput: INVALID, TOO_LONG, TOO_MANY (more than 20 steps).
    """
    text = parse_text(raw, *field, most=MAX_PATH)
    first, *steps = text.split(".")
    if first not in ROOTS:
        if first.startswith("$"):
            raise InvalidInput(Code.UNKNOWN, f"A path begins with a name, or with {', '.join(ROOTS)}.", *field)
        first, steps = ITEM, [first, *steps]
    if not all(steps) or (first == HEADERS and not steps):
        raise InvalidInput(
            Code.INVALID, 'A path is names and places joined by points, for example "customer.email".', *field
        )
    if len(steps) > MAX_STEPS:
        raise InvalidInput(Code.TOO_MANY, f"At most {MAX_STEPS} steps.", *field)
    return Path(first, tuple(steps), text)
