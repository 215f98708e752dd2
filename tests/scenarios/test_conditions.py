"""One condition has one meaning: in lists, sums, segments, hooks, attributes and files, for odd values and paths."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import pytest

from app.commands.segments import create_segment
from app.domain.errors import Code
from app.domain.events.attributes import find_violations, parse_attributes
from app.domain.events.event_queries import EventQuery
from app.domain.events.events import Event
from app.domain.inbound.mappings import parse_mapping
from app.domain.segments.criteria import EventCriterion, iter_leaves
from app.domain.state.aggregations import METADATA, Aggregation, Function
from app.domain.state.measures import Total
from app.domain.state.windows import Window
from app.domain.values.conditions import parse_metadata_condition
from app.domain.values.decimals import ZERO, add_exactly
from app.store.mongo.paging import PageRequest
from tests.business import Business
from tests.grouping import aggregate_groups

METADATA_OF: Sequence[Mapping[str, Any]] = (
    {"v": "10"}, {"v": "010"}, {"v": ["10"]}, {"v": None}, {}, {"v": 10}, {"v": 10.0}, {"v": [10, "x"]}, {"v": True},
    {"v": ""}, {"v": []}, {"v": [None]}, {"v": [[10]]}, {"v": {"w": 10}}, {"v": 12345678.1234567}, {"v": -0.0},
    {"v": 0.30000000000000004}, {"v": "northern star"}, {"v": ["a", "starry"]}, {"v": "2026-01-31T09:30:00Z"},
    {"items": [{"sku": "a"}]}, {"items": [{"sku": "a", "n": 1.5}, {"sku": "b", "n": "2.25"}]}, {"items": {"sku": "a"}},
    {"items": [["sku", "a"], {"sku": None}]}, {"items": [{"sku": ["a", "c"]}]}, {"items": [{"0": {"sku": "b"}}]},
    {"utm.source": "mail"}, {"utm": {"source": "mail"}}, {"utm": "x", "utm.source": ["web", "mail"]},
    {"utm": [{"source.": "mail"}]}, {"v": "<b>.*"}, {"v": "10\u0000"}, {"v": "😀"}, {"v": False}, {"v": 1}, {"v": 1e300},
)  # fmt: skip
"""The metadata of one event of one pass each."""
CONDITIONS: Sequence[tuple[str, str, Any]] = (
    ("v", "GT", 9), ("v", "GT", "9"), ("v", "EQ", 10), ("v", "EQ", "10"), ("v", "EXISTS", None), ("v", "NOT_EXISTS", None),
    ("v", "NE", 10), ("v", "NE", "10"), ("v", "IN", ["10", 0, True]), ("v", "NOT_IN", ["10", 0, True]), ("v", "EQ", True),
    ("v", "EQ", 1), ("v", "LTE", 0), ("v", "LT", 0.30000000000000005), ("v", "EQ", 0.30000000000000004),
    ("v", "GTE", 12345678.1234567), ("v", "CONTAINS", "star"), ("v", "CONTAINS", "<b>.*"), ("v", "CONTAINS", "\u0000"),
    ("v", "EQ", ""), ("v", "GT", "2026-01-01T00:00:00Z"), ("v", "CONTAINS", "😀"), ("v.w", "EQ", 10), ("v.0", "EQ", 10),
    ("v.0", "EXISTS", None), ("items.sku", "EQ", "a"), ("items.sku", "NE", "a"), ("items.0.sku", "EQ", "b"),
    ("items.1.sku", "EQ", "b"), ("items.sku.1", "EQ", "c"), ("items", "EXISTS", None), ("items.n", "GT", 1),
    ("items.0", "CONTAINS", "a"), ("utm.source", "EQ", "mail"), ("utm.source", "NOT_EXISTS", None), ("utm", "EQ", "x"),
)  # fmt: skip


@pytest.fixture
async def recorded(business: Business) -> Business:
    """Record one visit for each metadata, on a pass of its own."""
    await business.record(
        *(
            {"type": "visit", "pass_external_id": f"{number:02}", "external_id": f"{number}", "metadata": each}
            for number, each in enumerate(METADATA_OF)
        )
    )
    await business.run_worker()
    return business


async def list_by_query(business: Business, **query: Any) -> list[str]:
    """Return the external ids of the passes whose events match."""
    page = await business.ctx.workspace.events.page(EventQuery(**query), PageRequest(1_000))
    return sorted(f"{int(event.external_id or 0):02}" for event in page.items)


async def test_each_condition_selects_the_same_events_everywhere(recorded: Business) -> None:
    workspace = recorded.ctx.workspace
    by_event, by_field = [], []
    for number, (path, operator, value) in enumerate(CONDITIONS):
        raw = {"path": path, "operator": operator, "value": value}
        event = {"event": {"value": 1, "types": ["visit"], "metadata": [raw]}}
        by_event.append(await create_segment(recorded.ctx, f"event-{number}", "Event", event))
        of_pass = {"pass": {"field": f"fields.{path}", "operator": operator, "value": value}}
        by_field.append(await create_segment(recorded.ctx, f"pass-{number}", "Pass", of_pass))
    # The fields of each pass are the metadata of its event.
    for number, each in enumerate(METADATA_OF):
        await recorded.ctx.resources.db["passes"].update_one(
            {"external_id": f"{number:02}"}, {"$set": {"profile.fields": each}}
        )
    await recorded.run_worker()
    counts = Aggregation(Function.COUNT)
    for number, (path, operator, value) in enumerate(CONDITIONS):
        raw = {"path": path, "operator": operator, "value": value}
        condition = parse_metadata_condition(raw)
        listed = await list_by_query(recorded, metadata=(condition,))
        groups = await workspace.aggregations.groups(EventQuery(metadata=(condition,)), counts, 10)
        mapping = parse_mapping(
            {"items": "list", "when": [raw], "fields": {"passExternalId": {"value": "x"}, "type": {"value": "visit"}}}
        )
        body = json.loads(json.dumps({"list": METADATA_OF}))
        mapped = [f"{item.index:02}" for item in mapping.map_items(body, {}, "id") if item.event is not None]
        assert await recorded.read_members(by_event[number]) == listed, raw
        assert sum(group.events for group in groups) == len(listed), raw
        assert mapped == listed, raw
        assert await recorded.read_members(by_field[number]) == listed, raw
    assert await list_by_query(
        recorded, metadata=(parse_metadata_condition({"path": "v", "operator": "GT", "value": 9}),)
    )


async def test_attributes_are_read_at_the_same_paths_as_conditions(recorded: Business) -> None:
    [attribute] = parse_attributes([{"name": "utm.source", "type": "TEXT", "required": True}])
    events = (await recorded.ctx.workspace.events.page(EventQuery(), PageRequest(1_000))).items
    absent = parse_metadata_condition({"path": "utm.source", "operator": "NOT_EXISTS"})
    for event in events:
        assert event.metadata == METADATA_OF[int(event.external_id or 0)], "answers show the metadata as it was sent"
        if not isinstance(event.details.get("utm"), list):
            # In a list, each element needs the attribute, and a condition holds for some element.
            is_missing = any(problem.code is Code.REQUIRED for problem in find_violations([attribute], event.details))
            assert is_missing is absent.holds(event.details)


SUMMED: Sequence[Mapping[str, Any]] = (
    *METADATA_OF, {"kwh": 1.5}, {"kwh": 0.30000000000000004}, {"kwh": 12345678.1234567}, {"kwh": "1,5"}, {"kwh": True},
    {"big": 1e300}, {"big": "0.1"}, {"utm.clicks": 1}, {"utm": {"clicks": "2"}},
)  # fmt: skip


@pytest.mark.parametrize(
    ("path", "total", "events"),
    [
        ("items.n", "3.75", 1),
        ("items.0.n", "1.5", 1),
        ("v.w", "10", 1),
        ("kwh", "12345679.92345670000000004", 3),
        ("big", "1" + "0" * 300 + ".1", 2),
        ("utm.clicks", "3", 2),
        ("v", None, None),
    ],
)
async def test_sum_of_a_criterion_equals_the_sum_of_the_events(
    business: Business, path: str, total: str | None, events: int | None
) -> None:
    """Numbers of any number of places are added exactly, those of all elements of a list too."""
    await business.record(*({"type": "visit", "metadata": each} for each in SUMMED))
    query = EventQuery(types=("visit",))
    aggregation, counted = Aggregation(Function.SUM, METADATA + path), list[Event]()
    await business.ctx.workspace.aggregations.read_counted(query, aggregation, 99, counted.extend)
    [group] = aggregate_groups(aggregation, counted)
    if total is not None:
        assert (group.value, group.events) == (Decimal(total), events)
    criterion = {"types": ["visit"], "metric": "SUM", "field": METADATA + path, "operator": "GT", "value": 0}
    for key, options in (("ever", {}), ("lately", {"within": {"days": 30}})):
        segment = await business.create_segment(key, {"event": {**criterion, **options}})
        assert await business.read_members(segment) == ["ann"]
        [leaf] = [leaf for leaf in iter_leaves(segment.criteria) if isinstance(leaf, EventCriterion)]
        state = (await business.read_pass()).measures[leaf.measure.key]
        assert isinstance(state, (Total, Window))
        assert state.value == group.value
    await business.record({"type": "visit", "metadata": {path: 0.25}})
    await business.run_worker()
    [total_state] = [state for state in (await business.read_pass()).measures.values() if isinstance(state, Total)]
    assert total_state.value == add_exactly(group.value or ZERO, Decimal("0.25"))
