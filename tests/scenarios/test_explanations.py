"""Explanations of the sample: they agree with the memberships, and name the instants at which the walk then moves passes."""

from __future__ import annotations

from datetime import timedelta

import pytest

from app.commands.explanations import explain
from app.domain.explanation.trees import iter_parts
from app.domain.values.instants import to_ms
from tests import sample
from tests.business import Business
from tests.explained import CRITERIA, NOW, open_explained

LATER = NOW + timedelta(days=500)


@pytest.mark.timeout(3_600 if sample.ALL_CUSTOMERS else 900)
async def test_explanations_agree_with_memberships_and_name_the_next_transitions(business: Business) -> None:
    """Every 120th customer is explained, or all of them with WHOLE_SAMPLE. Criteria of every kind, a rule and tiers."""
    explained = await open_explained(business, every=120)
    expected: dict[tuple[str, str], int | None] = {}
    members = 0
    for pass_id in explained.passes.values():
        card = (await business.worker.fold_queries.passes([pass_id]))[pass_id]
        for key, segment in explained.segments.items():
            found = await explain(business.ctx, pass_id, segment.id)
            assert found is not None
            explanation = found.explanation
            is_member = segment.id in card.memberships
            assert (explanation.is_member, explanation.version) == (is_member, 1), (key, found.text)
            if explanation.listed is None:
                assert explanation.tree.holds == is_member, (key, found.text)
            if is_member:
                members += 1
                assert explanation.since_ms == card.memberships[segment.id].since_ms
            outlook = explanation.outlook
            assert (outlook.until_ms is None) != (outlook.stable_until_ms is None)
            assert outlook.stable_until_ms is None or outlook.stable_until_ms >= to_ms(LATER), (key, outlook)
            expected[pass_id, segment.id] = outlook.until_ms
            assert found.text.endswith(".")
            assert len(list(iter_parts(explanation.tree))) >= 1
    business.clock.set(LATER)
    await business.run_worker()
    first: dict[tuple[str, str], int] = {}
    for activity in await business.read_log(include_silent=True):
        if activity.segment_id is not None and activity.occurred_at > NOW:
            first.setdefault((activity.pass_id, activity.segment_id), to_ms(activity.occurred_at))
    names = {segment.id: key for key, segment in explained.segments.items()}
    for (pass_id, segment_id), until_ms in expected.items():
        happened_ms = first.get((pass_id, segment_id))
        is_later = until_ms is not None and until_ms > to_ms(LATER)
        assert happened_ms == (None if is_later else until_ms), (names[segment_id], pass_id)
    assert members > 50
    assert len({segment_id for _, segment_id in first}) > 10, "passes must move for the instants to prove anything"
    assert set(CRITERIA) <= set(names.values())
