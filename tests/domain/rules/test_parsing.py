"""Input of rules: what is read, what is refused with which problem, and the stored form."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.errors import Code, Refused
from app.domain.rules.checks import find_self_trigger, find_too_many_points, references_of_rule
from app.domain.rules.effects import AwardExpiry, AwardPoints, EndOfPeriod, PointsPerAmount, Rounding
from app.domain.rules.parsing import check_size, parse_rule
from app.domain.rules.parsing_effects import EFFECTS
from app.domain.rules.parsing_triggers import WEEKDAYS
from app.domain.rules.rules import Nth, PerPassLimit, RuleVersion, When
from app.domain.rules.triggers import BalanceTrigger, EventTrigger, SegmentTrigger, TierChange, TierTrigger
from app.domain.rules.writing import rule_to_dict
from app.domain.values.conditions import MEANING
from app.domain.values.instants import DAY_MS
from app.domain.values.periods import PeriodUnit
from app.templates.rendering import LiquidTexts

TEXTS = LiquidTexts()
PURCHASE = {"event": {"types": ["purchase"]}}
FIVE = [{"awardPoints": {"points": "5"}}]


def read(**raw: Any) -> RuleVersion:
    return parse_rule({"trigger": PURCHASE, "effects": FIVE, **raw}, "EUR", "Europe/Berlin", texts=TEXTS)


def problems_of(**raw: Any) -> dict[str, Code]:
    with pytest.raises(Refused) as refused:
        read(**raw)
    found = {".".join(problem.field): problem.code for problem in refused.value.problems}
    assert len(found) == len(refused.value.problems)
    return found


def test_defaults_of_a_rule_are_filled_in() -> None:
    version = read()
    assert version.trigger == EventTrigger(("purchase",))
    assert version.effects == (AwardPoints(fixed=Decimal(5)),)
    assert (version.timezone, version.priority, version.control_percent) == ("Europe/Berlin", 0, 0)
    assert version.is_in_force


def test_points_per_amount_take_the_currency_of_the_workspace() -> None:
    effects = [{
        "awardPoints": {
            "perAmount": {"points": 1, "each": "2.50", "rounding": "HALF_UP", "decimals": 2},
            "multiplier": "1.5",
            "expiresAtEndOf": {"unit": "YEAR", "plus": 1},
            "pendingDays": 14,
            "label": "bonus",
        }
    }]  # fmt: skip
    version = read(effects=effects)
    per_amount = PointsPerAmount(Decimal(1), Decimal("2.50"), Rounding.HALF_UP, 2)
    expiry = AwardExpiry(end_of=EndOfPeriod(PeriodUnit.YEAR, 1))
    award = AwardPoints(per_amount=per_amount, multiplier=Decimal("1.5"), expiry=expiry, pending_days=14, label="bonus")
    assert version.effects == (award,)
    assert version.trigger == EventTrigger(("purchase",), currency="EUR")


@pytest.mark.parametrize(
    ("raw", "trigger"),
    [
        ({"segmentEntered": {"segmentId": "seg_1"}}, SegmentTrigger("seg_1", entered=True)),
        ({"segmentLeft": {"segmentId": "seg_1"}}, SegmentTrigger("seg_1", entered=False)),
        ({"tier": {"changes": ["JOINED", "JOINED"], "tierKey": "gold"}}, TierTrigger((TierChange.JOINED,), "gold")),
        ({"tier": {}}, TierTrigger(tuple(TierChange))),
        ({"balance": {"pointsReach": 100}}, BalanceTrigger(Decimal(100))),
        ({"balance": {"earnedTotalReach": "99.5"}}, BalanceTrigger(Decimal("99.5"), is_earned_total=True)),
    ],
)
def test_triggers(raw: Mapping[str, object], trigger: object) -> None:
    assert read(trigger=raw).trigger == trigger


def test_hours_numbers_and_limits() -> None:
    version = read(
        when={"weekdays": ["SUNDAY", "SATURDAY"], "from": "22:00", "to": "06:00"},
        nth={"every": 10},
        limits={"perPass": {"count": 2, "within": {"days": 7}}},
        active={"from": "2026-01-01T00:00:00Z"},
    )
    assert version.when == When((5, 6), 1_320, 360)
    assert version.nth == Nth(every=10)
    assert version.per_pass == PerPassLimit(2, within_ms=7 * DAY_MS)
    assert version.active_to_ms is None
    assert read(when={"from": "09:00"}).when == When((), 540, 1_440)
    assert read(when={}).when is None


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ({"trigger": None}, {"trigger": Code.REQUIRED}),
        ({"trigger": {}}, {"trigger": Code.INVALID}),
        ({"trigger": {"event": {"types": []}}}, {"trigger.event.types": Code.REQUIRED}),
        ({"trigger": {"event": {"types": ["pass_updated"]}}}, {"trigger.event.types.0": Code.INVALID}),
        ({"trigger": {"event": {"types": ["a"], "currency": "eur"}}}, {"trigger.event.currency": Code.UNKNOWN}),
        ({"trigger": {"event": {"types": ["a"], "amountMin": 2, "amountMax": 1}}},
         {"trigger.event.amountMax": Code.OUT_OF_RANGE}),
        ({"trigger": {"segmentEntered": {}}}, {"trigger.segmentEntered.segmentId": Code.REQUIRED}),
        ({"trigger": {"tier": {"changes": ["UP"]}}}, {"trigger.tier.changes.0": Code.UNKNOWN}),
        ({"trigger": {"balance": {"pointsReach": 0}}}, {"trigger.balance.pointsReach": Code.OUT_OF_RANGE}),
        ({"effects": []}, {"effects": Code.REQUIRED}),
        ({"effects": FIVE * 11}, {"effects": Code.TOO_MANY}),
        ({"effects": [{"awardPoints": {"points": "1" * 30}}]}, {"effects.0.awardPoints.points": Code.OUT_OF_RANGE}),
        ({"effects": [{"awardPoints": {}}]}, {"effects.0.awardPoints.points": Code.REQUIRED}),
        ({"effects": [{"awardPoints": {"points": -1}}]}, {"effects.0.awardPoints.points": Code.OUT_OF_RANGE}),
        ({"effects": [{"awardPoints": {"points": 1, "expiresAfterDays": 1, "expiresAfterInactiveDays": 2}}]},
         {"effects.0.awardPoints.expiresAfterInactiveDays": Code.INVALID}),
        ({"effects": [{"awardPoints": {"perAmount": {"points": 1, "each": 0, "decimals": 7}}}]},
         {"effects.0.awardPoints.perAmount.each": Code.OUT_OF_RANGE,
          "effects.0.awardPoints.perAmount.decimals": Code.OUT_OF_RANGE}),
        ({"effects": [{"deductPoints": {}}]}, {"effects.0.deductPoints.points": Code.REQUIRED}),
        ({"effects": [{"sendMessage": {}}, {"issueReward": {}}]},
         {"effects.0.sendMessage.channelKey": Code.REQUIRED, "effects.0.sendMessage.template": Code.REQUIRED,
          "effects.1.issueReward.rewardKey": Code.REQUIRED}),
        ({"effects": [{"sendMessage": {"channelKey": "mail", "template": "{{ x", "subject": "a\nb",
                                       "html": "{% if %}", "validForHours": 721}}]},
         {"effects.0.sendMessage.template": Code.INVALID, "effects.0.sendMessage.subject": Code.INVALID,
          "effects.0.sendMessage.html": Code.INVALID, "effects.0.sendMessage.validForHours": Code.OUT_OF_RANGE}),
        ({"effects": [{"recordEvent": {"type": "event_removed"}}]}, {"effects.0.recordEvent.type": Code.INVALID}),
        ({"effects": [{"recordEvent": {"type": "field_updated"}}]}, {"effects.0.recordEvent.type": Code.UNSUPPORTED}),
        ({"effects": [{"recordEvent": {"type": "gift", "currency": "EUR"}}]},
         {"effects.0.recordEvent.currency": Code.INVALID}),
        ({"effects": [{"recordEvent": {"type": "gift", "metadata": {"a": ["{{ x"]}}}]},
         {"effects.0.recordEvent.metadata.a.0": Code.INVALID}),
        ({"effects": [{"recordEvent": {"type": "gift", "metadata": {"a": "x" * 5_000}}}]},
         {"effects.0.recordEvent.metadata": Code.TOO_LONG}),
        ({"effects": [{"updatePass": {}}]}, {"effects.0.updatePass": Code.REQUIRED}),
        ({"controlGroupPercent": 101}, {"controlGroupPercent": Code.OUT_OF_RANGE}),
        ({"nth": {"equals": 1, "every": 2}}, {"nth": Code.INVALID}),
        ({"nth": {"every": 0}}, {"nth.every": Code.OUT_OF_RANGE}),
        ({"when": {"from": "9:00"}}, {"when.from": Code.INVALID}),
        ({"when": {"from": "24:30", "to": "25:00"}}, {"when.from": Code.INVALID, "when.to": Code.INVALID}),
        ({"when": {"from": "09:00", "to": "09:00"}}, {"when.to": Code.INVALID}),
        ({"when": {"weekdays": ["SUN"]}}, {"when.weekdays.0": Code.UNKNOWN}),
        ({"limits": {"perPass": {}}}, {"limits.perPass.count": Code.REQUIRED}),
        ({"limits": {"perPass": {"count": 1, "within": {"days": 1}, "calendar": "DAY"}}},
         {"limits.perPass.calendar": Code.INVALID}),
        ({"limits": {"perPass": {"count": 101, "calendar": "DAY"}}}, {"limits.perPass.count": Code.OUT_OF_RANGE}),
        ({"active": {"from": "2026-02-01T00:00:00Z", "to": "2026-01-01T00:00:00Z"}}, {"active": Code.OUT_OF_RANGE}),
        ({"timezone": "Mars/Base"}, {"timezone": Code.UNKNOWN}),
        ({"priority": 10**9}, {"priority": Code.OUT_OF_RANGE}),
        ({"conditions": {}}, {"conditions": Code.INVALID}),
        ({"trigger": {"balance": {"pointsReach": 1}}, "nth": {"every": 1}, "eventMetadata": [{"path": "a", "value": 1}]},
         {"nth": Code.UNSUPPORTED, "eventMetadata": Code.UNSUPPORTED}),
        ({"trigger": {"balance": {"pointsReach": 1}}, "effects": [{"awardPoints": {"perAmount": {"points": 1, "each": 1}}}]},
         {"effects.0.awardPoints.perAmount": Code.UNSUPPORTED}),
        ({"trigger": {"event": {}}, "effects": [{"x": 1}], "priority": "high"},
         {"trigger.event.types": Code.REQUIRED, "effects.0": Code.INVALID, "priority": Code.INVALID}),
    ],
)  # fmt: skip
def test_bad_input_names_every_problem_with_its_path(raw: dict[str, object], expected: dict[str, Code]) -> None:
    assert problems_of(**raw) == expected


def test_template_that_does_not_parse_is_refused_with_its_position() -> None:
    effects = [{"updatePass": {"fields": {"greeting": "Hello\n{{ pass.holder.name | shout }}"}}}]
    with pytest.raises(Refused) as refused:
        read(effects=effects)
    [problem] = refused.value.problems
    assert problem.message.startswith("Line 2, column 23: There is no filter 'shout'.")


def test_rule_above_64_kilobytes_is_refused() -> None:
    leaf = {"pass": {"field": "fields.a", "operator": "IN", "value": ["x" * 900 + str(n) for n in range(90)]}}
    version = read(conditions={"any": [leaf, {"not": leaf}]})
    with pytest.raises(Refused) as refused:
        check_size(version)
    assert refused.value.problems[0].code is Code.TOO_LONG
    check_size(read())


def self_triggers(trigger: object, effect: object, **more: Any) -> bool:
    return bool(list(find_self_trigger(read(trigger=trigger, effects=[effect], **more), "bonus")))


def test_rule_whose_effect_matches_its_trigger_needs_limits() -> None:
    record = {"recordEvent": {"type": "gift", "amount": 5}}
    assert self_triggers({"event": {"types": ["gift"]}}, record)
    assert self_triggers({"event": {"types": ["gift"]}}, record, nth={"every": 1})
    assert self_triggers({"event": {"types": ["point_add"]}}, {"awardPoints": {"points": 1}})
    assert self_triggers({"event": {"types": ["point_sub"]}}, {"deductPoints": {"points": 1}})
    assert self_triggers({"event": {"types": ["gift"], "sources": ["rule:bonus"]}}, record)
    added = {"addToSegment": {"segmentId": "seg_1"}}
    assert self_triggers({"segmentEntered": {"segmentId": "seg_1"}}, added)
    assert not self_triggers({"segmentLeft": {"segmentId": "seg_1"}}, added)
    assert not self_triggers({"event": {"types": ["gift"]}}, record, limits={"perPass": {"count": 3}})
    assert not self_triggers({"event": {"types": ["gift"]}}, record, nth={"equals": 3})
    assert not self_triggers({"event": {"types": ["gift"], "sources": ["shop"]}}, record)
    assert not self_triggers({"event": {"types": ["gift"], "amountMin": 6}}, record)
    assert not self_triggers({"event": {"types": ["visit"]}}, record)
    assert not self_triggers({"balance": {"pointsReach": 5}}, {"awardPoints": {"points": 9}})


@pytest.mark.parametrize(
    ("award", "name"),
    [
        ({"points": "999999999999999", "multiplier": 2}, "multiplier"),
        ({"points": "999999999999999.5"}, "points"),
        ({"points": "999999999999999", "multiplier": "1"}, None),
    ],
)
def test_award_of_more_points_than_an_event_may_have_is_refused(award: dict[str, str], name: str | None) -> None:
    found = [problem.field for problem in find_too_many_points(read(effects=[{"awardPoints": award}]))]
    assert found == ([] if name is None else [("effects", "0", "awardPoints", name)])


def test_references_are_those_of_trigger_conditions_and_effects() -> None:
    version = read(
        trigger={"segmentEntered": {"segmentId": "seg_1"}},
        conditions={"not": {"segment": {"id": "seg_2"}}},
        effects=[{"removeFromSegment": {"segmentId": "seg_3"}}],
    )
    assert references_of_rule(version) == {"seg_1", "seg_2", "seg_3"}


NUMBERS = st.decimals("0.000001", "999999999999999", places=6).map(str)
AWARDS = st.fixed_dictionaries({
    "points": NUMBERS,
    "multiplier": NUMBERS,
    "pendingDays": st.integers(0, 3_650),
    "label": st.none() | st.just("a label"),
}).flatmap(lambda award: st.sampled_from([
    award,
    {**award, "expiresAfterDays": 3},
    {**award, "expiresAfterInactiveDays": 4},
    {**award, "expiresAt": "2027-01-01T00:00:00.000Z"},
    {**award, "expiresAtEndOf": {"unit": "QUARTER", "plus": 2}},
    {**award, "points": None, "perAmount": {"points": "2", "each": "1.5", "rounding": "UP", "decimals": 3}},
]))  # fmt: skip
EVENT_EFFECTS = st.one_of(
    AWARDS.map(lambda award: {"awardPoints": award}),
    NUMBERS.map(lambda points: {"deductPoints": {"points": points}}),
    st.dictionaries(st.sampled_from("ab"), st.sampled_from(["{{ now }}", 1, None, ["x"]])).map(
        lambda metadata: {"recordEvent": {"type": "gift", "amount": "29.30", "currency": "USD", "metadata": metadata}}
    ),
    st.just({"updatePass": {"fields": {"a": None}, "metadata": {"b": {"c": "x"}}}}),
    st.just({"addToSegment": {"segmentId": "seg_9"}}),
    st.just({"removeFromSegment": {"segmentId": "seg_9"}}),
)
RULES = st.fixed_dictionaries({
    "trigger": st.sampled_from([
        PURCHASE,
        {"event": {"types": ["b", "a"], "sources": ["s"], "categories": ["ACTIVITY"], "currency": "USD"}},
        {"event": {"types": ["a"], "amountMin": "1.50", "amountMax": 20}},
    ]),
    "effects": st.lists(EVENT_EFFECTS, min_size=1, max_size=10),
    "conditions": st.none()
    | st.just({"all": [{"segment": {"id": "seg_1"}}, {"event": {"value": 3, "within": {"days": 2}}}]}),
    "eventMetadata": st.none() | st.just([{"path": "stars", "operator": "GTE", "value": 4}]),
    "nth": st.sampled_from([None, {"equals": 3}, {"every": 4}]),
    "when": st.none() | st.fixed_dictionaries({
        "weekdays": st.lists(st.sampled_from(WEEKDAYS)),
        "from": st.none() | st.just("09:30"),
        "to": st.none() | st.just("24:00"),
    }),
    "limits": st.sampled_from([
        None, {"perPass": {"count": 1}}, {"perPass": {"count": 1, "calendar": "MONTH"}},
        {"perPass": {"count": 9, "within": {"minutes": 90}}},
    ]),
    "active": st.sampled_from([None, {"from": "2026-01-01T00:00:00Z"}, {"to": "2027-01-01T00:00:00+02:00"}]),
    "status": st.sampled_from(["ACTIVE", "PAUSED", "ARCHIVED"]),
    "group": st.none() | st.just("bonus"),
    "priority": st.integers(-5, 5),
    "onCorrection": st.sampled_from(["REVERSE", "KEEP"]),
    "historical": st.sampled_from(["IGNORE", "FIRE"]),
    "controlGroupPercent": st.integers(0, 100),
})  # fmt: skip


@given(RULES)
def test_stored_form_reads_as_the_same_rule(raw: dict[str, object]) -> None:
    version = parse_rule(raw, "EUR", "Asia/Tokyo", texts=TEXTS)
    stored = rule_to_dict(version)
    assert parse_rule(stored, "XXX", "UTC", texts=TEXTS, stored_meaning=MEANING) == version
    assert rule_to_dict(parse_rule(stored, "XXX", "UTC", texts=TEXTS)) == stored


SCRAPS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=True) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(
    st.sampled_from(["trigger", "effects", "conditions", "eventMetadata", "nth", "when", "limits", "active", "timezone",
                     "priority", "group", "status", "onCorrection", "historical", "controlGroupPercent"]),
    SCRAPS | st.sampled_from([{"event": {"types": 3}}, [{name: {}} for name in EFFECTS]]),
))  # fmt: skip
def test_input_of_any_shape_is_read_or_refused(raw: dict[str, object]) -> None:
    with suppress(Refused):
        parse_rule(raw, "EUR", "UTC", texts=TEXTS)
