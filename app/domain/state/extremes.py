"""Smallest and greatest values of rolling windows.

Of the events in a window, only *candidates* can be its extreme, now or later: those whose value no event at the same instant
or later reaches. The list of candidates is in order of time, and the first one is the extreme. When it leaves the window,
the next one is.

A list of rising values has as many candidates as events. So a list of more than 200 leaves some of the later ones out, and
marks the *gap*. Before a candidate with a gap becomes the first one, the worker reads the events of the gap by index.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

MAX_CANDIDATES = 200
"""Candidates that a window lists."""
NEXT_CANDIDATES = 100
"""Candidates at the front of the list, between which no gap is made."""


@dataclass(frozen=True, slots=True)
class Extremes:
    """Candidates of a window.

    `instants` are those of the events in ms, ascending, and `values` their values. `gaps` says after which of them
    candidates are left out. `is_greatest`: the greatest value is sought, not the smallest.
    """

    instants: tuple[int, ...]
    values: tuple[Decimal, ...]
    gaps: tuple[bool, ...]
    is_greatest: bool

    @property
    def value(self) -> Decimal:
        """The extreme. It is exact until the first candidate with a gap leaves the window."""
        return self.values[0]

    @property
    def first_gap(self) -> int | None:
        """The index of the first candidate after which some are left out."""
        return self.gaps.index(True) if True in self.gaps else None

    def reaches(self, a: Decimal, b: Decimal) -> bool:
        """Return whether `a` is as extreme as `b`, or more so."""
        return a >= b if self.is_greatest else a <= b


def add_candidate(state: Extremes | None, at: int, value: Decimal, *, is_greatest: bool) -> Extremes:
    """Return the candidates with one more event, which has not left the window."""
    if state is None:
        return Extremes((at,), (value,), (False,), is_greatest=is_greatest)
    instants, values, gaps = state.instants, state.values, state.gaps
    index = bisect_left(instants, at)
    if index < len(instants) and state.reaches(values[index], value):
        return state
    low, high = index, index + (index < len(instants) and instants[index] == at)
    while low and state.reaches(value, values[low - 1]):
        low -= 1
    has_gap = bool(high) and gaps[high - 1]
    if has_gap and low == high:
        # The event lies in a gap, so it is read with the others of the gap.
        return state
    return _thin(
        Extremes(
            (*instants[:low], at, *instants[high:]),
            (*values[:low], value, *values[high:]),
            (*gaps[:low], has_gap, *gaps[high:]),
            is_greatest=is_greatest,
        )
    )


def _thin(state: Extremes, filled: int = 0) -> Extremes:
    """Return the list with at most MAX_CANDIDATES: those go that lie closest to their neighbours in time.

    The first `filled` candidates stay, so a list may be longer for a while.
    """
    instants, values, gaps = list(state.instants), list(state.values), list(state.gaps)
    first = max(filled, NEXT_CANDIDATES)
    # The last one stays, so that every gap has an end.
    while len(instants) > max(MAX_CANDIDATES, first + 1):
        index = min(range(first, len(instants) - 1), key=lambda i: instants[i + 1] - instants[i - 1])
        gaps[index - 1] = True
        del instants[index], values[index], gaps[index]
    return Extremes(tuple(instants), tuple(values), tuple(gaps), is_greatest=state.is_greatest)


def expire_candidates(state: Extremes, start_ms: int) -> Extremes | None:
    """Return the list without the candidates at or before `start_ms`; None if none is left.

    A candidate with a gap stays at the front until the gap is filled. The walk stops before it leaves the window.
    """
    count = bisect_right(state.instants, start_ms)
    gap = state.first_gap
    count = count if gap is None else min(count, gap)
    if not count:
        return state
    if count == len(state.instants):
        return None
    return Extremes(state.instants[count:], state.values[count:], state.gaps[count:], is_greatest=state.is_greatest)


def fill_gap(state: Extremes, after_ms: int, pairs: Sequence[tuple[int, Decimal]]) -> Extremes:
    """Return the list with the candidates of the gap after `after_ms`, from the (ms, value) of all events in the gap.

    A gap that is left begins later, also if candidates have left the window before it. So each call brings the walk on.
    """
    index = state.instants.index(after_ms)
    before, after = slice(0, index + 1), slice(index + 1, None)
    found = list_candidates(pairs, is_greatest=state.is_greatest, later=state.values[index + 1])
    return _thin(
        Extremes(
            (*state.instants[before], *(at for at, _ in found), *state.instants[after]),
            (*state.values[before], *(value for _, value in found), *state.values[after]),
            (*state.gaps[:index], *[False] * (len(found) + 1), *state.gaps[after]),
            is_greatest=state.is_greatest,
        ),
        filled=index + 2,
    )


def list_candidates(
    pairs: Sequence[tuple[int, Decimal]], *, is_greatest: bool, later: Decimal | None = None
) -> list[tuple[int, Decimal]]:
    """Return those of the (ms, value) that are candidates. `later` is the extreme of the events after them."""
    found: list[tuple[int, Decimal]] = []
    for at, value in reversed(pairs):
        if later is None or (value > later if is_greatest else value < later):
            found.append((at, value))
            later = value
    return found[::-1]


def build_extremes(pairs: Sequence[tuple[int, Decimal]], *, is_greatest: bool) -> Extremes | None:
    """Return the candidates of all events of a window, from their (ms, value) in ascending order; None for no events."""
    found = list_candidates(pairs, is_greatest=is_greatest)
    if not found:
        return None
    instants, values = zip(*found, strict=True)
    return _thin(Extremes(instants, values, (False,) * len(found), is_greatest=is_greatest))
