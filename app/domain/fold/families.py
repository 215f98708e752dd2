"""Families: an event, its corrections, and what rules made for any of them. Corrections change the points of the rules.

Where a member of a family is corrected or removed, the walk asks what the version of the rule that fired gives for the
net amount now. It makes the difference to what was made so far.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from app.domain.events.events import MERGE_FINISHED, POINT_ADD, RULE_FIRED, Category, Event
from app.domain.rules.made import Maker
from app.domain.rules.occurrences import is_of_merge
from app.domain.rules.terms import Terms, net_amount, terms_from_json
from app.domain.values.decimals import ZERO, add, subtract

from .lacks import DataMissing
from .walk import Walk


@dataclass(frozen=True, slots=True)
class Award:
    """Effect of a firing that gave or took points: the firing, the index of the effect, and its terms."""

    fired: Event
    index: int
    terms: Terms


def differences_of_events(walk: Walk, at_ms: int, events: Sequence[Event]) -> list[Event]:
    """Return the differences for all families with a correction among the events that counted at an instant.

    They do not count yet. The last correction of a family names the cause. Raises DataMissing.
    """
    causes = {event.family: event.id for event in events if event.correction_of is not None and not is_of_merge(event)}
    finished = [event.id for event in events if event.type == MERGE_FINISHED]
    if finished:
        causes = {**dict.fromkeys(_find_roots(walk), finished[-1]), **causes}
    return differences_of(walk, at_ms, causes)


def differences_of(walk: Walk, at_ms: int, causes: Mapping[str, str]) -> list[Event]:
    """Return the differences of families, by root of the family and id of the event that is the cause.

    A difference waits while a member of the family that counted lies on another pass. Raises DataMissing.
    """
    # A rule must have fired on this pass, or there is nothing to correct.
    if not causes or not walk.derived.made_aggregates:
        return []
    unread = [root for root in causes if not walk.has_family(root)]
    if unread:
        raise DataMissing(families=frozenset(unread))
    maker = walk.maker(at_ms)
    made: list[Event] = []
    for root, cause in causes.items():
        members = walk.family_members(root)
        if members is not None:
            made += _differences(maker, root, cause, members)
    return made


def _find_roots(walk: Walk) -> Iterator[str]:
    """Iterate over the roots of the families for which a rule fired for an event. Raises DataMissing."""
    for event in walk.derived.counted:
        if event.type == RULE_FIRED and event.root is not None:
            yield event.root


def _differences(maker: Maker, root: str, cause: str, members: Sequence[Event]) -> Iterator[Event]:
    by_id = {event.id: event for event in members}
    for award in _awards(members):
        fired = award.fired
        target_id = fired.origin.cause or ""
        target = by_id.get(target_id)
        net = None if target is None else net_amount(target, members)
        given = _sum_points(award, target_id, members)
        blank = maker.new_event(
            fired.origin.rule or "",
            fired.source.removeprefix("rule:"),
            fired.origin.rule_version or 0,
            cause=cause,
            effect=award.index,
            kind=POINT_ADD,
            category=Category.CUSTOM,
            depth=1,
            root=root,
            target=target_id,
        )
        due = award.terms.points(net, is_removed=target is None)
        difference = maker.give(blank, award.terms, subtract(due, given))
        if difference is not None:
            yield difference


def _awards(members: Iterable[Event]) -> Iterator[Award]:
    """Iterate over the effects that gave or took points, and that corrections change."""
    for event in members:
        results = event.metadata.get("effects") if event.type == RULE_FIRED else None
        for result in results if isinstance(results, list) else ():
            if "terms" in result:
                yield Award(event, result["index"], terms_from_json(result["terms"]))


def _sum_points(award: Award, target_id: str, members: Iterable[Event]) -> Decimal:
    """Return the points that were made for an effect so far."""
    total = ZERO
    for event in members:
        origin = event.origin
        is_of_effect = event.is_made and (origin.rule, origin.effect) == (award.fired.origin.rule, award.index)
        if is_of_effect and (origin.target or origin.cause) == target_id:
            total = add(total, event.points)
    return total
