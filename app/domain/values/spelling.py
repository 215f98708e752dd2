"""Suggestions for names that look misspelled."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

MAX_COMPARED_NAMES = 1_000
"""Names that a misspelled one is compared with, about 10 ms."""
_SIMILARITY = 0.75


def find_similar(name: str, names: Iterable[str]) -> str | None:
    """Return the one of the names that is most like a name, in any case of letters; None if none is like it."""
    by_folded = {each.casefold(): each for each in sorted(names)[:MAX_COMPARED_NAMES] if each != name}
    found = get_close_matches(name.casefold(), by_folded, n=1, cutoff=_SIMILARITY)
    return by_folded[found[0]] if found else None


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """Return the question that suggests another name, with a blank before it; nothing if no name is like it."""
    found = find_similar(name, names)
    return "" if found is None else f" Did you mean '{found}'?"
