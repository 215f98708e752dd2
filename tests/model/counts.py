"""Stored numbers of active passes compared with the passes, and their protocol with one rule removed."""

from __future__ import annotations

from random import Random

from app.commands.context import Context
from app.domain.errors import Unavailable
from app.domain.rollups.periods import is_month, year_of
from app.store.codecs import recounts
from app.store.stages import fold
from app.store.stages.active_counts import ActiveCountQueries
from app.store.workspace.active_counts import ActiveCountReads
from workers.stages import count_active, erase, seal_passes

from .memory import Doc, MemoryDatabase
from .mutants import Mutant

_MARK = "        await worker.active_count_queries.mark(workspace_id, periods, system_ms())\n"
_TAKE = "        await worker.active_count_queries.take_recounts(workspace_id, recounts)\n"
_READ = "    docs = await self._by_ids([count_id(self._workspace_id, period)])\n"
_FIND = '    found = await self._passes.find(flagged, {"recount": 1}).limit(MAX_RECOUNTS).to_list(None)\n'
_COMMIT = "    named = await queries.commit(sealings)\n"

COUNT_MUTANTS = (
    Mutant(
        name="numbers are marked before the passes are written",
        owner=seal_passes,
        function="_seal",
        old=_COMMIT,
        new="    changed = [recount for each in sealings if (recount := each.recount)]\n"
        "    periods = {period for each in changed for period in each.periods}\n"
        "    await worker.active_count_queries.mark(workspace_id, periods, 0)\n"
        + _COMMIT
        + "    await worker.active_count_queries.take_recounts(workspace_id, changed)\n",
        then=(("if (recount := each.recount)])\n", "if (recount := each.recount) and not changed])\n"),),
        runs=("months",),
    ),
    Mutant(
        name="passes lose their periods before the numbers are marked",
        owner=count_active,
        function="mark_changed",
        old=_MARK + _TAKE,
        new=_TAKE + _MARK,
        also=(seal_passes, erase),
        runs=("months",),
    ),
    Mutant(
        name="periods that a later write stored are taken away, too",
        owner=ActiveCountQueries,
        function="take_recounts",
        old='workspace_id, **{"recount.mark": equal_to(each.mark)}',
        new="workspace_id",
        runs=("months",),
    ),
    Mutant(
        name="number is stored although its mark has changed",
        owner=ActiveCountQueries,
        function="store",
        old=", dirty=equal_to(counted.mark)",
        new="",
        runs=("months",),
    ),
    Mutant(
        name="reader does not look at the passes",
        owner=ActiveCountReads,
        function="read_stored",
        old="any({period, ALL_PERIODS} & periods_to_recount(doc) for doc in found)",
        new="False",
        runs=("months",),
    ),
    Mutant(
        name="reader looks at the passes after the number",
        owner=ActiveCountReads,
        function="read_stored",
        old=_FIND,
        new=_READ + _FIND,
        then=(("        return None\n" + _READ, "        return None\n"),),
        runs=("months",),
    ),
    Mutant(
        name="pass that ends names no period",
        owner=recounts,
        function="recount_of_ended",
        old="    if doc is None",
        new="    return {}\n    if doc is None",
        also=(fold,),
        runs=("months", "merging"),
    ),
    Mutant(
        name="erased pass is forgotten with its periods",
        owner=erase,
        function="erase_once",
        old="await worker.active_count_queries.recounts_of(pass_ids, card.workspace_id)",
        new="[]",
        runs=("months", "merging"),
    ),
)
"""Rules of stored numbers removed, one at a time."""


class CountReader:
    """A reader of stored numbers beside the stages. Each number must hold every change that was stored before."""

    def __init__(self, db: MemoryDatabase, choices: Random) -> None:
        self._db, self._choices = db, choices

    async def read(self, ctx: Context) -> None:
        """Read the numbers of one month or year, and check them. Raises AssertionError."""
        stored = [doc["period"] for doc in self._db["active_counts"].docs.values()]
        period = self._choices.choice(sorted(stored)) if stored else 1970
        before = self._passes(period)
        try:
            found = await ctx.workspace.active_counts.read(period)
        except Unavailable:
            return
        if found is None:
            return
        after = self._passes(period)
        for number, first, last in zip(found, before, after, strict=True):
            assert len(first & last) <= number <= len(first | last), "a stored number lacks a change"

    def _passes(self, period: int) -> tuple[set[str], set[str]]:
        """Return the ids of the passes that are active in a period, and of those that are new in it."""
        return active_passes(list(self._db["passes"].docs.values()), period)


def active_passes(docs: list[Doc], period: int) -> tuple[set[str], set[str]]:
    """Return the ids of the passes that are active in a month or year, and of those whose first month lies in it."""
    active = {doc["_id"] for doc in docs if period in doc.get("active", ())}
    firsts = {doc["_id"]: doc["first_active"] for doc in docs if "first_active" in doc}
    return active, {each for each, first in firsts.items() if period in (first, year_of(first))}


def check_counts(db: MemoryDatabase) -> None:
    """Check that each period in which a pass is active has a number, and that each number is right.

    Raises AssertionError.
    """
    docs = list(db["passes"].docs.values())
    counts = {doc["period"]: doc for doc in db["active_counts"].docs.values()}
    missing = {period for doc in docs for period in doc.get("active", ())} - counts.keys()
    assert not missing, "active passes of a period are not counted"
    for period, doc in counts.items():
        active, new = active_passes(docs, period)
        kind = "month" if is_month(period) else "year"
        assert (doc["active"], doc["new"]) == (len(active), len(new)), f"the number of a {kind} is out of date"
