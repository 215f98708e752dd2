"""A reader of rows of counted events beside the stages, and the bounds within which each of its answers must lie.

An answer must have every purchase that was stored before the read began and is an event until it ends. It may also have
those that were stored, or of which the removal was finished, only while it ran. It has none twice. An exact answer has
none of which the removal was requested before.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Set
from random import Random

from app.commands.context import Context
from app.commands.insights.reading import read_rows
from app.domain.errors import Unavailable
from app.domain.events.tombstones import tombstone_id
from app.domain.rollups.rows import QUARTER_HOUR_MS
from app.domain.rollups.selections import Cells, Selection
from app.domain.values.instants import DAY_MS, to_ms
from app.domain.values.zones import UTC

from .memory import MemoryDatabase
from .script import START, Script

PURCHASE = "purchase"
_WIDTH = {Cells.DAY: DAY_MS, Cells.QUARTER_HOUR: QUARTER_HOUR_MS}


class RowReader:
    """A reader that counts the purchases of all time, by days or quarters of an hour, and checks the counts."""

    def __init__(self, db: MemoryDatabase, script: Script, choices: Random) -> None:
        self.reads = 0
        self._db, self._script, self._choices = db, script, choices
        self._instants: dict[str, int] = {}

    async def read(self, ctx: Context) -> None:
        """Read rows once, and check them. Raises AssertionError."""
        start_ms = to_ms(START)
        cells = self._choices.choice(list(_WIDTH))
        selection = Selection(start_ms - 90 * DAY_MS, start_ms + 1_500 * DAY_MS, (PURCHASE,), cells=cells)
        before, gone, asked_for = self._purchases(), self._gone(), self._asked_for()
        try:
            reading = await read_rows(ctx, selection, UTC)
        except Unavailable:
            return
        after = self._purchases()
        counts = Counter[int]()
        for row in reading.rows:
            counts[row.start_ms - row.start_ms % _WIDTH[cells]] += row.totals.count
        must = self._count(before & after, _WIDTH[cells])
        possible = (before | after | self._script.occurred.keys()) - gone
        may = self._count(possible - asked_for if reading.freshness.exact else possible, _WIDTH[cells])
        self.reads += 1
        for cell_ms in counts.keys() | must.keys():
            assert counts[cell_ms] >= must[cell_ms], "an answer lacks an event that was recorded before"
            assert counts[cell_ms] <= may[cell_ms], "an answer has an event twice, or one that is to be removed"

    def _purchases(self) -> Set[str]:
        """Return the ids of the purchases that are stored, and note their instants."""
        found = {key: doc for key, doc in self._db["events"].docs.items() if doc.get("type") == PURCHASE}
        self._instants |= {key: to_ms(doc["occurred_at"]) for key, doc in found.items()}
        return found.keys()

    def _gone(self) -> Set[str]:
        """Return the ids of the events whose removal, or the erasure of whose pass, is finished."""
        events, passes = self._db["events"].docs, self._db["passes"].docs
        finished = {key for key, doc in passes.items() if "gone" in doc}
        return {
            key
            for key, doc in events.items()
            if "removed" in doc
            and "pend" not in events.get(tombstone_id(key), {} if doc["pass"] in finished else {"pend": 0})
        }

    def _asked_for(self) -> Set[str]:
        """Return the ids of the events whose removal, or the erasure of whose pass, was requested after they counted."""
        events, passes = self._db["events"].docs, self._db["passes"].docs
        erased = {key for key, doc in passes.items() if "erasing" in doc or "pend" in events.get(tombstone_id(key), {})}
        return {
            key
            for key, doc in events.items()
            if tombstone_id(key) in events or (doc["pass"] in erased and "pend" not in doc)
        }

    def _count(self, ids: Set[str], width_ms: int) -> Counter[int]:
        instants = [self._instants.get(each, self._script.occurred.get(each, (0,))[0]) for each in ids]
        return Counter(at_ms - at_ms % width_ms for at_ms in instants)
