"""The protocol with one of its rules taken out: each must be caught, or the model proves nothing.

A mutant is a function of the product with a piece of its text replaced; text that is no longer there is an error.
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

from app.domain.fold import advance as transitions
from app.domain.state import points
from app.store.codecs import pass_writes
from app.store.stages import fold as pumps
from app.store.stages import publish as outboxes
from app.store.workspace.activities import ActivityQueries
from workers.stages import advance as settle
from workers.stages import due, erase, fold, publish


@dataclass(frozen=True)
class Mutant:
    """Where `new` stands instead of `old`, and everywhere that the function is known by its name.

    A `rare` one does harm only under interleavings that chance does not bring about in a few runs.
    """

    name: str
    owner: ModuleType | type
    function: str
    old: str
    new: str
    also: tuple[ModuleType, ...] = ()
    rare: bool = False

    @contextlib.contextmanager
    def alive(self) -> Iterator[None]:
        """The product is this mutant until the block ends."""
        changed = self.changed()
        with contextlib.ExitStack() as stack:
            for owner in (self.owner, *self.also):
                stack.enter_context(patch.object(owner, self.function, changed))
            yield

    def changed(self) -> Any:
        """The function with its text replaced, in the module that it belongs to."""
        original = inspect.unwrap(getattr(self.owner, self.function))
        text = textwrap.dedent(inspect.getsource(original))
        assert text.count(self.old) == 1, f"{self.function} has no longer just one {self.old!r}"
        made: dict[str, Any] = {}
        exec(compile(text.replace(self.old, self.new), f"<{self.name}>", "exec"), original.__globals__, made)
        return made[self.function]


MUTANTS = (
    Mutant(
        "points outlive their end until something happens",
        points.PointsAccount,
        "next_expiry_ms",
        "if self.lots else None",
        "if not self.lots else None",
    ),
    Mutant("no look at the last fold's events", fold, "fold_once", "if unmarked:", "if unmarked and not unmarked:"),
    Mutant(
        "no look at what is still pending",
        fold,
        "fold_once",
        "still = await worker.fold_queries.still_pending(list(dict.fromkeys(asked)))",
        "still = {item.event.id: PendingAt(item.event.pass_id, 0) for item in pending}",
        rare=True,
    ),
    Mutant(
        "no compare before set",
        pass_writes,
        "update_pass_operation",
        '{"_id": before.id, "v": before.version, "fid": before.write_id}',
        '{"_id": before.id}',
        (pumps,),
    ),
    Mutant(
        "marked before it is written",
        fold,
        "fold_once",
        "    done = await advance_passes(",
        "    await worker.fold_queries.clear([event.id for work in works for event in work.events])\n    done = await advance_passes(",
    ),
    Mutant(
        "taken out of the outbox before it is in the log",
        publish,
        "publish_once",
        "    while drafts:\n",
        "    await worker.publish_queries.published({key: entries[-1].number for key, entries in waiting.items()})\n    while drafts:\n",
    ),
    Mutant(
        "judged only at now",
        transitions._Walk,
        "run",
        "at = max(at, self.at_ms)\n",
        "at = max(limit_ms, self.at_ms)\n",
    ),
    Mutant(
        "walks past events left pending",
        fold,
        "fold_once",
        "cut = len(fresh) > MAX_EVENTS_PER_PASS or",
        "cut = len(fresh) < 0 and",
        rare=True,
    ),
    Mutant(
        "due is blind to pending events",
        due,
        "advance_without_events",
        "busy = await worker.fold_queries.with_pending(pass_ids)",
        "busy: set[str] = set()",
    ),
    Mutant(
        "due forgets the last fold's events",
        settle,
        "advance_passes",
        "after = advanced.card if not advanced.folded_ids else replace(",
        "after = replace(",
        (due, fold),
        rare=True,
    ),
    Mutant(
        "now is read last",
        settle,
        "advance_passes",
        "limit_ms=at.elapsed_ms",
        "limit_ms=to_ms(await worker.resources.clock.elapsed())",
        (due, fold),
    ),
    Mutant("the log is appended to in any order", ActivityQueries, "append", "ordered=True", "ordered=False"),
    Mutant(
        "a line that is taken is dropped unseen",
        publish,
        "publish_once",
        "drafts = [draft for draft in drafts if draft.id not in there]",
        "drafts = drafts[1:]",
        rare=True,
    ),
    Mutant(
        "published in order of the clock alone",
        outboxes,
        "entries_in_order",
        "recorded_ms = max(recorded_ms, entry.recorded_ms)",
        "recorded_ms = entry.recorded_ms",
        (publish,),
        rare=True,
    ),
    Mutant(
        "a fold trusts its own mark whoever wrote since",
        fold,
        "fold_once",
        "worker.cleared_writes.get(pass_id) != cards[pass_id].write_id",
        "pass_id not in worker.cleared_writes",
        rare=True,
    ),
    Mutant(
        "a tombstone is marked before its target is emptied",
        fold,
        "clear_events",
        "    await worker.fold_queries.replace_by_stubs(targets, at_ms)\n",
        "    await worker.fold_queries.clear([item[2] for item in counted])\n    await worker.fold_queries.replace_by_stubs(targets, at_ms)\n",
        rare=True,
    ),
    Mutant(
        "what the last fold removed still counts",
        pumps,
        "_counting",
        ' or doc["_id"] in removed',
        "",
        rare=True,
    ),
    Mutant(
        "an erased pass is let go before its lines are in the log",
        erase,
        "erase_once",
        "    if card.outbox:\n",
        "    if card.outbox and not card.outbox:\n",
        rare=True,
    ),
    Mutant(
        "removed events keep their share",
        transitions._Walk,
        "_remove",
        "{t.removes for t in tombstones if t.removes}",
        "set()",
    ),
)
