"""The walk over a pass that applies events, the passing of time and new definitions.

Walk of one pass from the last instant evaluated to now. Each transition is emitted at its own instant.

This pure code is shared by the stages fold (with events), due (time alone) and backfill (new definitions). The walk
visits these instants in order:

- the creation of the pass;
- the effective instant of each event;
- each instant at which time alone changes something;
- each new revision of the definitions.

`instant.py` gives the order of what happens at one of them. (Source: docs/explanation/segments-and-time.md, "The walk".)
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from app.domain.activities import Entry
from app.domain.definitions import Definitions
from app.domain.events.events import TOMBSTONES, Event
from app.domain.events.guards import Decisions
from app.domain.passes.passes import Pass
from app.domain.rules.texts import Texts
from app.domain.values.instants import to_ms

from .asking import Asking
from .deciding import split_guarded
from .instant import apply_version, count_events, decide_events, remove_events
from .lacks import DataMissing, Lacks
from .prefetch import Family, WindowPage
from .saving import build_pass
from .timelines import build_timeline
from .walk import Walk


@dataclass(frozen=True, slots=True)
class Advanced:
    """Result of a walk: the pass, the new entries of its outbox, and the ids of the folded events.

    Events that are not folded stay pending. `decisions` has what was decided about folded ones. `matched` counts by rule
    id what triggers matched, and `skipped` by (rule id, reason) those of them for which the rule did not fire.
    """

    card: Pass
    entries: tuple[Entry, ...]
    folded_ids: tuple[str, ...]
    decisions: Decisions = field(default_factory=dict)
    matched: Mapping[str, int] = field(default_factory=dict)
    skipped: Mapping[tuple[str, str], int] = field(default_factory=dict)


def advance(
    card: Pass,
    definitions: Definitions,
    events: Sequence[Event] = (),
    *,
    limit_ms: int,
    recorded_ms: int,
    has_more: bool = False,
    history: Sequence[Event] | None = None,
    pages: Mapping[str, WindowPage] | None = None,
    moved_ids: Collection[str] = (),
    families: Mapping[str, Family] | None = None,
    texts: Texts | None = None,
    before_ms: int | None = None,
) -> Advanced | Lacks:
    """Walk the pass to `limit_ms`, or to the last of `events` if that one lies later, and return the result.

    Return a Lacks, and nothing to be saved, if the walk needs data that was not read.

    - `events`: pending events that are not counted yet.
    - `recorded_ms`: instant at which the worker runs, for the new entries.
    - `has_more`: more events are pending than these. The walk then stops at the last event that is on time; if none is,
      at the last event.
    - `history`, `pages`: all events that count already, or None if they were not read, and pages of windows, as
      `find_prefetch` asked for them.
    - `moved_ids`: those targets of tombstones in `events` that do not count in this pass yet, but that a merged pass
      published. Targets in `events` may be left out.
    - `families`: families that were read, by root.
    - `texts`: renderer of the texts in effects of rules.
    - `before_ms`: the walk ends before this instant, at which it lacked data.
    """
    moved = {*moved_ids, *(event.id for event in events if event.move and event.move.was_published)}
    walk = Walk(
        card, definitions, history, recorded_ms=recorded_ms, pages=pages or {}, moved_ids=moved, families=families,
        texts=texts,
    )  # fmt: skip
    return _Course(walk, list(events), limit_ms, has_more=has_more, before_ms=before_ms).run()


class _Course:
    """Instants that a walk visits, from the last instant evaluated to its limit."""

    def __init__(
        self, walk: Walk, events: list[Event], limit_ms: int, *, has_more: bool, before_ms: int | None
    ) -> None:
        self.walk, self.asking = walk, Asking(walk)
        self.before_ms = before_ms
        start_ms, created_ms = walk.at_ms, to_ms(walk.card.created_at)
        self.creation_ms = created_ms if start_ms < created_ms else None
        # Events that occurred before the creation of the pass count from its creation on.
        timeline = build_timeline(events, start_ms, created_ms if self.creation_ms is not None else start_ms)
        on_time = [at_ms for at_ms, _, event in timeline if start_ms < at_ms == event.occurred_ms]
        if has_more:
            limit_ms = max(on_time or [item[0] for item in timeline])
            timeline = [item for item in timeline if item[0] <= limit_ms]
        elif timeline:
            limit_ms = max(limit_ms, timeline[-1][0])
        if self.creation_ms is not None:
            limit_ms = max(limit_ms, created_ms)
            walk.revision = max(walk.revision, walk.definitions.revision_at(created_ms))
            walk.active = walk.definitions.active_for(walk.revision, walk.derived.profile)
        self.timeline, self.limit_ms = timeline, limit_ms
        self.revisions = walk.definitions.after(walk.revision)
        self.index = 0
        # The next instant at which time alone changes something, as long as nothing has happened since it was found.
        self.found_due: tuple[int | None] | None = None
        self.has_looked_ahead = False

    def run(self) -> Advanced | Lacks:
        """Visit the instants in order."""
        walk, is_first = self.walk, True
        while not walk.must_stop:
            at_ms, due_ms = self.find_next()
            if at_ms > self.limit_ms or (self.before_ms is not None and at_ms >= self.before_ms):
                break
            at_ms = max(at_ms, walk.at_ms)
            try:
                self.visit(at_ms, due_ms)
            except DataMissing as missing:
                return Lacks(at_ms, missing.history, missing.families, is_first=is_first)
            is_first = False
        folded_ids = tuple(event.id for _, _, event in self.timeline[: self.index])
        return Advanced(
            build_pass(walk, folded_ids, self.find_due()), tuple(walk.new_entries.entries), folded_ids,
            decisions=walk.decisions, matched=self.asking.matched, skipped=self.asking.skipped,
        )  # fmt: skip

    def find_next(self) -> tuple[int, int | None]:
        """Return the next instant, and the next one at which time alone may change something."""
        if self.creation_ms is not None:
            return self.creation_ms, None
        at_ms = self.timeline[self.index][0] if self.index < len(self.timeline) else self.limit_ms + 1
        if self.revisions:
            at_ms = min(at_ms, max(self.revisions[0].at_ms, self.walk.at_ms))
        if at_ms > self.limit_ms and self.index and not self.has_looked_ahead:
            # Usually time alone changes nothing until the limit, and the pass stores the exact instant. So it is found here,
            # but only once in a walk: at each of many instants, it would take too long.
            self.has_looked_ahead = True
            self.found_due = (self.walk.find_next_due(),)
            ends = (self.found_due[0], self.walk.next_list_end_ms())
            due_ms = min((each for each in ends if each is not None), default=None)
        else:
            due_ms = self.walk.find_next_due(at_ms)
        return at_ms if due_ms is None else min(at_ms, due_ms), due_ms

    def find_due(self) -> int | None:
        """Return the instant at which the pass must be walked again; None for never."""
        if self.walk.is_over:
            return None
        if self.walk.has_exhausted_window():
            return self.walk.at_ms
        return self.walk.find_next_due() if self.found_due is None else self.found_due[0]

    def visit(self, at_ms: int, due_ms: int | None) -> None:
        """Apply what happens at one instant."""
        walk, revisions = self.walk, self.revisions
        self.found_due = None
        counting: list[Event] = []
        tombstones: list[Event] = []
        while self.index < len(self.timeline) and self.timeline[self.index][0] <= at_ms:
            event = self.timeline[self.index][2]
            (tombstones if event.type in TOMBSTONES else counting).append(event)
            self.index += 1
        has_revision = any(max(each.at_ms, walk.at_ms) <= at_ms for each in revisions[:1])
        if counting or at_ms in (self.creation_ms, due_ms) or not (has_revision or tombstones):
            unguarded, guarded = split_guarded(counting)
            count_events(walk, self.asking, at_ms, unguarded, is_creation=at_ms == self.creation_ms)
            decide_events(walk, self.asking, at_ms, guarded)
            self.creation_ms = None
        if tombstones:
            remove_events(walk, self.asking, at_ms, tombstones)
        while not walk.is_over and revisions and revisions[0].at_ms <= at_ms:
            if walk.comparisons_left <= 0:
                break
            apply_version(walk, self.asking, at_ms, revisions.pop(0))
