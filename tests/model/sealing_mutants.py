"""The rules of marks, seals and reads of rollups removed, one at a time. A scene must catch each."""

from __future__ import annotations

from app.commands.insights import sealed
from app.store.stages.hours import HourReader
from app.store.stages.rollups import SealQueries
from app.store.workspace import rollup_heads
from app.store.workspace.removals import RemovalQueries
from app.store.workspace.rollups import RollupQueries
from workers.stages import clearing, erase, fold, publish, seal, strays

from .mutants import Mutant

_MARK = "    await worker.rollup_marks.mark_hours(hours)\n"
_STUBS = "    await worker.fold_queries.replace_by_stubs(targets, at_ms)\n"
_CLEAR = """\
    await worker.fold_queries.clear(
        list(workspace_ids), still_pending, decisions=decisions, workspace_ids=workspace_ids
    )
"""
_WHY = """\
    # After the stubs, for a seal in between would count the targets again and drop the mark. Before the clearing, for
    # readers take the events that are not pending from the seals.
"""
_ERASING = 'erasing = await self._oldest(self._passes, "at", {"erasing": {"$gte": 0}})\n'

SEALING_MUTANTS = (
    Mutant(
        name="hours are marked after their events are cleared",
        owner=clearing,
        function="clear_events",
        old=_MARK + _CLEAR,
        new=_CLEAR + _MARK,
    ),
    Mutant(
        name="fold that only clears does not mark",
        owner=clearing,
        function="clear",
        also=(fold,),
        old="    await clear_events(worker, counted, at.now_ms, still_pending, decisions=decisions)\n",
        new="    for event_id in still_pending.keys() & {event_id for _, _, event_id in fold_round.marks}:\n"
        "        still_pending[event_id] = still_pending[event_id]._replace(hour_ms=None)\n"
        "    await clear_events(worker, counted, at.now_ms, still_pending, decisions=decisions)\n",
    ),
    Mutant(
        name="hours of removed events are marked before the events are stubs",
        owner=clearing,
        function="clear_events",
        old=_STUBS + _WHY + _MARK,
        new=_MARK + _STUBS,
    ),
    Mutant(
        name="hours of made events are marked before the events are stored",
        owner=publish,
        function="_publish_entries",
        old="    await worker.publish_queries.insert_made(workspace_id, made)\n",
        new="    await worker.rollup_marks.mark_hours(sorted(_hours_of(workspace_id, made)))\n"
        "    await worker.publish_queries.insert_made(workspace_id, made)\n"
        "    made = []\n",
    ),
    Mutant(
        name="erasure does not note the hours of a batch",
        owner=erase,
        function="_empty_events",
        old="        await queries.name_batch(card, name, hours)\n",
        new="",
    ),
    Mutant(
        name="all batches of an erasure have one name",
        owner=erase,
        function="_empty_events",
        old='name = new_id("batch")',
        new='name = "batch"',
    ),
    Mutant(
        name="hours of batches that other workers emptied are not marked",
        owner=erase,
        function="_empty_events",
        old="unmarked = await queries.batches(card)",
        new="unmarked: dict[str, list[int]] = {}",
    ),
    Mutant(
        name="fold empties the events of a pass that is being erased",
        owner=fold,
        function="classify",
        old="                if event.id == own:\n",
        new="                if event.id != own:\n"
        "                    fold_round.emptied.append((card.workspace_id, pass_id, event.id))\n"
        "                else:\n",
    ),
    Mutant(
        name="events moved to a pass that is gone are emptied without a mark",
        owner=strays,
        function="add_events_of_erased",
        old="if stray.event.move is not None and stray.event.move.was_published]",
        new="if False]",
        also=(fold,),
    ),
    Mutant(
        name="marks are not random",
        owner=rollup_heads,
        function="new_mark",
        old="return 1 + random_bits % (int(2**MARK_BITS) - 1)",
        new="return 1",
    ),
    Mutant(
        name="hour with a pending event is sealed",
        owner=HourReader,
        function="_leave_if",
        old="if is_pending:",
        new="if False:",
    ),
    Mutant(
        name="content is valid although the mark has changed",
        owner=SealQueries,
        function="commit",
        old=", dirty=equal_to(seal.mark)",
        new="",
    ),
    Mutant(
        name="all contents of an hour have one token",
        owner=seal,
        function="store",
        old="token = new_mark()",
        new="token = 1",
    ),
    Mutant(
        name="day is not marked when one of its hours is sealed",
        owner=seal,
        function="seal_hours",
        old="await worker.seal_queries.mark(HeadKey(workspace_id, Level.DAY, task.start_ms))",
        new="pass",
    ),
    Mutant(
        name="month is not marked when one of its days is sealed",
        owner=seal,
        function="join_period",
        old="await queries.mark(HeadKey(key.workspace_id, Level.MONTH, Level.MONTH.start_ms(key.start_ms)))",
        new="pass",
    ),
    Mutant(
        name="day with a marked hour is read from its content",
        owner=sealed,
        function="_look",
        old="await heads.heads(by_month.inside), dirty_hours)",
        new="await heads.heads(by_month.inside), ())",
    ),
    Mutant(
        name="pending events that counted before are added to rollups",
        owner=RollupQueries,
        function="_match_pending",
        old='{"$match": {"moved.told": {"$ne": True}}},',
        new="",
    ),
    Mutant(
        name="reader does not look at the heads a second time",
        owner=sealed,
        function="_is_unchanged",
        old="    for level in (Level.HOUR, Level.DAY):\n",
        new="    return True\n    for level in (Level.HOUR, Level.DAY):\n",
    ),
    Mutant(
        name="second look compares marks only",
        owner=sealed,
        function="_is_unchanged",
        old="heads.get(period, Head()) == head",
        new="heads.get(period, Head()).dirty == head.dirty",
    ),
    Mutant(
        name="marks of passes are read before tombstones",
        owner=RemovalQueries,
        function="pending",
        old="    found = await self._oldest(self._jobs",
        new=f"    {_ERASING}    found = await self._oldest(self._jobs",
        then=((f"    {_ERASING}    return", "    return"),),
    ),
)
"""Rules of marks, seals and reads removed, one at a time."""
