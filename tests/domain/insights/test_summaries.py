"""Summaries of a period over all customers."""

from __future__ import annotations

import itertools
from dataclasses import replace
from decimal import Decimal
from random import Random

import pytest

from app.domain.events.events import RULE_CHANNEL, Origin
from app.domain.insights.summaries import summarize, summarize_each
from app.domain.rollups.rows import row_of
from app.domain.state.aggregates import fold_events
from app.domain.state.statistics import build_statistics
from tests.domain.state.test_spend import random_events
from tests.domain.state.test_statistics import event


@pytest.mark.parametrize("seed", range(20))
def test_revenue_of_all_events_is_the_spend_of_one_pass_that_has_them_all(seed: int) -> None:
    events = list(random_events(Random(seed)))
    made = fold_events({}, (each for each in events if each.is_made))
    recorded = fold_events({}, (each for each in events if not each.is_made))
    statistics, summary = build_statistics(recorded, made=made), summarize(map(row_of, events))
    assert tuple(summary.revenue) == statistics.spend
    assert summary.total_events == statistics.event_count
    assert summary.purchases == sum(row.orders for row in statistics.spend) + sum(
        1 if each.type in ("purchase", "checkout") else -1 if each.type == "checkout_reject" else 0
        for each in events
        if each.amount is None and not each.is_made
    )


def test_counts_are_those_of_recorded_events_by_type() -> None:
    kinds = ("visit", "check_in", "purchase", "checkout", "redemption", "redemption", "redemption_rollback")
    events = [event(number, kind, "10") for number, kind in enumerate(kinds, start=1)]
    awarded = replace(event(20, "visit", "1"), origin=Origin(RULE_CHANNEL))
    summary = summarize(map(row_of, [*events, awarded]))
    assert dict(summary.by_type) == {kind: kinds.count(kind) for kind in sorted(set(kinds))}
    assert (summary.visits, summary.purchases, summary.redemptions, summary.total_events) == (2, 2, 1, 7)
    assert [(row.net, row.orders, row.average) for row in summary.revenue] == [(Decimal(20), 2, Decimal(10))]


def test_summaries_of_parts_have_the_events_of_each_part() -> None:
    rows = [row_of(event(number, "visit")) for number in (1, 2, 2, 4)]
    day = [row_of(event(number, "visit")).start_ms for number in range(1, 6)]
    found = summarize_each(rows, list(itertools.pairwise(day)))
    assert [each.total_events for each in found] == [1, 2, 0, 1]
