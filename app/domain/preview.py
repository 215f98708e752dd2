"""Previews: who would be in a segment with other criteria, and what the edit would cause. Nothing is written.

`belongs` decides, as in the walk, from what a pass stores. If the pass does not store what the criteria measure, that is
built as the walk builds it when a version comes into force.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property

from app.domain.activities import ENTERED, LEFT, Activity, Entry, category_of
from app.domain.activity_queries import ActivityQuery
from app.domain.binding import PassZones
from app.domain.definitions import Definitions, DefinitionVersion, references_of
from app.domain.errors import NotFound
from app.domain.events.events import RULE_FIRED, Event
from app.domain.fold.derived import Derived
from app.domain.fold.prefetch import may_match
from app.domain.passes.passes import Pass
from app.domain.rules.rules import RuleVersion
from app.domain.segments.criteria import Criteria, MeasuredCriterion, iter_leaves
from app.domain.segments.evaluation import belongs, context_of
from app.domain.segments.segments import SILENT, TIER_PROGRAM, Version, find_references, sort_by_references
from app.domain.state.measures import Measure
from app.domain.values.estimates import scale
from app.domain.values.instants import from_ms


@dataclass(frozen=True, slots=True)
class PreviewOrder:
    """What to preview: criteria of a new segment, or of an edit of the segment `segment_id`.

    `zone_field` is the field of a pass that names its own zone; None without one. `at_ms` is an instant of the past at which
    passes are counted; None for now.
    """

    criteria: Criteria
    timezone: str
    segment_id: str | None = None
    notify: str = SILENT
    fires_rules: bool = False
    at_ms: int | None = None
    zone_field: str | None = None


@dataclass(frozen=True, slots=True)
class PreviewTally:
    """Figures of a preview, as sums over passes.

    `count` passes would be members. `activities`, `deliveries` and `firings` are what the edit would cause at once, silent
    activities included.
    """

    passes: int = 0
    count: int = 0
    entering: int = 0
    leaving: int = 0
    activities: int = 0
    deliveries: int = 0
    firings: int = 0

    @property
    def staying(self) -> int:
        """The members of now that would stay."""
        return self.count - self.entering

    def scaled(self, total: int) -> PreviewTally:
        """Return the figures for `total` passes, of which these were drawn."""
        return PreviewTally(**{name: scale(getattr(self, name), self.passes, total) for name in COUNTS})

    def to_dict(self) -> dict[str, int]:
        """Return the figures by name."""
        return {name: getattr(self, name) for name in COUNTS}


COUNTS = tuple(each.name for each in fields(PreviewTally))
"""The names of the figures of a tally."""


def sum_tallies(tallies: Sequence[PreviewTally]) -> PreviewTally:
    """Return the sum of tallies."""
    return PreviewTally(**{name: sum(getattr(each, name) for each in tallies) for name in COUNTS})


class Preview:
    """Preview of one version of a segment, at the instant `at_ms`. `definitions` are those in force.

    `filters` are those of the webhook endpoints that are enabled. Raises NotFound for a segment that is not live, and
    InvalidInput for a circle.
    """

    def __init__(
        self, definitions: Definitions, version: Version, at_ms: int, filters: Sequence[ActivityQuery] = ()
    ) -> None:
        _check_references(definitions, version)
        self.version, self.at_ms, self._filters = version, at_ms, filters
        self.definitions = definitions
        self.definitions_after = definitions.extended([version])
        self._criteria = self.definitions_after.latest_active.by_segment[version.segment_id].criteria

    @cached_property
    def is_referenced(self) -> bool:
        """Whether other definitions name the segment, so that its members decide about more than the segment."""
        latest = self.definitions.latest().values()
        return any(each.is_in_force and self.version.segment_id in references_of(each) for each in latest)

    @property
    def measure_keys(self) -> Collection[str]:
        """The keys of all measures of the criteria."""
        return self._measures.keys()

    @cached_property
    def may_build_measures(self) -> bool:
        """Whether passes that are not behind may lack a measure of the criteria."""
        # Rules come and go without a backfill, so what only they measure may be lacking.
        active = self.definitions.active(self.definitions.announced_revision)
        if active.zone_fields or self._has_zones:
            return True
        evaluated = active.event_criteria
        return not self._measures.keys() <= {leaf.measure.key for leaf in evaluated}

    def _new_measures(self, card: Pass) -> Sequence[Measure]:
        """Return the measures of the criteria that the pass does not store under its revision.

        With zones of passes, these are all measures: what is read of passes has none in the zone of the pass.
        """
        if self._has_zones:
            return list(_measures_of(self._criteria_for(card)).values())
        active = self.definitions.active_for(card.revision, card.profile)
        found = self._new_by_revision.get((card.revision, active.zones))
        if found is None:
            stored = active.measure_keys
            found = [measure for key, measure in self._measures.items() if key not in stored]
            self._new_by_revision[card.revision, active.zones] = found
        return found

    @cached_property
    def _new_by_revision(self) -> dict[tuple[int, PassZones], Sequence[Measure]]:
        return {}

    @cached_property
    def _measures(self) -> Mapping[str, Measure]:
        return _measures_of(self._criteria)

    @property
    def _has_zones(self) -> bool:
        """Whether the criteria are evaluated in a zone that each pass names."""
        return self.version.zone_field is not None

    def _criteria_for(self, card: Pass) -> Criteria:
        """Return the criteria, in the zone of the pass."""
        if not self._has_zones:
            return self._criteria
        active = self.definitions_after.active_for(self.definitions_after.revision, card.profile)
        return active.by_segment[self.version.segment_id].criteria

    def is_behind(self, card: Pass) -> bool:
        """Return whether a worker has to walk the pass first."""
        is_due = card.next_due_ms is not None and card.next_due_ms <= self.at_ms
        # Versions of rules let no segment change, and passes take them with their next walk.
        return is_due or card.revision < self.definitions.announced_revision

    def needs_history(self, card: Pass) -> bool:
        """Return whether the answer for a pass takes its events."""
        return any(
            not measure.can_use_aggregates and may_match(measure, card.aggregates, card.made_aggregates)
            for measure in self._new_measures(card)
        )

    def find_move(self, card: Pass, history: Sequence[Event] | None) -> tuple[bool, bool]:
        """Return whether the pass is a member now, and whether it would be one. `history` as for a walk."""
        at_ms = max(self.at_ms, card.evaluated_until_ms)
        segment_id = self.version.segment_id
        if new_measures := self._new_measures(card):
            derived = Derived(card, history, {})
            for measure in new_measures:
                derived.begin_measure(measure, at_ms)
            context = context_of(replace(card, measures=derived.states), at_ms)
        else:
            context = context_of(card, at_ms)
        return segment_id in card.memberships, belongs(segment_id, self._criteria_for(card), context)

    def tally(
        self, card: Pass, was_member: bool, is_member: bool, entries: Sequence[Entry] | None = None
    ) -> PreviewTally:
        """Return the figures of one pass.

        `entries` are those of a walk of a copy under the edit; None if nothing but the segment depends on the move.
        """
        moves = was_member != is_member
        if entries is None:
            entries = [self._entry(card, is_member=is_member)] if moves and self._filters else []
            activity_count = int(moves)
        else:
            activity_count = len(entries)
        activities = [_activity_of(card, entry) for entry in entries] if self._filters else []
        return PreviewTally(
            passes=1,
            count=int(is_member),
            entering=int(is_member and moves),
            leaving=int(was_member and moves),
            activities=activity_count,
            deliveries=sum(each.matches(activity) for each in self._filters for activity in activities),
            firings=sum(entry.made is not None and entry.made.type == RULE_FIRED for entry in entries),
        )

    def _entry(self, card: Pass, *, is_member: bool) -> Entry:
        """Return the entry of a pass that the edit moves."""
        number, kind = card.last_activity + 1, ENTERED if is_member else LEFT
        refs = {"segment": self.version.segment_id}
        silent = self.version.is_silent
        return Entry(number, kind, self.at_ms, recorded_ms=self.at_ms, refs=refs, silent=silent)


def _measures_of(criteria: Criteria) -> dict[str, Measure]:
    """Return the measures of criteria by their keys."""
    leaves = [leaf for leaf in iter_leaves(criteria) if isinstance(leaf, MeasuredCriterion)]
    return {leaf.measure.key: leaf.measure for leaf in leaves}


def _activity_of(card: Pass, entry: Entry) -> Activity:
    """Return the activity of an entry, as far as filters of endpoints look at it."""
    segment = entry.refs.get("segment")
    return Activity(
        position=0,
        pass_sequence=entry.number,
        pass_id=card.id,
        type=entry.type,
        category=category_of(entry.type),
        occurred_at=from_ms(entry.at_ms),
        recorded_at=from_ms(entry.recorded_ms),
        cause=entry.cause,
        data={},
        segment_id=None if segment is None else str(segment),
        late=entry.late,
        silent=entry.silent,
        historical=entry.historical,
    )


def _check_references(definitions: Definitions, version: Version) -> None:
    """Raise NotFound for a segment that is not live, and InvalidInput (CYCLE) for a circle."""
    live: dict[str, DefinitionVersion] = {key: each for key, each in definitions.latest().items() if each.is_in_force}
    named = find_references(version.criteria)
    if any(each not in live for each in named - {TIER_PROGRAM, version.segment_id}):
        raise NotFound("live segment", "criteria")
    others = {key: references_of(each) for key, each in live.items() if not isinstance(each, RuleVersion)}
    sort_by_references({**others, version.segment_id: named})
