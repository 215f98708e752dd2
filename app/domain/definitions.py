"""Definitions of a workspace: the versions of its segments, rules, rewards and tier program, ordered by one revision."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from app.domain.binding import PassZones, bind_version, find_zones
from app.domain.events.events import RULE_RETRIED, Event
from app.domain.passes.passes import Pass, Profile
from app.domain.passes.searchable import SearchableVersion
from app.domain.rewards.rewards import RewardVersion
from app.domain.rules.cascades import count_effects
from app.domain.rules.checks import references_of_rule
from app.domain.rules.matching import iter_rule_measures, nth_measure
from app.domain.rules.rules import OnHistorical, RuleStatus, RuleVersion
from app.domain.rules.triggers import BalanceTrigger, EventTrigger, SegmentTrigger, TierTrigger
from app.domain.segments.comparisons import MAX_WALK_COMPARISONS, count_comparisons
from app.domain.segments.criteria import Criteria, MeasuredCriterion, iter_leaves
from app.domain.segments.evaluation import TimedLeaf
from app.domain.segments.local_time import depends_on_zone
from app.domain.segments.moments import AnniversaryCriterion, RelativeCriterion
from app.domain.segments.segments import (
    Version,
    find_references,
    sort_by_references,
)
from app.domain.segments.workspace_versions import WorkspaceVersion
from app.domain.state.measures import Measure
from app.domain.tiers.programs import TierProgramVersion
from app.domain.values.instants import to_ms

MAX_ZONES_KEPT = 500
"""Combinations of zones of passes whose definitions a process keeps."""
RankedRule = tuple[int, RuleVersion]
"""A rule with its rank: 0 is asked first."""
DefinitionVersion = Version | RuleVersion | TierProgramVersion | RewardVersion | SearchableVersion | WorkspaceVersion


@dataclass(frozen=True)
class ActiveDefinitions:
    """Definitions in force at one revision.

    - `ordered`: segments and the tier program, each after those that its criteria name.
    - `rules`: by priority, the highest first; then by creation.
    - `event_criteria`: those of segments and tiers.
    - `zones`: those of the passes for which they are in force; see `Definitions.active_for`.
    - `timed`: those of segments and tiers whose results change by time alone, the event criteria among them.
    - `measures`: those of all criteria, also of the conditions of rules and of the criteria of rewards.
    - `rewards`: those that are not archived, by id.
    - `searchable`: paths of the fields under whose values a search finds passes.
    - `archived_rules`: ids of rules that no later version brings back.
    """

    ordered: tuple[Version | TierProgramVersion, ...]
    rules: tuple[RuleVersion, ...]
    event_criteria: tuple[MeasuredCriterion, ...]
    measures: tuple[Measure, ...]
    rewards: Mapping[str, RewardVersion] = field(default_factory=dict)
    searchable: tuple[str, ...] = ()
    timed: tuple[TimedLeaf, ...] = ()
    zones: PassZones = ()
    archived_rules: frozenset[str] = frozenset()

    @cached_property
    def zone_fields(self) -> frozenset[str]:
        """The fields of a pass that name the zone of criteria in force."""
        named = ((each.zone_field, each.criteria) for each in self.versions)
        return frozenset(name for name, criteria in named if name is not None and depends_on_zone(criteria))

    @cached_property
    def versions(self) -> tuple[Version, ...]:
        """The versions of segments, in dependency order."""
        return tuple(each for each in self.ordered if isinstance(each, Version))

    @cached_property
    def program(self) -> TierProgramVersion | None:
        """The tier program, if one is in force."""
        return next((each for each in self.ordered if isinstance(each, TierProgramVersion)), None)

    @cached_property
    def by_segment(self) -> Mapping[str, Version]:
        """The version in force, by segment id."""
        return {version.segment_id: version for version in self.versions}

    @cached_property
    def rules_by_event_type(self) -> Mapping[str, Sequence[RankedRule]]:
        """The rules that are asked about events of a type, each with its rank."""
        found: dict[str, list[RankedRule]] = {}
        for rank, rule in enumerate(self.rules):
            if isinstance(rule.trigger, EventTrigger):
                for event_type in rule.trigger.types:
                    found.setdefault(event_type, []).append((rank, rule))
        return found

    def may_ask_about(self, event: Event) -> bool:
        """Return whether a rule may be asked about an event of this type: about history, only rules that say so."""
        ranked = self.rules_by_event_type.get(event.type, ())
        if not event.historical:
            return bool(ranked)
        return any(rule.historical is OnHistorical.FIRE for _, rule in ranked)

    @cached_property
    def rules_by_transition(self) -> Mapping[tuple[str, bool], Sequence[RankedRule]]:
        """The rules that are asked about entries into a segment (True) and exits from it (False)."""
        found: dict[tuple[str, bool], list[RankedRule]] = {}
        for rank, rule in enumerate(self.rules):
            if isinstance(rule.trigger, SegmentTrigger):
                found.setdefault((rule.trigger.segment_id, rule.trigger.entered), []).append((rank, rule))
        return found

    @cached_property
    def tier_rules(self) -> Sequence[RankedRule]:
        """The rules that are asked about changes of the tier."""
        return [(rank, rule) for rank, rule in enumerate(self.rules) if isinstance(rule.trigger, TierTrigger)]

    @cached_property
    def balance_rules(self) -> Sequence[RankedRule]:
        """The rules that are asked about the balance of points."""
        return [(rank, rule) for rank, rule in enumerate(self.rules) if isinstance(rule.trigger, BalanceTrigger)]

    @cached_property
    def nth_measures(self) -> Mapping[str, Measure]:
        """The counts of matching events, by the id of the rule that asks for the number of an event."""
        measures = ((rule.rule_id, nth_measure(rule)) for rule in self.rules)
        return {rule_id: measure for rule_id, measure in measures if measure is not None}

    def count_effects(self, event_type: str) -> int:
        """Return the effects of all rules that may fire after an event of a type, in all depths, at most 200.

        A retry makes the effects of one rule, so it stands for those of the rule with most of them.
        """
        found = self._effects_by_type.get(event_type)
        if found is None:
            direct = [rule for _, rule in self.rules_by_event_type.get(event_type, ())]
            if event_type == RULE_RETRIED:
                direct = sorted(self.rules, key=lambda rule: len(rule.effects))[-1:]
            others = [rule for rule in self.rules if not isinstance(rule.trigger, EventTrigger)]
            found = self._effects_by_type[event_type] = count_effects([*direct, *others], self.rules_by_event_type)
        return found

    @cached_property
    def _effects_by_type(self) -> dict[str, int]:
        return {}

    @cached_property
    def rule_windows(self) -> tuple[Measure, ...]:
        """The windows that only rules and rewards read. Their events leave without making a pass due."""
        evaluated = {leaf.measure.key for leaf in self.event_criteria}
        return tuple(each for each in self.measures if each.within_ms is not None and each.key not in evaluated)

    @cached_property
    def comparisons(self) -> int:
        """The comparisons that one evaluation of a pass takes, without those of rules and rewards."""
        return sum(count_comparisons(tree) for each in self.ordered for tree in criteria_of(each))

    @cached_property
    def events_per_walk(self) -> int:
        """The number of events after which a walk stops."""
        asked: tuple[DefinitionVersion, ...] = (*self.rules, *self.rewards.values())
        of_asked = sum(count_comparisons(tree) for each in asked for tree in criteria_of(each))
        return max(1, MAX_WALK_COMPARISONS // max(1, self.comparisons + of_asked))

    @cached_property
    def windows(self) -> tuple[Measure, ...]:
        """The measures that time alone changes: of the last N ms, and of local periods."""
        return tuple(each for each in self.measures if each.within_ms is not None or each.periods is not None)

    def measures_of(self, event_type: str) -> Sequence[Measure]:
        """Return the measures in which events of a type may count."""
        found = self._measures_by_type.get(event_type)
        if found is None:
            found = [each for each in self.measures if each.names_type(event_type)]
            self._measures_by_type[event_type] = found
        return found

    @cached_property
    def _measures_by_type(self) -> dict[str, Sequence[Measure]]:
        return {}

    @cached_property
    def measure_keys(self) -> frozenset[str]:
        """The keys of all measures that a pass stores under this revision."""
        return frozenset(measure.key for measure in self.measures)


class Definitions:
    """Versions of a workspace's definitions, with a cache of the definitions in force at each revision.

    They are complete from the revision `complete_from` on; of earlier ones, only those still in force there are kept.
    """

    def __init__(self, versions: Iterable[DefinitionVersion] = (), complete_from: int = 0) -> None:
        self.versions = tuple(sorted(versions, key=lambda v: v.revision))
        self.complete_from = complete_from
        self._active: dict[int, ActiveDefinitions] = {}
        self._active_in_zones: dict[tuple[int, PassZones], ActiveDefinitions] = {}

    @property
    def revision(self) -> int:
        """The highest revision; 0 if the workspace never defined anything."""
        return self.versions[-1].revision if self.versions else 0

    @cached_property
    def announced_revision(self) -> int:
        """The highest revision that every pass must be evaluated under soon; backfill compares passes with it."""
        return max((version.revision for version in self.versions if version.announces_backfill), default=0)

    def extended(self, versions: Iterable[DefinitionVersion]) -> Definitions:
        """Return these definitions together with newer ones."""
        return Definitions((*self.versions, *versions), self.complete_from)

    def compacted(self, revision: int) -> Definitions:
        """Return the definitions that passes need which were evaluated under this revision or a later one."""
        in_force = self.latest(revision).values()
        kept = (*in_force, *self.after(revision))
        if len(kept) == len(self.versions):
            return self
        return Definitions(kept, max(self.complete_from, revision))

    def serve(self, card: Pass) -> bool:
        """Return whether no version is missing that a walk of the pass needs."""
        if card.revision >= self.complete_from:
            return True
        # The walk of a new pass begins with the definitions that were in force when the pass was created.
        created_ms = to_ms(card.created_at)
        return card.evaluated_until_ms < created_ms and self.revision_at(created_ms) >= self.complete_from

    def after(self, revision: int) -> list[DefinitionVersion]:
        """Return the versions with a higher revision, oldest first."""
        if revision >= self.revision:
            return []  # Each walk asks twice, and nearly all passes have the highest revision.
        return [version for version in self.versions if version.revision > revision]

    def revision_at(self, at_ms: int) -> int:
        """Return the highest revision that was created at or before an instant."""
        return max((version.revision for version in self.versions if version.at_ms <= at_ms), default=0)

    def latest(self, revision: int | None = None) -> dict[str, DefinitionVersion]:
        """Return the latest version of each segment, rule, reward and tier program, archived ones included, by its id.

        Versions with a higher revision than `revision` are left out.
        """
        return {
            version.subject_id: version for version in self.versions if revision is None or version.revision <= revision
        }

    @property
    def latest_active(self) -> ActiveDefinitions:
        """The definitions in force at the highest revision."""
        return self.active(self.revision)

    def active(self, revision: int) -> ActiveDefinitions:
        """Return the definitions in force at a revision."""
        found = self._active.get(revision)
        if found is None:
            found = _activate(list(self.latest(revision).values()))
            self._active[revision] = found
        return found

    def active_for(self, revision: int, profile: Profile) -> ActiveDefinitions:
        """Return the definitions in force at a revision for a pass: some segments are evaluated in a zone of its own.

        Passes with the same zones have the same object.
        """
        found = self.active(revision)
        if not found.zone_fields or not (zones := find_zones(profile, found.zone_fields)):
            return found
        own = self._active_in_zones.get((revision, zones))
        if own is None:
            if len(self._active_in_zones) >= MAX_ZONES_KEPT:
                del self._active_in_zones[next(iter(self._active_in_zones))]
            own = self._active_in_zones[revision, zones] = _activate(list(self.latest(revision).values()), zones)
        return own


def _activate(latest: Sequence[DefinitionVersion], zones: PassZones = ()) -> ActiveDefinitions:
    in_force = [each for each in latest if each.is_in_force]
    settings = next((each for each in in_force if isinstance(each, WorkspaceVersion)), None)
    bound = (
        bind_version(each, settings, zones)
        for each in in_force
        if not isinstance(each, WorkspaceVersion | SearchableVersion)
    )
    live = {each.subject_id: each for each in bound}
    nodes = {key: each for key, each in live.items() if isinstance(each, Version | TierProgramVersion)}
    rules = [each for each in live.values() if isinstance(each, RuleVersion)]
    rewards = {key: each for key, each in live.items() if isinstance(each, RewardVersion)}
    searchable = next((each.paths for each in in_force if isinstance(each, SearchableVersion)), ())
    order = sort_by_references({key: references_of(each) for key, each in nodes.items()})
    ordered = tuple(nodes[key] for key in order)
    evaluated = list(iter_event_criteria(ordered))
    event_criteria = tuple(
        {(leaf.measure.key, leaf.meaning, repr(leaf.to_dict())): leaf for leaf in evaluated}.values()
    )
    asked = iter_event_criteria((*rules, *rewards.values()))
    used = (*(leaf.measure for leaf in (*event_criteria, *asked)), *iter_rule_measures(rules))
    measures = {measure.key: measure for measure in used}
    return ActiveDefinitions(
        ordered,
        tuple(sorted(rules, key=lambda rule: (-rule.priority, rule.first_at, rule.rule_id))),
        event_criteria=event_criteria,
        measures=tuple(measures.values()),
        rewards=rewards,
        searchable=searchable,
        zones=zones,
        timed=(*event_criteria, *dict.fromkeys(_iter_moments(ordered))),
        archived_rules=frozenset(
            each.subject_id for each in latest if isinstance(each, RuleVersion) and each.status is RuleStatus.ARCHIVED
        ),
    )


def _iter_moments(versions: Iterable[DefinitionVersion]) -> Iterator[RelativeCriterion | AnniversaryCriterion]:
    for version in versions:
        for tree in criteria_of(version):
            leaves = iter_leaves(tree)
            yield from (leaf for leaf in leaves if isinstance(leaf, RelativeCriterion | AnniversaryCriterion))


def criteria_of(version: DefinitionVersion) -> tuple[Criteria, ...]:
    """Return the criteria trees of a version: one of a segment, at most one of a rule or reward, up to two of each tier."""
    match version:
        case Version():
            return (version.criteria,)
        case RuleVersion():
            return () if version.conditions is None else (version.conditions,)
        case RewardVersion():
            return () if version.terms.criteria is None else (version.terms.criteria,)
        case SearchableVersion() | WorkspaceVersion():
            return ()
    return tuple(tree for tier in version.tiers for tree in (tier.reach, tier.keep) if tree is not None)


def iter_event_criteria(versions: Iterable[DefinitionVersion]) -> Iterator[MeasuredCriterion]:
    """Iterate over the event criteria of all versions."""
    for version in versions:
        for tree in criteria_of(version):
            yield from (leaf for leaf in iter_leaves(tree) if isinstance(leaf, MeasuredCriterion))


def references_of(version: DefinitionVersion) -> set[str]:
    """Return the ids of the segments that a version names, and TIER_PROGRAM if it names the tier of the pass."""
    if isinstance(version, RuleVersion):
        return set(references_of_rule(version))
    return set().union(*map(find_references, criteria_of(version)))
