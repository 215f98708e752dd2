"""Laps: how due and backfill work through many passes without reading all that wait in every round.

The embedded server examines all documents of a query, whatever its limit is. So a round does not ask for the next few
passes. A lap reads up to LOOK_SIZE ids at once, and rounds take batches of them. A lap is only in memory; after a crash,
the next one begins. The ids may be outdated: each round reads the passes themselves, and leaves out those that another
worker has advanced.

A pass with pending events is left to the fold, and stays due until then. During an import, most due passes are such. So a
lap of due that met many of them does not begin again at each look: it reads only what has become due since.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from app.store.mongo.horizons import Horizon

LOOK_SIZE = 20_000
"""Passes whose ids a lap holds in memory, about 2 MB."""

BLOCKED_PER_LOOK = 100
"""Passes with pending events that one look at due passes may read once more."""

MAX_LOOKS = 200
"""Looks after which a lap ends although more and more passes wait for the fold, as they do during an import.

The lap does not see a pass that is stored late, with an instant that the lap has read already.
"""

PassRef = tuple[str, str]
"""A pass: its id and the id of its workspace."""


@dataclass
class Lap:
    """The ids of passes that a lap has read and not taken yet, and the number of passes saved so far.

    `subject` is what the passes were read for: a lap for something else begins anew. A lap of due has read all passes that
    were due by `until_ms`. If `is_cut`, more are due, and the next read ends at `horizon`. The lap has left `blocked` passes
    to the fold, in `looks` looks.
    """

    passes: list[PassRef] = field(default_factory=list)
    subject: object = None
    saved: int = 0
    until_ms: int = -1
    horizon: Horizon = field(default_factory=Horizon)
    is_cut: bool = False
    blocked: int = 0
    looks: int = 0

    @property
    def should_go_on(self) -> bool:
        """Whether the lap has left so many passes to the fold that it is too early to read them again."""
        return self.looks < min(self.blocked // BLOCKED_PER_LOOK, MAX_LOOKS)

    def take(self, count: int) -> list[PassRef]:
        """Return the next passes, at most `count`; none at the end of the lap."""
        taken, self.passes = self.passes[:count], self.passes[count:]
        return taken
