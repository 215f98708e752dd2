"""Laps: how due and backfill work through many passes without reading all that wait in every round.

The embedded server examines all documents of a query, whatever its limit is. So a round does not ask for the next few
passes. A lap reads up to LOOK_SIZE ids at once, and rounds take batches of them. A lap is only in memory; after a crash,
the next one begins. The ids may be outdated: each round reads the passes themselves, and leaves out those that another
worker has advanced.
"""

from __future__ import annotations

from dataclasses import dataclass

LOOK_SIZE = 20_000
"""Passes whose ids a lap holds in memory, about 2 MB."""

PassRef = tuple[str, str]
"""A pass: its id and the id of its workspace."""


@dataclass
class Lap:
    """The ids of passes that a lap has read and not taken yet, and the number of passes saved so far.

    `subject` is what the passes were read for: a lap for something else begins anew.
    """

    passes: list[PassRef]
    subject: object = None
    saved: int = 0

    def take(self, count: int) -> list[PassRef]:
        """Return the next passes, at most `count`; none at the end of the lap."""
        taken, self.passes = self.passes[:count], self.passes[count:]
        return taken
