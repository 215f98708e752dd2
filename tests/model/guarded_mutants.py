"""The protocol of guarded events with one of its rules removed. Random runs with guarded events must catch each mutant."""

from __future__ import annotations

from app.commands.events import record
from app.domain.fold import deciding, instant
from app.domain.fold.derived import Derived
from app.store.codecs import counting, pass_writes
from app.store.stages import saves
from app.store.stages.fold import FoldQueries
from workers.stages import fold

from .mutants import Mutant

GUARDED = ("guarded",)
MERGING = ("guarded", "merging")

GUARDED_MUTANTS = (
    Mutant(
        name="due and backfill drop the decisions",
        owner=pass_writes,
        function="update_pass_operation",
        old="    if after.decisions is not before.decisions:\n",
        new="    if after.last_folded_ids is before.last_folded_ids:\n"
        "        unset['decided'] = ''\n"
        "    if after.decisions is not before.decisions:\n",
        also=(saves,),
        runs=GUARDED,
    ),
    Mutant(
        name="rebuild does not see the decisions",
        owner=counting,
        function="with_decision",
        old="    if decision is None:\n        return replace(event, outcome=COUNTED)\n",
        new="    return replace(event, outcome=COUNTED)\n",
        runs=GUARDED,
    ),
    Mutant(
        name="repeat after a crash does not see the decisions",
        owner=fold,
        function="classify",
        old="            fold_round.decisions.update(card.decisions)\n",
        new="",
        runs=GUARDED,
    ),
    Mutant(
        name="outcome is written after the clearing",
        owner=FoldQueries,
        function="clear",
        old='decided.append(UpdateOne(named, {"$set": outcome, "$unset": {"pend": ""}}))',
        new='decided += [UpdateOne(named, {"$unset": {"pend": ""}}),'
        ' UpdateOne(self._by_id(event_id, workspace_ids.get(event_id, "")), {"$set": outcome})]',
        runs=GUARDED,
    ),
    Mutant(
        name="guarded event is decided when the caller says it happened",
        owner=record,
        function="build_event",
        old="now if guard is not None else draft.occurred_at or now",
        new="draft.occurred_at or now",
        runs=GUARDED,
    ),
    Mutant(
        name="rebuild decides again",
        owner=Derived,
        function="_rebuild",
        old="    self._history, self._applied, self._doubted = counted, [], {}\n",
        new="    balance, kept = 0, []\n"
        "    for each in sorted(counted, key=lambda event: event.order):\n"
        "        if each.guard is None or balance + each.points >= 0:\n"
        "            balance += each.points\n"
        "            kept.append(each)\n"
        "    counted = kept\n"
        "    self._history, self._applied, self._doubted = counted, [], {}\n",
        runs=GUARDED,
    ),
    Mutant(
        name="survivor of a merge decides again",
        owner=deciding,
        function="must_be_decided",
        old="    return not is_decided and not event.is_made and event.outcome.status is OutcomeStatus.UNDECIDED\n",
        new="    return not event.is_made\n",
        runs=MERGING,
    ),
    Mutant(
        name="declined event counts for the survivor of a merge",
        owner=instant,
        function="_count",
        old="None if event.outcome.is_declined else decide(walk, event, at_ms)",
        new="decide(walk, event, at_ms)",
        runs=MERGING,
    ),
    Mutant(
        name="guarded events do not wait for others of their instant",
        owner=fold,
        function="find_ready",
        old="without_waiting(events, still_pending, has_unread=card.id in backlog.cut)",
        new="[each for each in events]",
        runs=GUARDED,
    ),
    Mutant(
        name="correction ignores what others took back",
        owner=deciding,
        function="_left_of",
        old="net_amount(original, members)",
        new="original.amount",
        runs=GUARDED,
    ),
)
