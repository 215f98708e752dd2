"""Warnings about criteria that are valid and look like a mistake."""

from __future__ import annotations

from dataclasses import replace

import pytest

from app.domain.errors import InvalidInput
from app.domain.events.attributes import parse_attributes
from app.domain.events.event_types import EventTypes, built_in_type
from app.domain.segments.parsing import parse_criteria
from app.domain.segments.warnings import find_warnings

ATTRIBUTES = parse_attributes(
    [
        {"name": "guests", "type": "NUMBER"},
        {"name": "color", "type": "ENUM", "allowedValues": ["red", "white"]},
        {"name": "member", "type": "BOOLEAN"},
        {"name": "day", "type": "DATE"},
        {"name": "wine", "type": "OBJECT"},
        {"name": "items", "type": "LIST"},
        {"name": "items.price", "type": "NUMBER"},
        {"name": "tags", "type": "TEXT", "list": True},
    ]
)
TASTING = replace(built_in_type("w", "visit"), key="tasting", attributes=ATTRIBUTES)
TYPES = EventTypes("w", defined={"tasting": TASTING})


def warn(tree: dict[str, object]) -> list[tuple[str, str]]:
    criteria = parse_criteria(tree, "EUR", "criteria")
    return [(problem.code.value, ".".join(problem.field)) for problem in find_warnings(criteria, TYPES, {"seen"}, "c")]


def condition(path: str, operator: str, value: object, **options: object) -> dict[str, object]:
    metadata = [{"path": path, "operator": operator, "value": value}]
    return {"event": {"value": 1, "metadata": metadata, **options}}


@pytest.mark.parametrize(
    ("tree", "warnings"),
    [
        ({"event": {"value": 1, "types": ["purchase", "seen", "tasting"]}}, []),
        ({"event": {"value": 1, "types": ["purchas"]}}, [("UNKNOWN", "c.event.types.0")]),
        ({"any": [{"not": {"event": {"value": 1, "types": ["a", "visit", "zoo"]}}}]},
         [("UNKNOWN", "c.any.0.not.event.types.0"), ("UNKNOWN", "c.any.0.not.event.types.2")]),
        (condition("guests", "EQ", "3", types=["tasting"]), [("INVALID", "c.event.metadata.0.value")]),
        (condition("guests", "GT", 3, types=["tasting"]), []),
        (condition("guests", "EQ", "3", types=["visit"]), []),
        (condition("guests", "EQ", "3"), [("INVALID", "c.event.metadata.0.value")]),
        (condition("color", "IN", ["red", "rose", 1]),
         [("UNKNOWN", "c.event.metadata.0.value.1"), ("INVALID", "c.event.metadata.0.value.2")]),
        (condition("member", "EQ", "true"), [("INVALID", "c.event.metadata.0.value")]),
        (condition("day", "LT", 2026), [("INVALID", "c.event.metadata.0.value")]),
        (condition("day", "LT", "2026-01-31"), []),
        (condition("wine", "EQ", "x"), [("INVALID", "c.event.metadata.0.value")]),
        (condition("items.price", "GT", "9"), [("INVALID", "c.event.metadata.0.value")]),
        (condition("items.0.price", "GT", "9"), [("INVALID", "c.event.metadata.0.value")]),
        (condition("items.price", "GT", 9), []),
        (condition("items.prize", "GT", 9, types=["tasting"]), [("UNKNOWN", "c.event.metadata.0.path")]),
        (condition("items.prize", "GT", 9), []),
        (condition("tags", "EQ", "a"), []),
        (condition("other", "EQ", "a"), []),
        (condition("other", "GT", "now-30d"), [("UNSUPPORTED", "c.event.metadata.0.value")]),
        ({"event": {"value": 5, "metric": "SUM", "field": "metadata.color"}}, [("INVALID", "c.event.field")]),
        ({"event": {"value": 5, "metric": "SUM", "field": "metadata.items.price"}}, []),
        ({"event": {"value": 5, "metric": "AVG", "field": "metadata.guest", "types": ["tasting"]}},
         [("UNKNOWN", "c.event.field")]),
        ({"event": {"value": 5, "metric": "MIN", "field": "metadata.color"}}, [("INVALID", "c.event.field")]),
        ({"event": {"value": 5, "metric": "COUNT_DISTINCT", "field": "metadata.color"}}, []),
        ({"sequence": {"steps": [{"event": {"types": ["visti"]}}, condition("guests", "EQ", "3")]}},
         [("UNKNOWN", "c.sequence.steps.0.event.types.0"), ("INVALID", "c.sequence.steps.1.event.metadata.0.value")]),
        ({"pass": {"field": "fields.expires", "value": "today"}}, [("UNSUPPORTED", "c.pass.value")]),
        ({"pass": {"field": "fields.expires", "operator": "IN", "value": ["x", " Yesterday"]}},
         [("UNSUPPORTED", "c.pass.value.1")]),
        ({"pass": {"field": "metadata.at", "operator": "GT", "value": "-365d"}}, [("UNSUPPORTED", "c.pass.value")]),
        ({"pass": {"field": "metadata.at", "operator": "GT", "value": "30 days ago"}}, [("UNSUPPORTED", "c.pass.value")]),
        ({"pass": {"field": "fields.name", "value": "Today Ltd"}}, []),
        ({"pass": {"field": "fields.size", "value": "-5"}}, []),
        ({"pass": {"field": "fields.today", "operator": "EXISTS"}}, []),
    ],
)  # fmt: skip
def test_likely_mistake_is_named_with_its_path(tree: dict[str, object], warnings: list[tuple[str, str]]) -> None:
    assert warn(tree) == warnings


def test_warning_suggests_the_name_that_was_meant() -> None:
    """Misspelled types, attributes and fields come with a suggestion (segments, section 1: warnings)."""
    criteria = parse_criteria(condition("guest", "GT", 1, types=["tasting", "Visit", "purchse", "zoo"]), "EUR")
    assert [problem.message.rpartition(".")[2].strip() for problem in find_warnings(criteria, TYPES, set())] == [
        "Did you mean 'visit'?", "Did you mean 'purchase'?", "", "Did you mean 'guests'?",
    ]  # fmt: skip
    for tree, suggestion in (
        ({"pass": {"field": "pointBalance", "value": 1}}, "Did you mean 'pointsBalance'?"),
        ({"event": {"metric": "SUM", "field": "points.earnt", "value": 1}}, "Did you mean 'points.earned'?"),
    ):
        with pytest.raises(InvalidInput) as refused:
            parse_criteria(tree, "EUR")
        assert suggestion in refused.value.problems[0].message
