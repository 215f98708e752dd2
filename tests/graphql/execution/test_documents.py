"""Documents: checked once, remembered, and refused in linear time when they are too large."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from types import FrameType

import pytest
from graphql import Node, build_schema

from app.graphql.errors import RequestRefused
from app.graphql.execution.documents import Documents
from app.graphql.execution.limits import Limits

SCHEMA = build_schema("type Query { a: Query b(x: [Int]): Int c: [Query] }")


def refusal(document: str, limits: Limits | None = None) -> list[dict[str, object]]:
    with pytest.raises(RequestRefused) as refused:
        Documents(SCHEMA, limits).operation(document, None)
    return refused.value.errors


def nested(depth: int) -> str:
    return "{" + "a {" * depth + "b" + "}" * depth + "}"


def bomb(levels: int) -> str:
    spreads = " ".join(f"fragment F{i} on Query {{ ...F{i + 1} ...F{i + 1} }}" for i in range(levels))
    return f"{{ ...F0 }} {spreads} fragment F{levels} on Query {{ b }}"


def test_a_document_is_checked_once_and_failures_are_remembered_too() -> None:
    documents = Documents(SCHEMA)
    assert documents.operation("{ b }", None)[0] is documents.operation("{ b }", None)[0]
    errors = []
    for _ in range(2):
        with pytest.raises(RequestRefused) as refused:
            documents.operation("{ nope }", None)
        errors.append(refused.value.errors)
    assert errors[0] == errors[1]
    assert errors[0][0] is not errors[1][0], "nobody shares an error with another request"


def test_a_refused_document_leaves_nothing_behind_but_its_errors() -> None:
    documents = Documents(SCHEMA)

    def parsed() -> int:
        gc.collect()
        return sum(isinstance(each, Node) for each in gc.get_objects())

    before = parsed()
    for number in range(3):
        with pytest.raises(RequestRefused):
            documents.operation(f"query Q{number} {{ {'nope ' * 1_000} }}", None)
    assert parsed() - before < 1_000


@pytest.mark.parametrize(
    "document",
    [
        nested(20),
        nested(5_000),
        "{ b(x: " + "[" * 3_000 + "]" * 3_000 + ") }",
        "{" + "b " * 3_000 + "}",
        "{" + " ".join(f"x{i}: b" for i in range(150)) + "}",
        "{ b " + "@skip(if: false) " * 150 + "}",
        "{" + " ".join(["...F"] * 300) + "} fragment F on Query { b }",
        bomb(40),
        "{ ...F } fragment F on Query { a { ...F } }",
        "{ b " * 2_000,
        "query(" + " ".join(f"$v{i}: Int" for i in range(9_000)) + ") { b }",
    ],
)
def test_a_document_too_large_is_refused(document: str) -> None:
    assert refusal(document)[0]["extensions"]


def test_the_work_for_a_fragment_bomb_grows_with_its_text_and_not_with_what_it_spreads_to() -> None:
    assert len(bomb(20)) < 900
    assert calls_of(lambda: refusal(bomb(20))) < 3 * calls_of(lambda: refusal(bomb(10)))


def calls_of(work: Callable[[], object]) -> int:
    """How many calls of Python functions the work makes: the same on any machine, however busy."""
    count = 0

    def counted(frame: FrameType, event: str, argument: object) -> None:
        nonlocal count
        count += event == "call"

    sys.setprofile(counted)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count


def test_what_fits_passes() -> None:
    documents = Documents(SCHEMA, Limits(depth=3))
    documents.operation(nested(2), None)
    assert "depth" in str(refusal(nested(3), Limits(depth=3))[0]["message"])


def test_old_documents_are_forgotten_first() -> None:
    documents = Documents(SCHEMA)
    first = documents.operation("{ b }", None)[0]
    for number in range(1_000):
        documents.operation(f"{{ b }} # {number}", None)
    assert documents.operation("{ b }", None)[0] is not first
