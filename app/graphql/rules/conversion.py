"""Conversion of the versions of rules to the types that the API returns."""

from __future__ import annotations

from typing import Any

import strawberry

from app.domain.rules import effects as domain
from app.domain.rules.effects import Effect
from app.domain.rules.parsing_triggers import WEEKDAYS, format_time
from app.domain.rules.rules import Nth, PerPassLimit, RuleVersion, When
from app.domain.rules.triggers import BalanceTrigger, EventTrigger, SegmentTrigger, TierTrigger, Trigger
from app.domain.values.instants import from_ms
from app.domain.values.periods import Weekday
from app.graphql.segments.criteria import criteria_of
from app.graphql.segments.sequences import MetadataCriteria
from app.graphql.segments.windows import fixed_window_of, rolling_window_of
from app.graphql.types.enums import ComparisonOperator
from app.graphql.types.ids import to_global_id
from app.graphql.types.scalars import JSON, JSONValue

from .content import (
    AwardPointsContent,
    BalanceTriggerContent,
    DeductPointsContent,
    EndOfPeriodContent,
    EventTriggerContent,
    IssueRewardEffect,
    ListMembershipEffect,
    NthContent,
    PerPassLimitContent,
    PointsPerAmountContent,
    RecordEventEffect,
    RuleEffect,
    RuleHours,
    RuleLimits,
    RuleTrigger,
    SegmentTriggerContent,
    SendMessageEffect,
    TierTriggerContent,
    UpdatePassEffect,
)


def content_of(version: RuleVersion) -> dict[str, Any]:
    """Return the fields of `RuleContent` for a version."""
    return {
        "version": version.version,
        "status": version.status,
        "trigger": _trigger_of(version.trigger),
        "conditions": None if version.conditions is None else criteria_of(version.conditions),
        "event_metadata": [
            MetadataCriteria(
                path=each.path, operator=ComparisonOperator(each.operator), value=JSONValue(each.to_dict()["value"])
            )
            for each in version.event_metadata
        ],
        "nth": None if version.nth is None else _nth_of(version.nth),
        "when": None if version.when is None else _hours_of(version.when),
        "limits": None if version.per_pass is None else RuleLimits(per_pass=_limit_of(version.per_pass)),
        "active": fixed_window_of(version.active_from_ms, version.active_to_ms),
        "timezone": version.timezone,
        "priority": version.priority,
        "group": version.group,
        "effects": [_effect_of(effect) for effect in version.effects],
        "on_correction": version.on_correction,
        "historical": version.historical,
        "control_group_percent": version.control_percent,
    }


def _segment_id(segment_id: str) -> strawberry.ID:
    return strawberry.ID(to_global_id("Segment", segment_id))


def _trigger_of(trigger: Trigger) -> RuleTrigger:
    match trigger:
        case EventTrigger():
            event = EventTriggerContent(
                types=list(trigger.types),
                sources=list(trigger.sources),
                categories=list(trigger.categories),
                currency=trigger.currency,
                amount_min=trigger.amount_min,
                amount_max=trigger.amount_max,
            )
            return RuleTrigger(event=event)
        case SegmentTrigger():
            segment = SegmentTriggerContent(segment_id=_segment_id(trigger.segment_id))
            return RuleTrigger(segment_entered=segment) if trigger.entered else RuleTrigger(segment_left=segment)
        case TierTrigger():
            return RuleTrigger(tier=TierTriggerContent(changes=list(trigger.changes), tier_key=trigger.tier_key))
        case BalanceTrigger(reach, True):
            return RuleTrigger(balance=BalanceTriggerContent(earned_total_reach=reach))
        case BalanceTrigger(reach):
            return RuleTrigger(balance=BalanceTriggerContent(points_reach=reach))


def _nth_of(nth: Nth) -> NthContent:
    return NthContent(equals=nth.equals, every=nth.every)


def _hours_of(when: When) -> RuleHours:
    return RuleHours(
        weekdays=[Weekday(WEEKDAYS[day]) for day in when.weekdays],
        from_=None if when.from_minute is None else format_time(when.from_minute),
        to=None if when.to_minute is None else format_time(when.to_minute),
    )


def _limit_of(limit: PerPassLimit) -> PerPassLimitContent:
    return PerPassLimitContent(count=limit.count, within=rolling_window_of(limit.within_ms), calendar=limit.calendar)


def _effect_of(effect: Effect) -> RuleEffect:
    match effect:
        case domain.AwardPoints():
            return RuleEffect(award_points=_award_of(effect))
        case domain.DeductPoints(points, label):
            return RuleEffect(deduct_points=DeductPointsContent(points=points, label=label))
        case domain.RecordEvent():
            recorded = RecordEventEffect(
                type=effect.type,
                amount=effect.amount,
                currency=effect.currency,
                points=effect.points,
                metadata=JSON(dict(effect.metadata)),
            )
            return RuleEffect(record_event=recorded)
        case domain.UpdatePass(fields, metadata):
            changed = UpdatePassEffect(fields=JSON(dict(fields)), metadata=JSON(dict(metadata)))
            return RuleEffect(update_pass=changed)
        case domain.ChangeList(segment_id, adds):
            membership = ListMembershipEffect(segment_id=_segment_id(segment_id))
            return RuleEffect(add_to_segment=membership) if adds else RuleEffect(remove_from_segment=membership)
        case domain.IssueReward(reward_key):
            return RuleEffect(issue_reward=IssueRewardEffect(reward_key=reward_key))
        case domain.SendMessage(key, template, hours):
            sent = SendMessageEffect(
                channel_key=key,
                template=template.text,
                subject=template.subject,
                html=template.html,
                valid_for_hours=hours,
            )
            return RuleEffect(send_message=sent)


def _award_of(award: domain.AwardPoints) -> AwardPointsContent:
    per, expiry = award.per_amount, award.expiry or domain.AwardExpiry()
    return AwardPointsContent(
        points=award.fixed,
        per_amount=None
        if per is None
        else PointsPerAmountContent(points=per.points, each=per.each, rounding=per.rounding, decimals=per.decimals),
        multiplier=award.multiplier,
        expires_at=None if expiry.at_ms is None else from_ms(expiry.at_ms),
        expires_after_days=expiry.after_days,
        expires_after_inactive_days=expiry.after_inactive_days,
        expires_at_end_of=None
        if expiry.end_of is None
        else EndOfPeriodContent(unit=expiry.end_of.unit, plus=expiry.end_of.plus),
        pending_days=award.pending_days,
        label=award.label,
    )
