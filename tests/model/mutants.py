"""The protocol with one of its rules removed. The model must catch each mutant, or the model proves nothing.

A mutant is a function of the product with a piece of its text replaced. The test fails if the function does not contain
the piece exactly once.
"""

from __future__ import annotations

import contextlib
import inspect
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any
from unittest.mock import patch

from app.domain import activities
from app.domain.events.events import Event
from app.domain.fold import advance as fold_advance
from app.domain.fold import entries, instant, saving
from app.domain.fold.advance import _Course
from app.domain.state import points
from app.store.codecs import counting, pass_writes
from app.store.mongo.queries import ErrorTranslating
from app.store.stages import histories, saves
from app.store.stages import merge as merge_queries
from app.store.stages import publish as publish_queries
from app.store.workspace.activities import ActivityQueries
from workers.stages import advance, clearing, due, erase, fold, publish, reads


@dataclass(frozen=True)
class Mutant:
    """A function of `owner` in which `new` replaces `old`. The modules `also` import the function and get it too.

    A rare mutant does harm only under interleavings that a few random runs do not bring about. `then` are further
    replacements. `runs` are the options of the random runs that notice the mutant, and `seed` is that of a run which
    noticed it: the tests begin with this seed.
    """

    name: str
    owner: ModuleType | type
    function: str
    old: str
    new: str
    also: tuple[ModuleType, ...] = ()
    rare: bool = False
    then: tuple[tuple[str, str], ...] = ()
    runs: tuple[str, ...] = ()
    seed: int = 0

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """Replace the function in the product until the block ends."""
        changed = self.compile_changed()
        with contextlib.ExitStack() as stack:
            for owner in (self.owner, *self.also):
                stack.enter_context(patch.object(owner, self.function, changed))
            yield

    def compile_changed(self) -> Any:
        """Return the function with its text replaced, compiled in the namespace of its module."""
        found = getattr(self.owner, self.function)
        original: Any = inspect.unwrap(found.fget if isinstance(found, property) else found)  # type: ignore[arg-type]
        text = textwrap.dedent(inspect.getsource(original))
        for old, new in ((self.old, self.new), *self.then):
            assert text.count(old) == 1, f"{self.function} must contain exactly one {old!r}"
            text = text.replace(old, new)
        namespace: dict[str, Any] = {}
        exec(compile(text, f"<{self.name}>", "exec"), original.__globals__, namespace)
        if isinstance(self.owner, type) and issubclass(self.owner, ErrorTranslating):
            # The class translates the errors of its methods when it is defined. Do the same for the new method.
            return vars(type(self.owner.__name__, (ErrorTranslating,), dict(namespace)))[self.function]
        return namespace[self.function]


_AFTER_CHECK = """\
    worker.require_same_primary(at.election)
    backlog = await add_originals(worker, backlog, chosen, still_pending)
    fold_round = classify(backlog, chosen, still_pending, definitions)
    still_pending |= await add_events_of_erased(worker, fold_round, backlog, passes=passes)
    slices = TimeSlices()
    saved = await advance_passes(worker, at, fold_round.works, definitions, slices)
    await clear(worker, fold_round, saved, at, still_pending)
"""
"""The rest of a round after the pending check, in the text of `fold_once`."""

MUTANTS = (
    Mutant(
        name="points do not expire until an event comes",
        owner=points.PointsAccount,
        function="next_change_ms",
        old="if self.lots else None",
        new="if not self.lots else None",
    ),
    Mutant(
        name="fold ignores last_folded_ids",
        owner=fold,
        function="classify",
        old="elif uncleared := pending_for_pass(card, card.last_folded_ids, still_pending):",
        new="elif uncleared := []:",
    ),
    Mutant(
        name="fold does not check what is still pending",
        owner=fold,
        function="check_still_pending",
        old="return await worker.fold_queries.still_pending(list(workspace_ids), workspace_ids=workspace_ids)",
        new="return {e.id: PendingAt(pass_id, 0) for pass_id in passes for e in backlog.events_of(pass_id)}",
        rare=True,
    ),
    Mutant(
        name="pass is written without comparing its version",
        seed=3,
        owner=pass_writes,
        function="update_pass_operation",
        old='{"_id": before.id, "v": equal_to(before.version), "fid": equal_to(before.write_id)}',
        new='{"_id": before.id}',
        also=(saves,),
    ),
    Mutant(
        name="events are cleared before their pass is written",
        owner=fold,
        function="fold_once",
        old="    saved = await advance_passes(",
        new="    await worker.fold_queries.clear([e.id for work in fold_round.works for e in work.events])\n"
        "    saved = await advance_passes(",
    ),
    Mutant(
        name="entries leave the outbox before they are in the log",
        owner=publish,
        function="_publish_entries",
        old="    while drafts:\n",
        new="    await worker.publish_queries.published({key: entry.number for key, entry in entries})\n"
        "    while drafts:\n",
    ),
    Mutant(
        name="segments are evaluated only at now",
        owner=_Course,
        function="run",
        old="at_ms = max(at_ms, walk.at_ms)\n",
        new="at_ms = max(self.limit_ms, walk.at_ms)\n",
    ),
    Mutant(
        name="walk passes over events left pending",
        owner=fold,
        function="classify",
        old="has_more = len(foldable) > min(limit, len(ready)) or pass_id in backlog.cut",
        new="has_more = False",
        rare=True,
    ),
    Mutant(
        name="due ignores pending events",
        owner=due,
        function="advance_without_events",
        old="with_pending = await worker.fold_queries.with_pending(workspace_ids)",
        new="with_pending: set[str] = set()",
    ),
    Mutant(
        name="due drops last_folded_ids",
        owner=saving,
        function="build_pass",
        old="if folded_ids else (card.last_folded_ids, card.decisions)",
        new="if True else (card.last_folded_ids, card.decisions)",
        also=(fold_advance,),
        rare=True,
    ),
    Mutant(
        name="clock is read last",
        seed=8,
        owner=advance._Walks,
        function="_walk",
        old="limit_ms=self._at.elapsed_ms",
        new="limit_ms=to_ms(await self._worker.resources.clock.elapsed())",
    ),
    Mutant(
        name="log is appended to in any order",
        owner=ActivityQueries,
        function="append",
        old="ordered=True",
        new="ordered=False",
    ),
    Mutant(
        name="activity at an occupied position is dropped unchecked",
        owner=publish,
        function="_publish_entries",
        old="drafts = [draft for draft in drafts if (draft.pass_id, draft.pass_sequence) not in existing]",
        new="drafts = drafts[1:]",
        rare=True,
    ),
    Mutant(
        name="entries are published in order of the clock alone",
        owner=publish_queries,
        function="entries_in_order",
        old="recorded_ms = max(recorded_ms, entry.recorded_ms)",
        new="recorded_ms = entry.recorded_ms",
        also=(publish,),
        rare=True,
    ),
    Mutant(
        name="fold skips the pending check after its own writes",
        owner=fold,
        function="fold_once",
        old="    still_pending = await check_still_pending(worker, backlog, chosen)\n" + _AFTER_CHECK,
        new="    cleared = worker.__dict__.setdefault('cleared', {})\n"
        "    unsure = {key: card for key, card in chosen.items() if cleared.get(key) != card.write_id}\n"
        "    still_pending = await check_still_pending(worker, backlog, unsure)\n"
        "    skipped = [event for key in chosen.keys() - unsure.keys() for event in backlog.events_of(key)]\n"
        "    still_pending |= {event.id: PendingAt(event.pass_id, 0) for event in skipped}\n"
        + _AFTER_CHECK
        + "    cleared |= {key: each.write_id for key, each in saved.items()}\n",
        rare=True,
    ),
    Mutant(
        name="fold reads the pending events from another primary than the pass",
        owner=fold,
        function="fold_once",
        old="    worker.require_same_primary(at.election)\n",
        new="    at = await read_clock(worker)\n",
        rare=True,
    ),
    Mutant(
        name="rebuild reads the history from another primary than the pass",
        owner=advance,
        function="_save",
        old="worker.require_same_primary(at.election)",
        new="pass",
        rare=True,
    ),
    Mutant(
        name="merge reads the events from another primary than the pass",
        owner=merge_queries.MergeQueries,
        function="move",
        old="before_write()",
        new="pass",
        rare=True,
    ),
    Mutant(
        name="tombstone is cleared before its target is a stub",
        owner=clearing,
        function="clear_events",
        old="    await worker.fold_queries.replace_by_stubs(targets, at_ms)\n",
        new="    await worker.fold_queries.clear([item[2] for item in counted])\n"
        "    await worker.fold_queries.replace_by_stubs(targets, at_ms)\n",
        rare=True,
    ),
    Mutant(
        name="events removed by the last fold still count",
        owner=counting,
        function="counting_in",
        old=' or doc["_id"] in removed',
        new="",
        also=(histories,),
        rare=True,
    ),
    Mutant(
        name="erased pass is dropped before its outbox is in the log",
        owner=erase,
        function="erase_once",
        old="    if card.outbox:\n",
        new="    if card.outbox and not card.outbox:\n",
        rare=True,
    ),
    Mutant(
        name="correction counts in the order of its date",
        seed=2,
        owner=Event,
        function="order",
        old="if self.corrected_order is None or occurred_ms > self.corrected_order[0]:",
        new="if True:",
    ),
    Mutant(
        name="event that adds points is published as added points only",
        owner=activities,
        function="types_of",
        old="return (own_type, POINTS_ADDED) if event.points > 0 else (own_type,)",
        new="return (POINTS_ADDED,) if event.points > 0 else (own_type,)",
        also=(entries,),
    ),
    Mutant(
        name="removal of an event that a merge moves is not published",
        owner=reads,
        function="_find_moved",
        old="return await worker.merge_queries.published_elsewhere(targets, workspace_ids=workspace_ids)",
        new="return ()",
        rare=True,
    ),
    Mutant(
        name="removed events still count in measures",
        owner=instant,
        function="remove_events",
        also=(fold_advance,),
        old="set(targets)",
        new="set()",
    ),
)
