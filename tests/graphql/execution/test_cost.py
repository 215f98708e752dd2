"""The cost of an operation: one point for each object that it may read or write."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from graphql import get_operation_ast, parse

from app.graphql.errors import RequestRefused
from app.graphql.execution.arguments import MAX_INPUT_ITEMS
from app.graphql.execution.cost import Pricing
from app.graphql.execution.requests import decode_json
from app.graphql.schema import schema


def compute_cost(query: str, **variables: Any) -> int:
    document = parse(query)
    operation = get_operation_ast(document)
    assert operation is not None
    return Pricing(schema, document).cost_of(operation, variables)


GROUPS = """query ($i: AggregateInput!) { aggregateEvents(input: $i) { ...Groups } }
fragment Groups on AggregateResult { groups { nodes { value } } }"""
RERUN = "mutation M($i: RerunInboundDeliveriesInput!) { rerunInboundDeliveries(input: $i) { userErrors { code } } }"
RECORD = "mutation M($i: RecordEventsInput!) { recordEvents(input: $i) { created results { status event { id } } } }"


@pytest.mark.parametrize(
    ("query", "variables", "expected"),
    [
        ("{ __typename }", {}, 1),
        ("{ viewer { apiKey { name } } }", {}, 2),
        ("{ node(id: \"x\") { id } rateLimit { cost } }", {}, 1),
        ("{ passes { nodes { id } } }", {}, 1 + 50),
        ("{ passes(first: 3) { nodes { id } pageInfo { endCursor } } }", {}, 1 + 3),
        ("{ passes(first: 3) { edges { cursor node { id } } totalCount } }", {}, 1 + 3 + 1),
        ("{ passes(last: 3) { nodes { events(first: 2) { nodes { pass { id } } } } } }", {}, 1 + 3 * (1 + 1 + 2 * 2)),
        ("{ segments(first: 3) { nodes { memberCount backfill { done } } } }", {}, 1 + 3 * 3),
        ("{ webhookEndpoints(first: 3) { nodes { pendingCount failedCount } } }", {}, 1 + 3 * (1 + 2)),
        ("query ($n: Int) { passes(first: $n) { nodes { id } } }", {"n": 7}, 1 + 7),
        ("query ($n: Int = 9) { passes(first: $n) { nodes { id } } }", {}, 1 + 9),
        ("query ($n: Int) { passes(first: $n) { nodes { id } } }", {"n": None}, 1 + 50),
        ("query ($n: Int) { passes(first: $n) { nodes { id } } }", {"n": "x"}, 1 + 50),
        ("query ($n: Int) { passes(first: $n) { nodes { id } } }", {"n": 10**30}, 1 + 250),
        ("query ($n: Int) { passes(first: $n) { nodes { id } } }", {"n": -5}, 1),
        ("{ passes(first: %s) { nodes { id } } }" % ("9" * 5_000), {}, 1 + 50),
        ("query ($ids: [ID!]!) { nodes(ids: $ids) { id } }", {"ids": ["a"] * 20}, 20),
        ("{ ...F } fragment F on Query { passes(first: 2) { ...G } } fragment G on PassConnection { nodes { id } }", {}, 3),
        (RECORD, {"i": {"events": [{}] * 100}}, 100 + 100 * 2),
        ("mutation { recordEvent(input: {type: \"x\"}) { event { id } userErrors { code } } }", {}, 1 + 1),
        ("{ ingestReceipt(token: \"x\") { token folded results { status event { id } } } }", {}, 1 + 1_000 * 2),
        ("subscription { activity { ... on ActivityEdge { node { pass { id } } } } }", {}, 1 + 1),
        ("{ eventTypes eventSources }", {}, 2),
        ("{ __schema { types { fields { name } } } }", {}, 500),
        ("{ a: __schema { types { name } } b: __type(name: \"Pass\") { name } __typename }", {}, 510),
        ("{ aggregateEvents(input: {first: 200}) { groups { nodes { value } } } }", {}, 1 + 1 + 200),
        ("{ aggregateEvents(input: {first: 200}) { groups(first: 3) { nodes { value } } } }", {}, 1 + 1 + 3),
        (GROUPS, {"i": {"first": Decimal("2e2")}}, 1 + 1 + 200),
        ("mutation { rerunInboundDeliveries(input: {hookId: \"x\"}) { userErrors { code } } }", {}, 100),
        (RERUN, {"i": {"first": 7}}, 7),
    ],
)  # fmt: skip
def test_cost_counts_each_object_that_the_operation_may_read_or_write(
    query: str, variables: dict[str, Any], expected: int
) -> None:
    assert compute_cost(query, **variables) == expected


def test_cost_of_a_fragment_bomb_is_computed_in_time_linear_in_its_text() -> None:
    levels = 40
    spreads = " ".join(f"fragment F{i} on Query {{ ...F{i + 1} ...F{i + 1} }}" for i in range(levels))
    document = f"{{ ...F0 }} {spreads} fragment F{levels} on Query {{ passes {{ nodes {{ id }} }} }}"
    # The fragments expand to 2**40 selections. Only a memoised sum finishes in time.
    assert compute_cost(document) == 51 * 2**levels


def test_pricing_returns_the_cost_for_the_variables_of_each_call() -> None:
    document = parse("query A { passes { nodes { id } } } query B($n: Int) { passes(first: $n) { nodes { id } } }")
    pricing = Pricing(schema, document)
    first, second = get_operation_ast(document, "A"), get_operation_ast(document, "B")
    assert first is not None
    assert second is not None
    assert [pricing.cost_of(first, {}) for _ in range(2)] == [51, 51]
    assert [pricing.cost_of(second, {"n": n}) for n in (1, 2)] == [2, 3]


@pytest.mark.parametrize("written", ["250", "250.0", "2.5e2", "0.25E+3", "250.00000000000000000000001"])
def test_page_size_is_priced_as_graphql_coerces_it(written: str) -> None:
    """A page of 250.0 items was priced as one of 50, and answered 250 items."""
    variables = decode_json(f'{{"n": {written}}}')
    assert compute_cost("query ($n: Int) { passes(first: $n) { nodes { id } } }", **variables) == 1 + 250


@pytest.mark.parametrize(
    ("variables", "items"),
    [
        ({"i": {"metadata": {"tags": ["a"] * 300}}}, 1),
        ({"i": {"type": "x", "metadata": [[1] * 300]}}, 1),
    ],
)
def test_lists_inside_of_json_scalars_are_no_items(variables: dict[str, Any], items: int) -> None:
    query = "mutation ($i: RecordEventInput!) { recordEvent(input: $i) { userErrors { code } } }"
    assert compute_cost(query, **variables) == items


def test_variables_with_too_many_items_are_refused_before_they_are_coerced() -> None:
    query = "query ($f: EventFilter) { events(filter: $f, first: 1) { nodes { id } } }"
    assert compute_cost(query, f={"types": ["a"] * 50}) == 2
    with pytest.raises(RequestRefused) as refused:
        compute_cost(query, f={"types": ["a"] * 5_001, "sources": ["a"] * 5_000})
    extensions = refused.value.errors[0]["extensions"]
    assert (extensions["code"], extensions["limit"], extensions["most"]) == ("LIMIT_EXCEEDED", "items", MAX_INPUT_ITEMS)
