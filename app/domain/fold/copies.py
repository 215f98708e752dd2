"""Walks of copies of passes: what the walk would do, with nothing written.

They run the code of the workers. A walk is a generator: it yields what it must read, and gets what the caller has read. So
one walk serves callers that read from the store, and callers that hold all events in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from app.domain.definitions import Definitions
from app.domain.events.events import Event
from app.domain.passes.passes import Pass
from app.domain.rules.texts import Texts
from app.domain.state.measures import Measure
from app.domain.values.instants import to_ms

from .advance import Advanced, advance
from .prefetch import Family, WindowPage, find_prefetch

T = TypeVar("T")
MAX_REPEATS = 5
"""Repeats of a walk, each after reading what the walk before it lacked."""

MAX_WALKS = 20
"""Walks of a copy that one query makes to reach an instant."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What a walk of the copy `card` must read: see `Prefetch`."""

    card: Pass
    history: bool = False
    windows: Mapping[str, tuple[Measure, int]] = field(default_factory=dict)
    families: frozenset[str] = frozenset()

    @property
    def is_empty(self) -> bool:
        """Whether nothing must be read."""
        return not (self.history or self.windows or self.families)


@dataclass(frozen=True, slots=True)
class Found:
    """What was read for a walk: see `advance`."""

    history: Sequence[Event] | None = None
    pages: Mapping[str, WindowPage] = field(default_factory=dict)
    families: Mapping[str, Family] = field(default_factory=dict)

    def plus(self, other: Found) -> Found:
        """Return both together."""
        history = self.history if other.history is None else other.history
        return Found(history, {**self.pages, **other.pages}, {**self.families, **other.families})


class TooMuchToRead(Exception):
    """The caller does not read as many events as the walk needs. The caller throws it into the walk."""


CopyWalk = Generator[Reading, Found, T]
"""A walk that yields what it must read, gets what was read, and returns a T."""


def finish(walk: CopyWalk[T], read: Callable[[Reading], Found]) -> T:
    """Return the result of a walk whose reads are answered from memory."""
    try:
        reading = next(walk)
        while True:
            reading = walk.send(read(reading))
    except StopIteration as end:
        result: T = end.value
        return result


def walk_copy(
    card: Pass,
    definitions: Definitions,
    events: Sequence[Event] = (),
    *,
    limit_ms: int,
    recorded_ms: int,
    has_more: bool = False,
    texts: Texts,
) -> CopyWalk[Advanced]:
    """Walk a copy of the pass once, as `advance` does, and return the result."""
    wanted = find_prefetch(card, definitions, events, limit_ms)
    reading, found = Reading(card, wanted.history, wanted.windows, families=wanted.families), Found()
    for _ in range(MAX_REPEATS + 1):
        if not reading.is_empty:
            found = found.plus((yield reading))
        done = advance(
            card, definitions, events, limit_ms=limit_ms, recorded_ms=recorded_ms, has_more=has_more,
            history=found.history, pages=found.pages, families=found.families, texts=texts,
        )  # fmt: skip
        if isinstance(done, Advanced):
            return done
        reading = Reading(card, history=done.history, families=done.families)
    raise RuntimeError("the walk lacks data that was given")


def walk_until(card: Pass, definitions: Definitions, limit_ms: int, texts: Texts) -> CopyWalk[Pass]:
    """Walk a copy of the pass without events, until nothing is left to do up to an instant, and return the copy.

    Raises TooMuchToRead after MAX_WALKS walks, each of which takes up to 50 ms.
    """
    for _ in range(MAX_WALKS):
        is_behind = any(version.at_ms <= limit_ms for version in definitions.after(card.revision))
        is_due = card.next_due_ms is not None and card.next_due_ms <= limit_ms
        if not (is_behind or is_due or card.evaluated_until_ms < to_ms(card.created_at)):
            return card
        after = yield from walk_step(card, definitions, limit_ms, texts)
        if not has_moved(card, after):
            return after
        card = after
    raise TooMuchToRead


def walk_step(card: Pass, definitions: Definitions, limit_ms: int, texts: Texts) -> CopyWalk[Pass]:
    """Walk a copy of the pass once without events, and return the copy, with what rules made in its outbox."""
    done = yield from walk_copy(card, definitions, limit_ms=limit_ms, recorded_ms=limit_ms, texts=texts)
    return replace(done.card, outbox=(*card.outbox, *done.entries))


def has_moved(before: Pass, after: Pass) -> bool:
    """Return whether a walk without events did something, so that the next one may do more."""
    return (before.evaluated_until_ms, before.next_due_ms, before.revision, before.measures) != (
        after.evaluated_until_ms, after.next_due_ms, after.revision, after.measures
    )  # fmt: skip
