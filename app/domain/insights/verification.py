"""verifyProjection: which stored results are compared with the events, and the sums of the comparison."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace

MAX_VERIFIED_PASSES = 1_000
"""Passes that one call names, or draws at random."""
DIFFERENCE_COLUMNS = ("kind", "id", "what", "live", "rebuilt")
"""Columns of the report: kind of the object, its id, the part that differs, what is stored, what the events give."""


@dataclass(frozen=True, slots=True)
class VerificationOrder:
    """What to compare: the passes of these ids, or all passes if None; and rollups from one instant to another, in ms.

    `rollups` is None if none are compared. Its ends are None for the first and the last event.
    """

    pass_ids: tuple[str, ...] | None = None
    rollups: tuple[int | None, int | None] | None = None


@dataclass(frozen=True, slots=True)
class Verified:
    """Sums of a comparison.

    - `passes`: passes that were compared with `events` events.
    - `partial`: those of which only the aggregates and the sums by month and year were compared, for they have too many
      events.
    - `gone`: passes that were erased or merged meanwhile.
    - `rollups`: rollups that were compared with `rollup_events` events.
    - `waiting`: rollups that wait to be sealed anew, and were not compared.
    - `moving`: passes and rollups that changed during each look, and were not compared.
    - `differences`: parts that differ, and `differing`: passes and rollups that have one.
    """

    passes: int = 0
    events: int = 0
    partial: int = 0
    gone: int = 0
    rollups: int = 0
    rollup_events: int = 0
    waiting: int = 0
    moving: int = 0
    differing: int = 0
    differences: int = 0

    def plus(self, other: Verified) -> Verified:
        """Return the sums of both."""
        mine, others = asdict(self), asdict(other)
        return replace(self, **{name: mine[name] + others[name] for name in mine})

    def to_dict(self) -> dict[str, int]:
        """Return the sums by name, as a job stores them."""
        return asdict(self)

    def to_result(self) -> dict[str, object]:
        """Return the sums by the names of the API."""
        return {("rollupEvents" if name == "rollup_events" else name): value for name, value in asdict(self).items()}
