"""Filters of the store select exactly the documents for which the domain says that the condition holds."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as laws
from hypothesis import strategies as st

from app.domain.errors import Code, InvalidInput
from app.domain.values.conditions import (
    CONDITION_OPERATORS,
    MAX_OPERAND_CHARACTERS,
    MAX_PATTERN_BYTES,
    Condition,
    Operator,
    parse_metadata_condition,
)
from app.domain.values.paths import split_keys
from app.domain.values.text import parse_object
from app.store.mongo.conditions import condition_to_filter
from app.store.mongo.queries import Database

KEYS = st.sampled_from(["a", "b", "0", "1", "a.b", "b.0", "a.b.a", "b.", "ä"])
TEXTS = st.sampled_from(["", "a", "b", "ab", "10", "9", "010", "1.5", "true", "null", "a.b", "<a>", "\0", "😀", "Ä\n."])
NUMBERS = st.sampled_from(
    [0, -0.0, 1, 1.0, 2, 9, 10, 10.5, -3, 1e16, 1e300, 5e-324, 0.1, 0.30000000000000004, 12345678.1234567, 2**53, -(2**53)]
)  # fmt: skip
SCALARS: st.SearchStrategy[Any] = st.none() | st.booleans() | NUMBERS | TEXTS
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3), max_leaves=6
)


def is_accepted(metadata: dict[str, Any]) -> bool:
    """Return whether an event may have the metadata: keys with points may nest it too deeply."""
    try:
        parse_object(metadata, max_bytes=10_000, splits_keys=True)
    except InvalidInput:
        return False
    return True


METADATA = st.dictionaries(KEYS, VALUES, max_size=3).filter(is_accepted).map(split_keys)
PATHS = st.lists(KEYS, min_size=1, max_size=3).map(".".join)
OPERANDS = st.booleans() | NUMBERS | TEXTS


def raw_operand(operator: Operator) -> st.SearchStrategy[Any]:
    """Return the operands that an operator may be given."""
    match operator:
        case Operator.IN | Operator.NOT_IN:
            return st.lists(OPERANDS, min_size=1, max_size=3)
        case Operator.CONTAINS:
            return TEXTS
        case Operator.GT | Operator.GTE | Operator.LT | Operator.LTE:
            return NUMBERS | TEXTS
        case Operator.EXISTS | Operator.NOT_EXISTS:
            return st.none()
    return OPERANDS


CONDITIONS = st.sampled_from(CONDITION_OPERATORS).flatmap(
    lambda operator: st.tuples(PATHS, raw_operand(operator)).map(
        lambda sent: parse_metadata_condition({"path": sent[0], "operator": operator.value, "value": sent[1]})
    )
)


@pytest.mark.not_on_java("there, a search for the empty text also finds the empty array")
@laws(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(documents=st.lists(METADATA, min_size=1, max_size=8), conditions=st.lists(CONDITIONS, min_size=1, max_size=6))
async def test_filter_selects_the_documents_for_which_the_condition_holds(
    db: Database, documents: list[dict[str, Any]], conditions: list[Condition]
) -> None:
    collection = db["documents"]
    await collection.delete_many({})
    await collection.insert_many({"_id": number, "metadata": each} for number, each in enumerate(documents))
    for condition in conditions:
        held = [number for number, each in enumerate(documents) if condition.holds(each)]
        found = await collection.find(condition_to_filter(condition, "metadata")).sort("_id", 1).to_list(None)
        assert [each["_id"] for each in found] == held, (condition, json.dumps(documents))


@pytest.mark.parametrize("text", ["x" * 1_000, "." * 500, "é" * 500, "😀" * 250, "\0" * 250, "a\n<b>\\" * 100])
async def test_longest_text_of_CONTAINS_is_found(db: Database, text: str) -> None:
    condition = parse_metadata_condition({"path": "note", "operator": "CONTAINS", "value": text})
    collection = db["documents"]
    await collection.insert_many(
        [{"_id": 1, "metadata": {"note": f"-{text}-"}}, {"_id": 2, "metadata": {"note": text[1:]}}]
    )
    found = await collection.find(condition_to_filter(condition, "metadata")).to_list(None)
    assert [each["_id"] for each in found] == [1]


@pytest.mark.parametrize(
    ("operator", "value"),
    [
        ("CONTAINS", "x" * (MAX_PATTERN_BYTES + 1)),
        ("CONTAINS", "x" * 40_000),
        ("CONTAINS", "." * (MAX_PATTERN_BYTES // 2 + 1)),
        ("CONTAINS", "😀" * (MAX_PATTERN_BYTES // 4 + 1)),
        ("EQ", "é" * (MAX_OPERAND_CHARACTERS + 1)),
        ("IN", ["a", "x" * (MAX_OPERAND_CHARACTERS + 1)]),
    ],
)
def test_longer_text_is_refused(operator: str, value: object) -> None:
    with pytest.raises(InvalidInput) as refused:
        parse_metadata_condition({"path": "note", "operator": operator, "value": value}, "metadata")
    [problem] = refused.value.problems
    assert (problem.code, problem.field[:2]) == (Code.TOO_LONG, ("metadata", "value"))
