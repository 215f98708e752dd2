"""Laps: how due and backfill work through many passes without reading all that wait in every round.

The embedded server examines all documents of a query, whatever its limit is. So a round does not ask for the next few
passes. A lap reads up to LOOK_SIZE ids at once, and rounds take batches of them. A lap is only in memory; after a crash,
the next one begins. The ids may be outdated: each round reads the passes themselves, and leaves out those that another
worker has advanced.

A pass with pending events is left to the fold, and stays due until then. During an import, most due passes are such. So a
lap of due that met many of them does not begin again at each look: it reads only what has become due since, or was stored
late. It does not look at a blocked pass again until its due instant changes, but for a few of them at each look.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from app.domain.ids import SLOT_BOUNDS
from app.store.mongo.horizons import Horizon
from app.store.stages.fold import DuePass

LOOK_SIZE = 20_000
"""Passes whose ids a lap holds in memory, about 2 MB."""

BLOCKED_PER_LOOK = 100
"""Blocked passes that one look of due examines again. So many make a lap of backfill go on for one look more."""

MAX_BLOCKED = 200_000
"""Blocked passes that a lap remembers, about 40 MB. Others are examined at each look that reads them."""

MAX_LOOKS = 30
"""Looks, one a second, after which a lap ends although more and more passes wait for the fold, as in an import.

The lap does not see a pass that is stored later than STORED_LATE_MS after its due instant. So the next lap sees it within
about half a minute.
"""

STORED_LATE_MS = 10_000
"""How far the looks of a lap overlap: a pass may be stored so long after its due instant, because writes take time."""


@dataclass
class Lap:
    """The passes that a lap has read and not taken yet, and the number of passes saved so far.

    `subject` is what the passes were read for: a lap for something else begins anew. A lap of due has read all passes that
    were due by `until_ms`; the next read ends at `horizon`. A lap of backfill reads from the first to the last of `slots`,
    goes on at `slot`, and has found `found` passes so far. If `is_cut`, more are to be read. `blocked` are the passes, by
    id, that were left to the fold, in `looks` looks.
    """

    passes: list[DuePass] = field(default_factory=list)
    subject: object = None
    saved: int = 0
    until_ms: int = -1
    horizon: Horizon = field(default_factory=Horizon)
    slots: tuple[int, int] = SLOT_BOUNDS
    slot: int | None = None
    found: int = 0
    is_cut: bool = False
    blocked: dict[str, DuePass] = field(default_factory=dict)
    looks: int = 0

    @property
    def should_go_on(self) -> bool:
        """Whether the lap has left so many passes to the fold that it is too early to read them again."""
        return self.looks < min(len(self.blocked) // BLOCKED_PER_LOOK, MAX_LOOKS)

    def take(self, count: int) -> list[DuePass]:
        """Return the next passes, at most `count`; none at the end of the lap."""
        taken, self.passes = self.passes[:count], self.passes[count:]
        return taken

    def add(self, found: Sequence[DuePass]) -> None:
        """Add passes that a look has found, but not those that are blocked and due at the same instant as before."""
        self.passes += [each for each in found if self.blocked.get(each.pass_id) != each]

    def block(self, taken: Sequence[DuePass], pass_ids: Collection[str]) -> None:
        """Note which of the passes that a round has taken are left to the fold."""
        for each in taken:
            self.blocked.pop(each.pass_id, None)
            if each.pass_id in pass_ids:
                self.blocked[each.pass_id] = each
        while len(self.blocked) > MAX_BLOCKED:
            del self.blocked[next(iter(self.blocked))]

    def examine_again(self) -> None:
        """Add the passes that have been blocked longest. Each look does it, in case one is no longer."""
        self.passes += list(self.blocked.values())[:BLOCKED_PER_LOOK]
