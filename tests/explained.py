"""A workspace with purchases of the sample file, and segments of every kind of criterion, with a rule and a tier program."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from app.commands.passes.lists import change_list
from app.commands.rules.rules import create_rule
from app.commands.tiers import set_tier_program
from app.domain.segments.segments import Segment
from tests import sample
from tests.business import Business, bought_within, no_purchase_for, purchases, spent

NOW = datetime(1998, 7, 1, tzinfo=UTC)
EVERY_METRIC = {"types": ["purchase"], "metric": "COUNT", "operator": "GTE", "value": 1}


def on_events(**fields: object) -> dict[str, object]:
    """Return a criterion on purchases."""
    return {"event": {**EVERY_METRIC, **fields}}


def on_pass(field_name: str, operator: str, value: object = None) -> dict[str, object]:
    """Return a criterion on the pass."""
    return {"pass": {"field": field_name, "operator": operator, "value": value}}


CRITERIA: dict[str, dict[str, Any]] = {
    "regulars": purchases(3),
    "spent_100": spent(100),
    "spent_currency": on_events(metric="SUM", operator="GT", value="50.5", currency="USD"),
    "recent": bought_within(60),
    "spender": spent(40, days=120),
    "few_lately": on_events(operator="LT", value=2, within={"days": 90}),
    "at_most_lately": on_events(metric="SUM", operator="LTE", value=30, within={"hours": 2_000}),
    "exactly_one": on_events(operator="EQ", value=1, within={"days": 200}),
    "away": no_purchase_for(60),
    "away_more": on_events(metric="DAYS_SINCE_LAST", operator="GT", value=30, never="FAILS"),
    "days_eq": on_events(metric="DAYS_SINCE_LAST", operator="EQ", value=90),
    "new": on_events(metric="DAYS_SINCE_FIRST", operator="LT", value=500),
    "in_1997": on_events(between={"from": "1997-01-01T00:00:00Z", "to": "1998-01-01T00:00:00Z"}, value=2),
    "by_metadata": on_events(metadata=[{"path": "store", "operator": "EQ", "value": "north"}], value=1),
    "sum_of_metadata": on_events(metric="SUM", field="metadata.items", value=5),
    "average": on_events(metric="AVG", operator="GT", value=30, within={"days": 300}),
    "smallest": on_events(metric="MIN", operator="LTE", value=12, within={"days": 400}),
    "greatest": on_events(metric="MAX", operator="GTE", value=40, within={"days": 250}),
    "different": on_events(metric="COUNT_DISTINCT", field="metadata.items", value=2, within={"days": 500}),
    "average_in_quarter": on_events(metric="AVG", operator="GT", value=30, calendar={"unit": "QUARTER", "offset": -1}),
    "smallest_in_year": on_events(metric="MIN", operator="LTE", value=15, calendar={"unit": "YEAR", "offset": -1}),
    "greatest_this_year": on_events(metric="MAX", operator="GTE", value=40, calendar={"unit": "YEAR"}),
    "different_in_year": on_events(
        metric="COUNT_DISTINCT", field="metadata.items", value=2, calendar={"unit": "YEAR", "offset": -1}
    ),
    "again": {
        "sequence": {
            "steps": [{"event": {"types": ["purchase"]}}, {"event": {"types": ["purchase"]}, "withinDays": 60}],
            "within": {"days": 365},
        }
    },
    "by_source": on_events(sources=["shop"], value=1),
    "points": on_pass("pointsBalance", "GTE", 50),
    "tier": on_pass("tier", "EQ", "silver"),
    "status": on_pass("status", "IN", ["ACTIVE", "REVOKED"]),
    "joined": on_pass("createdAt", "LTE", "1998-07-01T00:00:00Z"),
    "not_installed": on_pass("installedAt", "NOT_EXISTS"),
    "by_field": on_pass("fields.size", "GTE", 2),
    "combined": {"all": [{"any": [spent(60, days=100), purchases(5)]}, {"not": no_purchase_for(120)}]},
}
"""Criteria by the key of their segment. `in_recent` and `listed` are added by `open_explained`."""


@dataclass
class ExplainedBusiness:
    """The workspace, its segments by key, and the ids of its passes by customer."""

    business: Business
    segments: dict[str, Segment]
    passes: dict[str, str] = field(default_factory=dict)


async def open_explained(
    business: Business, *, every: int, criteria: Mapping[str, Any] = CRITERIA
) -> ExplainedBusiness:
    """Record the purchases of every n-th customer, and create a segment for each of the criteria."""
    business.clock.set(NOW)
    await set_tier_program(
        business.ctx,
        {
            "tiers": [
                {"key": "bronze", "name": "Bronze", "reach": spent(20, 365)},
                {"key": "silver", "name": "Silver", "reach": spent(90, 365)},
            ],
            "period": {"calendar": {"unit": "YEAR"}},
        },
    )
    segments = {key: await business.create_segment(key, tree) for key, tree in criteria.items()}
    if "recent" in segments:
        recent = segments["recent"].id
        segments["in_recent"] = await business.create_segment("in_recent", {"segment": {"id": recent, "member": False}})
        await create_rule(
            business.ctx,
            {
                "key": "win-back", "name": "Points for those who were away",
                "trigger": {"segmentLeft": {"segmentId": recent}},
                "effects": [{"awardPoints": {"points": 60, "expiresAfterDays": 45}}],
            },
        )  # fmt: skip
    segments["listed"] = await business.create_segment("listed", {"list": True})
    rows = sample.purchases(every=every)
    for start in range(0, len(rows), 1_000):
        await business.record(
            *(
                {
                    "pass_external_id": row.customer,
                    "amount": row.amount,
                    "occurred_at": row.at,
                    "external_id": str(row.row),
                    "source": "shop" if row.row % 3 else "web",
                    "metadata": {"store": "north" if row.row % 2 else "south", "items": row.row % 4},
                }
                for row in rows[start : start + 1_000]
            ),
            historical=True,
        )
    await business.run_worker()
    passes = await business.ctx.workspace.passes.ids_of(sorted({row.customer for row in rows}))
    chosen = sorted(passes.values())
    await change_list(business.ctx, segments["listed"].id, chosen[::3], [], "INCLUDE", adds=True)
    if "regulars" in segments:
        await change_list(business.ctx, segments["regulars"].id, chosen[::5], [], "EXCLUDE", adds=True)
    await business.run_worker()
    return ExplainedBusiness(business, segments, passes)
