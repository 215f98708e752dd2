"""The rules of marks removed, one at a time. A scene must catch each."""

from __future__ import annotations

from app.store.workspace import rollup_heads
from workers.stages import clearing, erase, fold, publish

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
        new="    for _, _, event_id in fold_round.marks:\n"
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
        name="marks are not random",
        owner=rollup_heads,
        function="new_mark",
        old="return 1 + random_bits % (int(2**MARK_BITS) - 1)",
        new="return 1",
    ),
)
"""Rules of marks removed, one at a time."""
