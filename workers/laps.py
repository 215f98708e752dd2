"""Laps: how due and backfill work through many passes without reading all that wait in every round.

The embedded server examines all documents of a query, whatever its limit is. So a round does not ask for the next few
passes. A lap begins with one read of up to LOOK_SIZE passes. If there may be others, the lap goes on slot by slot: a slot
has a 64th of all passes. Rounds take batches of the ids that were read. A lap is only in memory; after a crash, the next
one begins. The ids may be outdated: each round reads the passes themselves, and leaves out those that another worker has
advanced.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

LOOK_SIZE = 1_000
"""Passes up to which one read is a whole lap."""
MAX_SLOT_SIZE = 20_000
"""Passes of one slot that a lap takes: their ids are in memory. A later lap takes the others."""

PassRef = tuple[str, str]
"""A pass: its id and the id of its workspace."""


@dataclass
class Lap:
    """The ids of passes that a lap has read, the slots that it still has to read, and the passes saved so far.

    `subject` is what the passes were read for: a lap for something else begins anew.
    """

    passes: list[PassRef]
    slots: list[int]
    subject: object = None
    found: int = 0
    saved: int = 0

    @property
    def is_over(self) -> bool:
        """Whether no pass is left, and no slot to read."""
        return not self.passes and not self.slots

    async def take(self, count: int, read_slot: Callable[[int], Awaitable[list[PassRef]]]) -> list[PassRef]:
        """Return the next passes, at most `count`. Fewer are returned at the end of a slot, none at the end of the lap."""
        while not self.passes and self.slots:
            self.passes = await read_slot(self.slots.pop(0))
        taken, self.passes = self.passes[:count], self.passes[count:]
        self.found += len(taken)
        return taken
