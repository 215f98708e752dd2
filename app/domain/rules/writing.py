"""Rules as the store and the API write them. The form is that of the input, with all defaults filled in."""

from __future__ import annotations

from hashlib import blake2b

from app.domain.segments.criteria import meaning_of
from app.domain.values.decimals import canonical, plain
from app.domain.values.instants import format_instant, from_ms
from app.domain.values.windows import within_dict

from .effects import AwardPoints, ChangeList, DeductPoints, Effect, IssueReward, RecordEvent, SendMessage, UpdatePass
from .parsing_triggers import WEEKDAYS, format_time
from .rules import PerPassLimit, RuleVersion
from .triggers import BalanceTrigger, EventTrigger, SegmentTrigger, TierTrigger, Trigger


def rule_to_dict(version: RuleVersion) -> dict[str, object]:
    """Return the definition of a version, without its key and revision. `parse_rule` reads it."""
    nth, when, limit = version.nth, version.when, version.per_pass
    return {
        "status": version.status.value,
        "trigger": trigger_to_dict(version.trigger),
        "conditions": None if version.conditions is None else version.conditions.to_dict(),
        "eventMetadata": [condition.to_dict() for condition in version.event_metadata],
        "nth": None if nth is None else {"equals": nth.equals, "every": nth.every},
        "when": None
        if when is None
        else {
            "weekdays": [WEEKDAYS[day] for day in when.weekdays],
            "from": None if when.from_minute is None else format_time(when.from_minute),
            "to": None if when.to_minute is None else format_time(when.to_minute),
        },
        "limits": None if limit is None else {"perPass": limit_to_dict(limit)},
        "active": period_to_dict(version.active_from_ms, version.active_to_ms),
        "timezone": version.timezone,
        "priority": version.priority,
        "group": version.group,
        "effects": [effect_to_dict(effect) for effect in version.effects],
        "onCorrection": version.on_correction.value,
        "historical": version.historical.value,
        "controlGroupPercent": version.control_percent,
    }


def limit_to_dict(limit: PerPassLimit) -> dict[str, object]:
    """Return a limit for each pass as the store and the API write it."""
    return {
        "count": limit.count,
        "within": None if limit.within_ms is None else within_dict(limit.within_ms),
        "calendar": None if limit.calendar is None else limit.calendar.value,
    }


def period_to_dict(start_ms: int | None, end_ms: int | None) -> dict[str, object] | None:
    """Return the period in which a definition is active as the store and the API write it; None for always."""
    return None if start_ms is None and end_ms is None else {"from": _instant(start_ms), "to": _instant(end_ms)}


def digest_of_rule(version: RuleVersion) -> str:
    """Return a text that is equal exactly for equal definitions. It does not depend on when a version was made."""
    meaning = None if version.conditions is None else meaning_of(version.conditions)
    return blake2b(repr((meaning, rule_to_dict(version))).encode(), digest_size=16).hexdigest()


def trigger_to_dict(trigger: Trigger) -> dict[str, object]:
    """Return a trigger as the store and the API write it."""
    match trigger:
        case EventTrigger():
            return {
                "event": {
                    "types": list(trigger.types),
                    "sources": list(trigger.sources),
                    "categories": [category.value for category in trigger.categories],
                    "currency": trigger.currency,
                    "amountMin": None if trigger.amount_min is None else canonical(trigger.amount_min),
                    "amountMax": None if trigger.amount_max is None else canonical(trigger.amount_max),
                }
            }
        case SegmentTrigger():
            return {"segmentEntered" if trigger.entered else "segmentLeft": {"segmentId": trigger.segment_id}}
        case TierTrigger():
            return {"tier": {"changes": [change.value for change in trigger.changes], "tierKey": trigger.tier_key}}
        case BalanceTrigger():
            return {
                "balance": {"earnedTotalReach" if trigger.is_earned_total else "pointsReach": canonical(trigger.reach)}
            }


def effect_to_dict(effect: Effect) -> dict[str, object]:
    """Return an effect as the store and the API write it."""
    match effect:
        case AwardPoints():
            return {"awardPoints": _award_to_dict(effect)}
        case DeductPoints():
            return {"deductPoints": {"points": canonical(effect.points), "label": effect.label}}
        case RecordEvent():
            return {
                "recordEvent": {
                    "type": effect.type,
                    "amount": None if effect.amount is None else plain(effect.amount),
                    "currency": effect.currency,
                    "points": None if effect.points is None else canonical(effect.points),
                    "metadata": dict(effect.metadata),
                    "category": effect.category.value,
                }
            }
        case UpdatePass():
            return {"updatePass": {"fields": dict(effect.fields), "metadata": dict(effect.metadata)}}
        case ChangeList():
            return {"addToSegment" if effect.adds else "removeFromSegment": {"segmentId": effect.segment_id}}
        case IssueReward():
            return {"issueReward": {"rewardKey": effect.reward_key}}
        case SendMessage():
            template = effect.template
            return {
                "sendMessage": {
                    "channelKey": effect.channel_key,
                    "template": template.text,
                    "subject": template.subject,
                    "html": template.html,
                    "validForHours": effect.valid_for_hours,
                }
            }


def _award_to_dict(award: AwardPoints) -> dict[str, object]:
    per, expiry = award.per_amount, award.expiry
    end_of = None if expiry is None else expiry.end_of
    return {
        "points": None if award.fixed is None else canonical(award.fixed),
        "perAmount": None
        if per is None
        else {
            "points": canonical(per.points),
            "each": canonical(per.each),
            "rounding": per.rounding.value,
            "decimals": per.decimals,
        },
        "multiplier": canonical(award.multiplier),
        "expiresAt": None if expiry is None else _instant(expiry.at_ms),
        "expiresAfterDays": None if expiry is None else expiry.after_days,
        "expiresAfterInactiveDays": None if expiry is None else expiry.after_inactive_days,
        "expiresAtEndOf": None if end_of is None else {"unit": end_of.unit.value, "plus": end_of.plus},
        "pendingDays": award.pending_days,
        "label": award.label,
    }


def _instant(ms: int | None) -> str | None:
    return None if ms is None else format_instant(from_ms(ms))
