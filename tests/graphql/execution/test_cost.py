"""The cost of an operation: one point for each object that it may read or write."""

from __future__ import annotations

from typing import Any

import pytest
from graphql import get_operation_ast, parse

from app.graphql.execution.cost import Pricing
from app.graphql.schema import schema


def compute_cost(query: str, **variables: Any) -> int:
    document = parse(query)
    operation = get_operation_ast(document)
    assert operation is not None
    return Pricing(schema, document).cost_of(operation, variables)


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
        ("{ __schema { types { fields { name } } } }", {}, 1),
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
