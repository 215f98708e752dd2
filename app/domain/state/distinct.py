"""Different values of events: each with the latest instant at which it occurred or, for a calendar period, without."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from hashlib import blake2b

from app.domain.values.decimals import canonical

MAX_DISTINCT = 100
"""Greatest number that a count of different values is compared with."""
MAX_LISTED_VALUES = MAX_DISTINCT + 1
"""Values that are listed, so that 100 of them differ from more."""
HASH_CHARACTERS = 12
"""Length of the hash of a value."""


@dataclass(frozen=True, slots=True)
class Distinct:
    """The latest values: the hash of each, and its latest instant in ms, in ascending order of instant and hash.

    The values that are left out occurred last before those that are listed. So in a window they leave first, and the list
    never has to be filled again.
    """

    hashes: tuple[str, ...]
    instants: tuple[int, ...]

    @property
    def value(self) -> int:
        """The number of different values; 101 for more than 100."""
        return len(self.hashes)


@dataclass(frozen=True, slots=True)
class ValueSet:
    """The different values of a calendar period: their hashes, ascending.

    All events of a period leave the window together, so the instants of the values do not matter. `has_more`: there are
    more than 100 values, and `hashes` is empty. Then only a rebuild from the events makes them fewer.
    """

    hashes: tuple[str, ...]
    has_more: bool = False

    @property
    def value(self) -> int:
        """The number of different values; 101 for more than 100."""
        return MAX_LISTED_VALUES if self.has_more else len(self.hashes)


def value_set(hashes: Iterable[str]) -> ValueSet | None:
    """Return the set of different values; None without one."""
    found = sorted({*hashes})
    if len(found) >= MAX_LISTED_VALUES:
        return ValueSet((), has_more=True)
    return ValueSet(tuple(found)) if found else None


def unite_values(a: ValueSet, b: ValueSet) -> ValueSet:
    """Return the values of both sets. It is `a` itself if `b` adds none."""
    if a.has_more or b.has_more:
        return a if a.has_more else b
    return a if {*a.hashes}.issuperset(b.hashes) else value_set((*a.hashes, *b.hashes)) or a


def add_values(state: Distinct | None, hashes: Iterable[str], at: int) -> Distinct | None:
    """Return the values with those of one more event."""
    latest = {} if state is None else dict(zip(state.hashes, state.instants, strict=True))
    for each in hashes:
        latest[each] = max(at, latest.get(each, at))
    return _listed(latest)


def merge_values(pairs: Iterable[tuple[int, Iterable[str]]]) -> Distinct | None:
    """Return the values of all events, from (ms, hashes) of each, in ascending order."""
    latest: dict[str, int] = {}
    for at, hashes in pairs:
        for each in hashes:
            latest[each] = at
    return _listed(latest)


def expire_values(state: Distinct, start_ms: int) -> Distinct | None:
    """Return the values without those that occurred last at or before `start_ms`; None if none is left."""
    if state.instants[0] > start_ms:
        return state
    return _listed({each: at for each, at in zip(state.hashes, state.instants, strict=True) if at > start_ms})


def _listed(latest: dict[str, int]) -> Distinct | None:
    if not latest:
        return None
    pairs = sorted((at, each) for each, at in latest.items())[-MAX_LISTED_VALUES:]
    return Distinct(tuple(each for _, each in pairs), tuple(at for at, _ in pairs))


def hash_value(value: object) -> str | None:
    """Return the hash of a text, a number, true or false; None for anything else. Equal numbers have one hash."""
    match value:
        case bool():
            text = f"b{value}"
        case int() | Decimal():
            text = f"n{canonical(Decimal(value))}"
        case float():
            text = f"n{canonical(Decimal(repr(value)))}"
        case str():
            text = f"t{value}"
        case _:
            return None
    return urlsafe_b64encode(blake2b(text.encode(), digest_size=9).digest()).decode()
