"""verifyProjection: which stored results are compared with the events, and the sums of the comparison."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace

MAX_VERIFIED_PASSES = 1_000
"""Passes that one call names, or draws at random."""
DIFFERENCE_COLUMNS = ("kind", "id", "what", "live", "rebuilt")
"""Columns of the report: kind of the object, its id, the part that differs, what is stored, what the events give."""


@dataclass(frozen=True, slots=True)
class VerificationOrder:
    """What to compare: the passes of these ids; all passes if None."""

    pass_ids: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Verified:
    """Sums of a comparison.

    - `passes`: passes that were compared with `events` events.
    - `partial`: those of which only the sums by type were compared, for they have too many events.
    - `moving`: passes that changed during each look, and were not compared.
    - `gone`: passes that were erased or merged meanwhile.
    - `differences`: parts that differ, and `differing`: passes that have one.
    """

    passes: int = 0
    events: int = 0
    partial: int = 0
    moving: int = 0
    gone: int = 0
    differing: int = 0
    differences: int = 0

    def plus(self, other: Verified) -> Verified:
        """Return the sums of both."""
        mine, others = asdict(self), asdict(other)
        return replace(self, **{name: mine[name] + others[name] for name in mine})

    def to_dict(self) -> dict[str, int]:
        """Return the sums by name."""
        return asdict(self)
