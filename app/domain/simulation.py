"""Replays of the past by walks of a copy of one pass, which write nothing.

They tell what a rule would have done, and when a pass would have been in a segment.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from decimal import Decimal

from app.domain.definitions import Definitions, DefinitionVersion, references_of
from app.domain.events.events import (
    INTERNAL_TYPES,
    LIST_EVENTS,
    PASS_UPDATED,
    POINT_ADD,
    POINT_SUB,
    RULE_FIRED,
    RULE_INCLUDED,
    RULE_RETRIED,
    Event,
)
from app.domain.events.guards import COUNTED
from app.domain.events.ordering import sort_events
from app.domain.fold.advance import Advanced
from app.domain.fold.copies import Found, Reading, finish, walk_copy
from app.domain.fold.prefetch import Family, build_page
from app.domain.passes.passes import Pass
from app.domain.rules.rules import RuleStatus, RuleVersion
from app.domain.rules.texts import PlainTexts, Texts
from app.domain.segments.segments import Version
from app.domain.values.decimals import ZERO, add, plain
from app.domain.values.instants import EARLIEST, from_ms, to_ms

MAX_SIMULATED_EVENTS = 20_000
"""Events of one pass above which a simulation leaves the pass out."""
EVENTS_PER_WALK = 500
_RECORDED_CHANGES = LIST_EVENTS | {PASS_UPDATED}
FIRINGS = frozenset({RULE_FIRED, RULE_RETRIED, RULE_INCLUDED})
"""Types that say what rules did, and no effects of rules."""
MILLISECOND = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class Simulated:
    """What a rule would have done, as sums over passes. `skipped` counts by reason."""

    passes: int = 0
    left_out: int = 0
    matched: int = 0
    skipped: Mapping[str, int] = field(default_factory=dict)
    fired: int = 0
    control: int = 0
    succeeded: int = 0
    failed: int = 0
    points: Decimal = ZERO

    def plus(self, other: Simulated) -> Simulated:
        """Return the sum of both."""
        reasons = {**dict.fromkeys(self.skipped, 0), **dict.fromkeys(other.skipped, 0)}
        return Simulated(
            passes=self.passes + other.passes,
            left_out=self.left_out + other.left_out,
            matched=self.matched + other.matched,
            skipped={each: self.skipped.get(each, 0) + other.skipped.get(each, 0) for each in reasons},
            fired=self.fired + other.fired,
            control=self.control + other.control,
            succeeded=self.succeeded + other.succeeded,
            failed=self.failed + other.failed,
            points=add(self.points, other.points),
        )

    def to_dict(self) -> dict[str, object]:
        """Return the figures as the result of a job has them."""
        return {
            "passes": self.passes,
            "passesLeftOut": self.left_out,
            "matched": self.matched,
            "skipped": [{"reason": reason, "count": count} for reason, count in sorted(self.skipped.items())],
            "fired": self.fired,
            "control": self.control,
            "effectsSucceeded": self.succeeded,
            "effectsFailed": self.failed,
            "pointsAwarded": plain(self.points),
        }


def definitions_with(latest: Iterable[DefinitionVersion], rule: RuleVersion) -> Definitions:
    """Return today's definitions, and the rule, as if all of them had always been in force.

    The rule replaces its latest version, if it has one.
    """
    others = [each for each in latest if each.is_in_force and each.subject_id != rule.subject_id]
    active = replace(rule, status=RuleStatus.ACTIVE)
    versions: list[DefinitionVersion] = []
    for number, version in enumerate((*others, active), 1):
        # Rules of equal priority keep the order of their creation.
        first = {"first_at": EARLIEST + number * MILLISECOND} if isinstance(version, RuleVersion) else {}
        versions.append(replace(version, revision=number, at=EARLIEST + number * MILLISECOND, **first))  # type: ignore[arg-type]
    return Definitions(versions)


def simulate(
    card: Pass,
    counted: Sequence[Event],
    definitions: Definitions,
    rule_id: str,
    *,
    period: tuple[int, int],
    texts: Texts,
) -> Simulated:
    """Return what a rule would have done for one pass in a period: from an instant in ms, up to another one.

    `counted` are all events that count in the pass. What rules made for them is made anew. Every event counts when it
    occurred, in the order of occurrence.
    """
    if len(counted) > MAX_SIMULATED_EVENTS:
        return Simulated(left_out=1)
    events = [_as_it_occurred(event) for event in counted if _is_simulated(event)]
    start_ms, end_ms = period
    walk = ReplayWalk(_blank(card, events), definitions, events, texts=texts)
    walk.run_until(start_ms - 1)
    before = dict(walk.matched), dict(walk.skipped), len(walk.made)
    walk.run_until(end_ms - 1)
    matched = walk.matched.get(rule_id, 0) - before[0].get(rule_id, 0)
    skipped = {
        reason: count - before[1].get((each, reason), 0)
        for (each, reason), count in walk.skipped.items()
        if each == rule_id and count > before[1].get((each, reason), 0)
    }
    made = [event for event in walk.made[before[2] :] if event.origin.rule == rule_id]
    return _summarize(made, matched, skipped)


def definitions_of(latest: Mapping[str, DefinitionVersion], segment: Version) -> Definitions:
    """Return a segment, and the segments and the tier program that it depends on, as if they had always been in force."""
    found: dict[str, DefinitionVersion] = {segment.segment_id: segment}
    waiting = list(references_of(segment))
    while waiting:
        subject_id = waiting.pop()
        version = latest.get(subject_id)
        if subject_id not in found and version is not None and version.is_in_force:
            found[subject_id] = version
            waiting += references_of(version)
    return Definitions(
        replace(version, revision=number, at=EARLIEST + number * MILLISECOND)
        for number, version in enumerate(found.values(), 1)
    )


def memberships_at(
    card: Pass, counted: Sequence[Event], definitions: Definitions, segment_id: str, instants_ms: Sequence[int]
) -> list[bool]:
    """Return whether a pass would have been in a segment at instants, in order of time.

    `counted` are all events that count in the pass, and `definitions` are of `definitions_of`. Every event counts when it
    occurred, also one that a rule made.
    """
    walk, found = _replay(card, counted, definitions), list[bool]()
    for at_ms in instants_ms:
        walk.run_until(at_ms)
        found.append(segment_id in walk.card.memberships)
    return found


def held_since_ms(
    card: Pass, counted: Sequence[Event], definitions: Definitions, segment_id: str, at_ms: int
) -> int | None:
    """Return since when a pass would have been in a segment at an instant; None if it would not. As `memberships_at`."""
    walk = _replay(card, counted, definitions)
    walk.run_until(at_ms)
    membership = walk.card.memberships.get(segment_id)
    return None if membership is None else membership.since_ms


def _replay(card: Pass, counted: Sequence[Event], definitions: Definitions) -> ReplayWalk:
    """Return a walk over all events that count, those included that rules made."""
    events = [_as_it_occurred(event) for event in counted if _is_simulated(event) or _is_effect(event)]
    return ReplayWalk(_blank(card, events), definitions, events)


class ReplayWalk:
    """The walk of a copy of a pass, with all reads answered from memory."""

    def __init__(
        self, card: Pass, definitions: Definitions, events: Sequence[Event], *, texts: Texts | None = None
    ) -> None:
        self._card, self._definitions, self._texts = card, definitions, texts or PlainTexts()
        self._pending = sort_events(events)
        self._counted: list[Event] = []
        self.made: list[Event] = []
        self.matched: dict[str, int] = {}
        self.skipped: dict[tuple[str, str], int] = {}

    @property
    def card(self) -> Pass:
        """The copy of the pass as it is now."""
        return self._card

    def run_until(self, limit_ms: int) -> None:
        """Walk until an instant, if the pass exists then."""
        while True:
            due = [event for event in self._pending[: EVENTS_PER_WALK + 1] if event.order_ms <= limit_ms]
            has_more = len(due) > EVENTS_PER_WALK
            next_due_ms = self._card.next_due_ms
            is_due = next_due_ms is not None and next_due_ms <= limit_ms
            is_new = self._card.evaluated_until_ms < to_ms(self._card.created_at) <= limit_ms
            if not due and not is_due and not is_new:
                return
            before = self._card.evaluated_until_ms
            self._walk(due[:EVENTS_PER_WALK], limit_ms, has_more=has_more)
            if not due and self._card.evaluated_until_ms == before and self._card.next_due_ms == next_due_ms:
                return  # nothing more can change by time

    def _walk(self, batch: list[Event], limit_ms: int, *, has_more: bool) -> None:
        walk = walk_copy(
            self._card, self._definitions, batch, limit_ms=limit_ms, recorded_ms=limit_ms, has_more=has_more,
            texts=self._texts,
        )  # fmt: skip
        self._keep(finish(walk, self._read))

    def _keep(self, done: Advanced) -> None:
        folded = set(done.folded_ids)
        made = [entry.made for entry in done.entries if entry.made is not None]
        self._card = replace(done.card, outbox=())
        self._counted += [event for event in self._pending[:EVENTS_PER_WALK] if event.id in folded] + made
        self._pending = [event for event in self._pending if event.id not in folded]
        self.made += made
        for rule_id, number in done.matched.items():
            self.matched[rule_id] = self.matched.get(rule_id, 0) + number
        for key, number in done.skipped.items():
            self.skipped[key] = self.skipped.get(key, 0) + number

    def _read(self, reading: Reading) -> Found:
        return Found(
            history=self._counted if reading.history else None,
            pages={
                key: build_page(reading.card, measure, after_ms, self._counted)
                for key, (measure, after_ms) in reading.windows.items()
            },
            families={root: Family([e for e in self._counted if e.family == root]) for root in reading.families},
        )


def _is_simulated(event: Event) -> bool:
    """Return whether the event was recorded. What walks made, and what belongs to merges and removals, is made anew."""
    return not event.is_made and (event.type not in INTERNAL_TYPES or event.type in _RECORDED_CHANGES)


def _is_effect(event: Event) -> bool:
    """Return whether a rule made the event as an effect."""
    return event.is_made and event.type not in FIRINGS


def _as_it_occurred(event: Event) -> Event:
    # What was decided about the event holds in the simulation, too.
    return replace(event, recorded_at=from_ms(event.order_ms), move=None, outcome=COUNTED)


def _blank(card: Pass, events: Sequence[Event]) -> Pass:
    """Return the pass as it was created, before its first event."""
    created = min([card.created_at, *(event.occurred_at for event in events)])
    return Pass(
        id=card.id,
        workspace_id=card.workspace_id,
        external_id=card.external_id,
        initial_profile=card.initial_profile,
        profile=card.initial_profile,
        installed_at=None if card.installed_by_event else card.installed_at,
        created_at=created,
        updated_at=created,
        evaluated_until_ms=to_ms(created) - 1,
        gift_currency=card.gift_currency,
    )


def _summarize(made: Sequence[Event], matched: int, skipped: Mapping[str, int]) -> Simulated:
    firings = [event for event in made if event.type == RULE_FIRED]
    statuses = [status for event in firings for status in _statuses(event)]
    points = ZERO
    for event in made:
        is_reversal = bool(event.metadata.get("reversal"))
        if event.type == (POINT_SUB if is_reversal else POINT_ADD):
            points = add(points, event.points)
    return Simulated(
        passes=1,
        matched=matched,
        skipped=skipped,
        fired=len(firings),
        control=sum(bool(event.metadata.get("control")) for event in firings),
        succeeded=statuses.count("SUCCEEDED"),
        failed=statuses.count("FAILED"),
        points=points,
    )


def _statuses(event: Event) -> list[str]:
    results = event.metadata.get("effects")
    return [str(result["status"]) for result in results] if isinstance(results, list) else []
