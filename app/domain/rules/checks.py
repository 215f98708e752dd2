"""Checks of rules that read well: what a rule refers to, whether it triggers itself, and what looks like a mistake."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from app.domain.errors import Code, Problem
from app.domain.events.event_types import EventTypes
from app.domain.events.events import TYPES, Category
from app.domain.segments.criteria import iter_types
from app.domain.segments.segments import TIER_PROGRAM, find_references
from app.domain.segments.warnings import find_warnings, unknown_type

from .effects import ONE, AwardPoints, ChangeList, DeductPoints, Effect, RecordEvent
from .rules import RuleVersion
from .terms import MAX_POINTS, multiply_fixed
from .triggers import EventTrigger, SegmentTrigger, TierTrigger

MAX_RULES = 100
"""Rules of a workspace that are not archived."""
_AWARD_TYPE, _DEDUCT_TYPE = "point_add", "point_sub"


def references_of_rule(version: RuleVersion) -> frozenset[str]:
    """Return the ids of the segments that a rule names in its trigger, conditions and effects.

    TIER_PROGRAM is among them if the conditions name the tier.
    """
    found = set() if version.conditions is None else find_references(version.conditions)
    if isinstance(version.trigger, SegmentTrigger):
        found.add(version.trigger.segment_id)
    return frozenset(found | {effect.segment_id for effect in version.effects if isinstance(effect, ChangeList)})


def iter_named_segments(version: RuleVersion) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield each segment that a rule names: its id, and the path in the input."""
    if isinstance(version.trigger, SegmentTrigger):
        kind = "segmentEntered" if version.trigger.entered else "segmentLeft"
        yield version.trigger.segment_id, ("trigger", kind, "segmentId")
    if version.conditions is not None:
        for segment_id in sorted(find_references(version.conditions) - {TIER_PROGRAM}):
            yield segment_id, ("conditions",)
    for index, effect in enumerate(version.effects):
        if isinstance(effect, ChangeList):
            kind = "addToSegment" if effect.adds else "removeFromSegment"
            yield effect.segment_id, ("effects", str(index), kind, "segmentId")


def find_self_trigger(version: RuleVersion, rule_key: str) -> Iterator[Problem]:
    """Yield a problem for each effect that could trigger the same rule again, unless limits bound the firings.

    Limits for each pass bound them, and so does `nth: { equals }`. The check reads types, sources, categories and amounts;
    metadata may come from templates, so an effect counts as matching whatever its metadata.
    """
    if version.per_pass is not None or (version.nth is not None and version.nth.equals is not None):
        return
    for index, effect in enumerate(version.effects):
        if _triggers_again(version, effect, rule_key):
            message = (
                "This effect could trigger the same rule again, without end. Give the rule limits.perPass, or let its "
                "trigger name other types or sources."
            )
            yield Problem(Code.CYCLE, message, ("effects", str(index)))


def find_too_many_points(version: RuleVersion) -> Iterator[Problem]:
    """Yield a problem for each award whose fixed points times multiplier exceed MAX_POINTS."""
    for index, effect in enumerate(version.effects):
        if not isinstance(effect, AwardPoints) or effect.fixed is None:
            continue
        if multiply_fixed(effect.fixed, effect.multiplier) > MAX_POINTS:
            message = f"Points times multiplier may come to {MAX_POINTS:,} at most; give smaller ones."
            name = "points" if effect.multiplier == ONE else "multiplier"
            yield Problem(Code.OUT_OF_RANGE, message, ("effects", str(index), "awardPoints", name))


def _triggers_again(version: RuleVersion, effect: Effect, rule_key: str) -> bool:
    trigger = version.trigger
    if isinstance(trigger, SegmentTrigger):
        return effect == ChangeList(trigger.segment_id, adds=trigger.entered)
    if not isinstance(trigger, EventTrigger):
        return (
            False  # A balance that falls in between rises only by another cause; a tier changes by segments and time.
        )
    match effect:
        case AwardPoints():
            made, amount = _AWARD_TYPE, None
        case DeductPoints():
            made, amount = _DEDUCT_TYPE, None
        case RecordEvent():
            made, amount = effect.type, effect.amount
        case _:
            return False
    if made not in trigger.types or (trigger.sources and f"rule:{rule_key}" not in trigger.sources):
        return False
    category = TYPES.get(made, Category.CUSTOM if made in (_AWARD_TYPE, _DEDUCT_TYPE) else None)
    if trigger.categories and category is not None and category not in trigger.categories:
        return False
    if trigger.amount_min is None and trigger.amount_max is None:
        return True
    if amount is None:
        return False
    is_low = trigger.amount_min is not None and amount < trigger.amount_min
    is_high = trigger.amount_max is not None and amount > trigger.amount_max
    return not is_low and not is_high


def find_rule_warnings(
    version: RuleVersion, types: EventTypes, recorded: Collection[str], *, tiers: Collection[str], now_ms: int
) -> Iterator[Problem]:
    """Yield remarks about a valid rule that looks like a mistake.

    `recorded` are the types of the events so far. `tiers` are the keys of the tier program.
    """
    yield from _find_past_instants(version, now_ms)
    if isinstance(version.trigger, TierTrigger):
        yield from _find_missing_tier(version.trigger, tiers)
    if version.conditions is not None:
        yield from find_warnings(version.conditions, types, recorded, "conditions")
    if isinstance(version.trigger, EventTrigger):
        own = {_AWARD_TYPE, _DEDUCT_TYPE}
        for index, name in enumerate(version.trigger.types):
            if name not in TYPES and name not in own and types.get(name) is None and name not in recorded:
                at = ("trigger", "event", "types", str(index))
                yield Problem(Code.UNKNOWN, unknown_type(name, types, recorded), at)


def _find_past_instants(version: RuleVersion, now_ms: int) -> Iterator[Problem]:
    if version.active_to_ms is not None and version.active_to_ms <= now_ms:
        yield Problem(Code.OUT_OF_RANGE, "The period is over: the rule does not fire any more.", ("active", "to"))
    for index, effect in enumerate(version.effects):
        expiry = effect.expiry if isinstance(effect, AwardPoints) else None
        if expiry is not None and expiry.at_ms is not None and expiry.at_ms <= now_ms:
            message = "This instant is over: the points expire at once."
            yield Problem(Code.OUT_OF_RANGE, message, ("effects", str(index), "awardPoints", "expiresAt"))


def _find_missing_tier(trigger: TierTrigger, tiers: Collection[str]) -> Iterator[Problem]:
    if not tiers:
        message = "The workspace has no tiers: the rule does not fire before setTierProgram."
        yield Problem(Code.UNKNOWN, message, ("trigger", "tier"))
    elif trigger.tier_key is not None and trigger.tier_key not in tiers:
        message = f"The tier program has no tier '{trigger.tier_key}'; its tiers are {', '.join(tiers)}."
        yield Problem(Code.UNKNOWN, message, ("trigger", "tier", "tierKey"))


def iter_named_types(version: RuleVersion) -> Iterator[str]:
    """Yield the event types that the trigger and the conditions name."""
    if isinstance(version.trigger, EventTrigger):
        yield from version.trigger.types
    if version.conditions is not None:
        yield from iter_types(version.conditions)
