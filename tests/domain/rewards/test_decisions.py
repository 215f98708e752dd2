"""Why a pass cannot redeem a reward: each reason, with a sentence that a till can print."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from app.domain.passes.passes import Profile
from app.domain.rewards.decisions import Redeemer, why_not
from app.domain.rewards.parsing import parse_reward
from app.domain.rewards.rewards import RewardVersion
from app.domain.segments.evaluation import EvaluationContext
from app.domain.state.redeemed import Redeemed
from app.domain.values.instants import DAY_MS, to_ms
from tests.domain.fold.test_advance import new_pass

AT = datetime(2026, 3, 10, 12, tzinfo=UTC)
AT_MS = to_ms(AT)


def reward(*, archived: bool = False, **terms: Any) -> RewardVersion:
    return RewardVersion(
        "reward_1", "coffee", 1, version=1, at=AT, terms=parse_reward(terms, "EUR", "UTC"), archived=archived
    )


def redeemer(points: int = 100, redeemed: Redeemed | None = None, **profile: Any) -> Redeemer:
    card = new_pass(AT_MS - DAY_MS)
    context = EvaluationContext(
        AT_MS, {}, {"seg_1": object()}, card=card, profile=Profile(**profile), points=Decimal(points), joined_ms=AT_MS
    )
    return Redeemer(context, redeemed or Redeemed())


def codes(version: RewardVersion | None, who: Redeemer, quantity: int = 1, **options: Any) -> list[str]:
    cost = Decimal(0) if version is None else version.terms.points_cost * quantity
    return [reason.code for reason in why_not(version, who, quantity, cost=cost, **options)]


def test_reward_without_terms_can_be_redeemed_by_every_active_pass() -> None:
    assert codes(reward(), redeemer(points=-5)) == []
    assert codes(reward(), redeemer(status="INACTIVE")) == ["PASS_NOT_ACTIVE"]


def test_archived_reward_is_not_active() -> None:
    assert codes(None, redeemer()) == codes(reward(archived=True), redeemer()) == ["NOT_ACTIVE"]


@pytest.mark.parametrize(
    ("active", "found"),
    [
        ({"from": "2026-03-10T12:00:00Z"}, []),
        ({"from": "2026-03-10T12:00:00.001Z"}, ["NOT_ACTIVE"]),
        ({"to": "2026-03-10T12:00:00.001Z"}, []),
        ({"to": "2026-03-10T12:00:00Z"}, ["NOT_ACTIVE"]),
    ],
)
def test_active_period_includes_its_start_and_not_its_end(active: dict[str, str], found: list[str]) -> None:
    assert codes(reward(active=active), redeemer()) == found


def test_reward_costs_points_for_each_unit() -> None:
    assert codes(reward(pointsCost=50), redeemer(100), 2) == []
    assert codes(reward(pointsCost=50), redeemer(99), 2) == ["INSUFFICIENT_POINTS"]
    [reason] = why_not(reward(pointsCost="50.5"), redeemer(7), 1, cost=Decimal("50.5"))
    assert reason.message == "The pass has 7 points; 50.5 are needed."


def test_segment_may_be_required_or_excluded() -> None:
    """V1-13: only members of a segment may redeem, or all but them."""
    inside, outside = {"segment": {"id": "seg_1"}}, {"segment": {"id": "seg_2"}}
    assert codes(reward(criteria=inside), redeemer()) == []
    assert codes(reward(criteria=outside), redeemer()) == ["NOT_IN_SEGMENT"]
    assert codes(reward(criteria={"not": inside}), redeemer()) == ["NOT_IN_SEGMENT"]
    assert codes(reward(criteria={"not": outside}), redeemer()) == []


@pytest.mark.parametrize(
    ("limit", "redeemed_at_ms", "found"),
    [
        ({"count": 2}, AT_MS - 500 * DAY_MS, ["LIMIT_PER_PASS"]),
        ({"count": 3}, AT_MS - 500 * DAY_MS, []),
        ({"count": 2, "within": {"days": 1}}, AT_MS - DAY_MS, []),
        ({"count": 2, "within": {"days": 1}}, AT_MS - DAY_MS + 1, ["LIMIT_PER_PASS"]),
        ({"count": 2, "calendar": "DAY"}, to_ms(datetime(2026, 3, 10, tzinfo=UTC)) - 1, []),
        ({"count": 2, "calendar": "DAY"}, to_ms(datetime(2026, 3, 10, tzinfo=UTC)), ["LIMIT_PER_PASS"]),
    ],
)
def test_limit_counts_units_ever_in_a_window_or_in_a_period(
    limit: dict[str, Any], redeemed_at_ms: int, found: list[str]
) -> None:
    before = Redeemed().with_taken(redeemed_at_ms, 2)
    assert codes(reward(limits={"perPass": limit}), redeemer(redeemed=before)) == found


def test_all_reasons_are_named_at_once() -> None:
    version = reward(pointsCost=500, criteria={"segment": {"id": "seg_2"}}, limits={"perPass": {"count": 1}})
    found = codes(version, redeemer(status="REVOKED"), 2, is_sold_out=True)
    assert found == ["PASS_NOT_ACTIVE", "NOT_IN_SEGMENT", "LIMIT_PER_PASS", "INSUFFICIENT_POINTS", "SOLD_OUT"]
