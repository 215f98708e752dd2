"""Criteria that no pass can match, or that every pass matches, are found with their paths; others are not."""

from __future__ import annotations

import pytest

from app.domain.segments.parsing import parse_criteria
from app.domain.segments.satisfiability import find_constants
from tests.processor_time import spending_at_most


def event(operator: str, value: object, **options: object) -> dict[str, object]:
    return {"event": {"operator": operator, "value": value, **options}}


def of_pass(field: str, operator: str, value: object = None) -> dict[str, object]:
    return {"pass": {"field": field, "operator": operator, "value": value}}


def has(path: str, operator: str, value: object = None) -> dict[str, object]:
    return {"path": path, "operator": operator, "value": value}


def find(tree: dict[str, object]) -> list[str]:
    return [".".join(problem.field) for problem in find_constants(parse_criteria(tree, "EUR"))]


DAYS = {"metric": "DAYS_SINCE_LAST"}
SEQUENCE: dict[str, object] = {
    "sequence": {"steps": [{"event": {"types": ["purchase"]}}, {"event": {"types": ["refund"]}}]}
}


@pytest.mark.parametrize(
    ("leaf", "path"),
    [
        (event("LT", 0), "event.value"),
        (event("LTE", -1), "event.value"),
        (event("EQ", -3), "event.value"),
        (event("EQ", "2.5"), "event.value"),
        (event("GTE", 0), "event.value"),
        (event("GT", -1), "event.value"),
        (event("GT", "-0.5", within={"days": 3}), "event.value"),
        (event("GTE", 0, **DAYS), "event.value"),
        (event("GTE", 0, **DAYS, never="MATCHES"), "event.value"),
        (event("LT", 0, **DAYS), "event.value"),
        (event("LT", 0, metric="DAYS_SINCE_FIRST"), "event.value"),
        (event("GTE", 1, types=["purchase"], categories=["ACTIVITY"]), "event"),
        (event("GTE", 1, types=["pass_updated"]), "event"),
        (event("GTE", 1, types=["not a type!"]), "event"),
        (event("GTE", 1, types=["tasting"], categories=["FIELD_CHANGE"]), "event"),
        (event("GTE", 1, metadata=[has("a", "EXISTS"), has("a", "NOT_EXISTS")]), "event"),
        (event("GTE", 1, metadata=[has("a", "GT", 1), has("a", "NOT_EXISTS")]), "event"),
        (event("GTE", 1, metadata=[has("a", "EQ", 1), has("a", "NE", 1.0)]), "event"),
        (event("GTE", 1, metadata=[has("a", "IN", ["x", "y"]), has("a", "NE", "x"), has("a", "NE", "y")]), "event"),
        (of_pass("pointsBalance", "EXISTS"), "pass.operator"),
        (of_pass("createdAt", "NOT_EXISTS"), "pass.operator"),
        (of_pass("externalId", "EXISTS"), "pass.operator"),
        (of_pass("externalId", "EQ", ""), "pass.value"),
        (of_pass("externalId", "NE", ""), "pass.value"),
        (of_pass("externalId", "LT", ""), "pass.value"),
        (of_pass("holder.name", "LT", ""), "pass.value"),
        (of_pass("status", "NOT_IN", ["ACTIVE", "INACTIVE", "EXPIRED", "REVOKED"]), "pass.value"),
        (of_pass("status", "CONTAINS", "X-"), "pass.value"),
        (of_pass("status", "GTE", "A"), "pass.value"),
        (event("LT", 0, metric="MAX"), "event.value"),
        (event("EQ", -1, metric="AVG"), "event.value"),
        (event("LTE", -5, metric="MIN", within={"days": 3}), "event.value"),
        (event("GTE", 0, metric="COUNT_DISTINCT", field="source"), "event.value"),
        (event("EQ", "1.5", metric="COUNT_DISTINCT", field="source"), "event.value"),
        (of_pass("kind", "EXISTS"), "pass.operator"),
        (of_pass("kind", "IN", ["LOYALTY_CARD", "GIFT_CARD"]), "pass.value"),
        (of_pass("tier", "EQ", "gold"), "pass.value"),
        (of_pass("tier", "NE", "gold"), "pass.value"),
        (of_pass("tier", "EXISTS"), "pass.operator"),
    ],
)
def test_leaf_that_never_changes_its_result_is_named(leaf: dict[str, object], path: str) -> None:
    assert find(leaf) == [path]
    assert find({"not": leaf}) == [f"not.{path}"]
    assert find({"all": [event("GTE", 3), leaf]}) == [f"all.1.{path}"]


def test_step_that_no_event_can_take_is_named() -> None:
    steps = [{"event": {"types": ["purchase"]}}, {"event": {"types": ["refund"], "categories": ["ACTIVITY"]}}]
    assert find({"any": [{"sequence": {"steps": steps}}, event("GTE", 3)]}) == ["any.0.sequence.steps.1.event"]


@pytest.mark.parametrize(
    ("tree", "path"),
    [
        ({"all": [event("GTE", 5), event("LT", 3)]}, "all"),
        ({"all": [event("GTE", 5), event("LTE", "4.5")]}, "all"),
        ({"any": [event("GTE", 1), event("EQ", 0)]}, "any"),
        ({"all": [event("GT", 100, metric="SUM"), event("LT", "100.000001", metric="SUM")]}, None),
        ({"all": [event("GT", 100, metric="SUM"), event("LTE", 100, metric="SUM")]}, "all"),
        ({"all": [event("LT", 5, **DAYS), event("GT", 30, **DAYS)]}, "all"),
        ({"all": [event("LT", 5, **DAYS), event("EQ", 4, **DAYS)]}, None),
        ({"all": [event("LT", 4, **DAYS), event("EQ", 4, **DAYS)]}, "all"),
        ({"all": [event("GTE", 2), {"not": event("GTE", 2)}]}, "all"),
        ({"any": [event("GTE", 2), {"not": event("GTE", 3)}]}, "any"),
        ({"all": [event("GT", 9, metric="MIN"), event("LT", 9, metric="MIN")]}, "all"),
        ({"all": [event("GT", 9, metric="MIN"), event("LT", 9, metric="MAX")]}, None),
        ({"any": [event("GTE", 9, metric="AVG"), event("LT", 9, metric="AVG")]}, None),
        ({"all": [of_pass("consent.a", "EQ", True), of_pass("consent.a", "EQ", False)]}, "all"),
        ({"any": [of_pass("consent.a", "EQ", True), of_pass("consent.a", "EQ", False)]}, None),
        ({"all": [SEQUENCE, {"not": SEQUENCE}]}, "all"),
        ({"all": [of_pass("pointsBalance", "GT", 10), of_pass("pointsBalance", "LT", "10.5")]}, None),
        ({"all": [of_pass("pointsBalance", "GT", 10), of_pass("pointsBalance", "LT", 10)]}, "all"),
        ({"all": [of_pass("fields.a", "EQ", "x"), of_pass("fields.a", "EQ", "y")]}, None),
        ({"all": [of_pass("fields.a", "EQ", "x"), of_pass("fields.a", "NE", "x")]}, "all"),
        ({"all": [of_pass("fields.a", "IN", ["x"]), of_pass("fields..a", "NE", "x")]}, "all"),
        ({"all": [of_pass("fields.a", "GT", 5), of_pass("fields.a", "NOT_EXISTS")]}, "all"),
        ({"any": [of_pass("fields.a", "EXISTS"), of_pass("fields.a", "NOT_EXISTS")]}, "any"),
        ({"all": [of_pass("externalId", "EQ", "x"), of_pass("externalId", "EQ", "y")]}, "all"),
        ({"all": [of_pass("externalId", "CONTAINS", "x"), of_pass("externalId", "CONTAINS", "y")]}, None),
        ({"all": [of_pass("holder.email", "EQ", "a@b"), of_pass("holder.email", "CONTAINS", "@c")]}, "all"),
        ({"all": [of_pass("status", "NE", "ACTIVE"), of_pass("status", "LT", "B")]}, "all"),
        (
            {
                "all": [
                    of_pass("createdAt", "GT", "2026-01-02T00:00:00Z"),
                    of_pass("createdAt", "LT", "2026-01-02T01:00:00+01:00"),
                ]
            },
            "all",
        ),
        ({"all": [{"segment": {"id": "s"}}, {"segment": {"id": "s", "member": False}}]}, "all"),
        ({"any": [{"all": [event("GTE", 5), event("LT", 3)]}, event("GTE", 9)]}, "any.0.all"),
        ({"all": [{"any": [event("GTE", 5), event("EQ", 1)]}, event("EQ", 3)]}, "all"),
    ],
)
def test_criteria_that_exclude_each_other_are_named_together(tree: dict[str, object], path: str | None) -> None:
    assert find(tree) == ([] if path is None else [path])


@pytest.mark.parametrize(
    "leaf",
    [
        event("LT", 0, metric="MAX", field="points"), event("GTE", 0, metric="MIN"), SEQUENCE,
        event("GTE", 1), event("EQ", 0), event("LT", 1), event("LTE", 0), event("GT", 0), event("LT", "0.5"),
        event("LT", 0, metric="SUM"), event("GTE", 0, metric="SUM"), event("GTE", 0, **DAYS, never="FAILS"),
        event("GTE", 0, metric="DAYS_SINCE_FIRST"), event("LTE", 0, **DAYS), event("GT", 0, **DAYS),
        event("GTE", 1, types=["purchase", "visit"], categories=["ACTIVITY"]),
        event("GTE", 1, types=["tasting"], categories=["TRANSACTION"]),
        event("GTE", 1, metadata=[has("a", "EQ", 1), has("a", "EQ", 2)]),
        event("GTE", 1, metadata=[has("a", "EQ", 1), has("a", "NE", True)]),
        event("GTE", 1, metadata=[has("a", "EQ", 1), has("b", "NOT_EXISTS")]),
        of_pass("installedAt", "EXISTS"), of_pass("status", "EQ", "ACTIVE"), of_pass("status", "NE", "ACTIVE"),
        of_pass("fields.tier", "EQ", "gold"), of_pass("fields.a", "NOT_EXISTS"), of_pass("externalId", "GT", "m"),
        of_pass("externalId", "IN", ["", "ann"]), of_pass("holder.name", "EQ", ""), of_pass("fields.a", "LT", "a"),
        of_pass("createdAt", "GTE", "2026-01-01T00:00:00Z"), of_pass("holder.phone", "NOT_EXISTS"),
    ],
)  # fmt: skip
def test_criterion_that_some_passes_match_is_accepted(leaf: dict[str, object]) -> None:
    assert find(leaf) == []


def test_examination_of_a_large_tree_takes_little_time() -> None:
    wide: dict[str, object] = {"any": [event("GTE", number + 1, sources=[f"s{number}"]) for number in range(49)]}
    deep: dict[str, object] = event("GTE", 1)
    for number in range(6):
        deep = {"all": [deep, *(event("LT", number + 3, types=[f"t{number}{n}"]) for n in range(7))]}
    texts: dict[str, object] = {"all": [of_pass("fields.a", "CONTAINS", str(number)) for number in range(50)]}
    with spending_at_most(1.0):
        assert [find(tree) for tree in (wide, deep, texts)] == [[], [], []]
