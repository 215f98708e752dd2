"""Segments that shops of the field define, by count, by value, by recency and by what happened: who is in which."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

from app.commands.passes.passes import create_passes
from app.commands.segments import create_segment
from app.domain.passes.inputs import PassInput
from tests.business import Business, no_purchase_for

Criteria = Mapping[str, object]
NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)


def happened(event_type: str, operator: str = "GTE", value: int = 1, days: int | None = None) -> Criteria:
    """Return the criteria `so many events of a type`, within so many days if given."""
    window = {} if days is None else {"within": {"days": days}}
    return {"event": {"types": [event_type], "metric": "COUNT", "operator": operator, "value": value, **window}}


def summed(operator: str, value: int, **of_event: object) -> Criteria:
    """Return the criteria `a sum over events`."""
    return {"event": {"metric": "SUM", "operator": operator, "value": value, **of_event}}


def idle(days: int, **of_event: object) -> Criteria:
    """Return the criteria `no event for so many days`."""
    return {"event": {"metric": "DAYS_SINCE_LAST", "operator": "GTE", "value": days, **of_event}}


EXAMPLES: Mapping[str, tuple[Criteria, str]] = {
    # By count (WH1-08, V1-04, V1-06). A pass without events has none of them.
    "purchases >= 5": (happened("purchase", value=5), "regular"),
    "visits >= 10": (happened("visit", value=10), "visitor"),
    "redemptions = 0": (happened("redemption", "EQ", 0), "gone new regular visitor"),
    "more than 4 purchases": (happened("purchase", "GT", 4), "regular"),
    "exactly 1 purchase": (happened("purchase", "EQ", 1), "gone"),
    "less than 1 purchase": (happened("purchase", "LT", 1), "member new visitor"),
    # By total value (WH1-09).
    "spend >= 500": (summed("GTE", 500, types=["purchase"]), "regular"),
    "spend < 50": (summed("LT", 50, types=["purchase"]), "gone member new visitor"),
    "earned >= 1000 points": (summed("GTE", 1000, field="points.earned"), "member"),
    # By recency (WH1-10). Who never bought is counted from the creation of the pass, unless `never` says otherwise.
    "purchase within 30 days": (happened("purchase", days=30), "regular"),
    "no purchase in 60 days": (no_purchase_for(60), "gone"),
    "never, or no purchase in 60 days": (idle(60, types=["purchase"], never="MATCHES"), "gone member new visitor"),
    "no activity in 90 days": (idle(90), "gone"),
    # By activity (WH1-11).
    "registered in 7 days": (happened("pass_registered", days=7), "member"),
    "installed in 30 days": (happened("pass_installed", days=30), "visitor"),
    "uninstalled": (happened("pass_uninstalled"), "gone"),
    "clicked a link": (happened("link_click"), "member"),
    "opened a notification in 7 days": (happened("notification_opened", days=7), ""),
    "12 check-ins in the last month": (happened("check_in", value=12, days=30), "visitor"),
    "checked in and out": ({"all": [happened("check_in"), happened("check_out")]}, "visitor"),
    # By the three kinds of filters that another system has (WH3-02).
    "custom field in": ({"pass": {"field": "fields.city", "operator": "IN", "value": ["Bonn", "Kiel"]}}, "new"),
    "sum of a category": (
        summed("GTE", 150, categories=["TRANSACTION"], field="amount", within={"days": 60}), "regular",
    ),
    "not within days": ({"not": happened("visit", days=20)}, "gone member new regular"),
}  # fmt: skip


async def test_shops_examples_of_segments_hold_the_customers_that_they_describe(business: Business) -> None:
    """Segments by count, value, recency and activity (WH1-08 to 11, WH3-02, V1-04, V1-06)."""
    business.clock.set(NOW)
    await create_passes(business.ctx, [PassInput("new", fields={"city": "Kiel"}), PassInput("gone")])
    await business.create_passes("regular", "visitor", "member")
    moments = {"regular": 29, "visitor": 8, "member": 40, "gone": 100}
    recorded: Mapping[str, Sequence[Mapping[str, object]]] = {
        "regular": [{"type": "purchase", "amount": 100}] * 5,
        "visitor": [
            {"type": "pass_installed"}, *[{"type": "visit"}] * 10, *[{"type": "check_in"}] * 12, {"type": "check_out"},
        ],
        "member": [
            {"type": "redemption", "points": -300}, {"type": "custom", "points": 1300}, {"type": "link_click"},
            {"type": "notification_opened"},
        ],
        "gone": [{"type": "purchase", "amount": 49}, {"type": "pass_uninstalled"}],
    }  # fmt: skip
    items = [
        {"pass_external_id": name, "occurred_at": NOW - timedelta(days=moments[name]), **item}
        for name, own in recorded.items()
        for item in own
    ]
    await business.record(*items, {"pass_external_id": "member", "type": "pass_registered"})
    await business.run_worker()
    segments = {
        title: await create_segment(business.ctx, f"example-{number}", title, criteria)
        for number, (title, (criteria, _)) in enumerate(EXAMPLES.items())
    }
    await business.run_worker()
    found = {title: " ".join(await business.read_members(segment)) for title, segment in segments.items()}
    assert found == {title: members for title, (_, members) in EXAMPLES.items()}


async def test_visit_is_counted_on_the_pass_and_joins_the_feed_with_what_follows(business: Business) -> None:
    """A scan at the counter is a visit; the feed tells it, and the entry that it causes (WH1-17, V2-03)."""
    often = await business.create_segment("often", happened("visit", value=2))
    for number in (1, 2):
        outcome = await business.record({"type": "visit", "source": "counter-scanner"})
        assert outcome.created == 1
        await business.run_worker()
        card = await business.read_pass()
        assert sum(row.count for (kind, _), row in card.aggregates.items() if kind == "visit") == number
    told = [(each.type, each.segment_id) for each in await business.read_log()]
    assert told[-3:] == [
        ("customer.custom_event", None), ("customer.custom_event", None), ("customer.segment.entered", often.id),
    ]  # fmt: skip
