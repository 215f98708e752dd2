"""What a walk finds out on its way that it must read: `advance` then answers it, and nothing is saved."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Lacks:
    """Data without which a walk cannot go on at the instant `at_ms`.

    - `history`: all events that count in the pass.
    - `families`: roots of families, whose members must be read whichever pass they lie on.
    - `is_first`: the walk had not completed an instant yet, so there is nothing to save up to the instant before.
    """

    at_ms: int
    history: bool = False
    families: frozenset[str] = frozenset()
    is_first: bool = True


class DataMissing(Exception):
    """The walk needs data that was not read. `advance` turns it into a Lacks."""

    def __init__(self, *, history: bool = False, families: frozenset[str] = frozenset()) -> None:
        super().__init__("the walk lacks data")
        self.history = history
        self.families = families
