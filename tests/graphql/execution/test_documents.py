"""Documents: they are validated once and cached, and the time to refuse a large one is linear in its length."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from types import FrameType

import pytest
from graphql import Node, build_schema

from app.graphql.errors import MAX_MESSAGE_CHARACTERS, RequestRefused
from app.graphql.execution.documents import MAX_DOCUMENT_CHARACTERS, MAX_ERRORS, Documents
from app.graphql.execution.limits import Limits
from app.graphql.schema import schema
from tests.processor_time import spending_at_most

SCHEMA = build_schema("type Query { a: Query b(x: [Int]): Int c: [Query] }")


def refuse(document: str, limits: Limits | None = None) -> list[dict[str, object]]:
    """Return the errors with which the document is refused."""
    with pytest.raises(RequestRefused) as refused:
        Documents(SCHEMA, limits).find_operation(document, None)
    return refused.value.errors


def build_nested(depth: int) -> str:
    return "{" + "a {" * depth + "b" + "}" * depth + "}"


def build_bomb(levels: int) -> str:
    """Return a short document whose fragments expand to 2**levels fields."""
    spreads = " ".join(f"fragment F{i} on Query {{ ...F{i + 1} ...F{i + 1} }}" for i in range(levels))
    return f"{{ ...F0 }} {spreads} fragment F{levels} on Query {{ b }}"


def test_document_is_validated_once_and_its_errors_are_cached_too() -> None:
    documents = Documents(SCHEMA)
    assert documents.find_operation("{ b }", None)[0] is documents.find_operation("{ b }", None)[0]
    errors = []
    for _ in range(2):
        with pytest.raises(RequestRefused) as refused:
            documents.find_operation("{ nope }", None)
        errors.append(refused.value.errors)
    assert errors[0] == errors[1]
    assert errors[0][0] is not errors[1][0], "two requests must not share an error object"


def test_cache_keeps_only_the_errors_of_a_refused_document() -> None:
    documents = Documents(SCHEMA)

    def count_nodes() -> int:
        gc.collect()
        # isinstance would follow weak references of other tests, whose objects may be gone.
        return sum(issubclass(type(each), Node) for each in gc.get_objects())

    before = count_nodes()
    for number in range(3):
        with pytest.raises(RequestRefused):
            documents.find_operation(f"query Q{number} {{ {'nope ' * 1_000} }}", None)
    assert count_nodes() - before < 1_000


@pytest.mark.parametrize(
    "document",
    [
        build_nested(20),
        build_nested(5_000),
        "{ b(x: " + "[" * 3_000 + "]" * 3_000 + ") }",
        "{" + "b " * 3_000 + "}",
        "{" + " ".join(f"x{i}: b" for i in range(150)) + "}",
        "{ b " + "@skip(if: false) " * 150 + "}",
        "{" + " ".join(["...F"] * 300) + "} fragment F on Query { b }",
        build_bomb(40),
        "{ ...F } fragment F on Query { a { ...F } }",
        "{" + " ".join(f"x{i}: __schema {{ types {{ name }} }}" for i in range(6)) + "}",
        "{ b " * 2_000,
        "query(" + " ".join(f"$v{i}: Int" for i in range(9_000)) + ") { b }",
    ],
)
def test_document_that_is_too_large_is_refused(document: str) -> None:
    assert refuse(document)[0]["extensions"]


def test_work_for_a_fragment_bomb_grows_with_its_text_not_with_its_expansion() -> None:
    assert len(build_bomb(20)) < 900
    assert count_calls(lambda: refuse(build_bomb(20))) < 3 * count_calls(lambda: refuse(build_bomb(10)))


def count_calls(work: Callable[[], object]) -> int:
    """Return the number of calls of Python functions, which does not depend on the speed or the load of the machine."""
    count = 0

    def count_call(frame: FrameType, event: str, argument: object) -> None:
        nonlocal count
        count += event == "call"

    sys.setprofile(count_call)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count


def test_document_within_the_limits_is_accepted() -> None:
    documents = Documents(SCHEMA, Limits(depth=3))
    documents.find_operation(build_nested(2), None)
    assert "nested more than 3 levels" in str(refuse(build_nested(3), Limits(depth=3))[0]["message"])


def test_cache_drops_the_oldest_document_when_it_is_full() -> None:
    documents = Documents(SCHEMA)
    first = documents.find_operation("{ b }", None)[0]
    for number in range(1_000):
        documents.find_operation(f"{{ b }} # {number}", None)
    assert documents.find_operation("{ b }", None)[0] is not first


def repeat_nested(names: tuple[str, ...], count: int) -> str:
    """Return selections of the first name, repeated, each with such selections of the next names."""
    if not names:
        return "id"
    return f"{names[0]} {{ {repeat_nested(names[1:], count)} }} " * count


UNKNOWN = ",".join(f"idempotencyKeyOfPass{number}:1" for number in range(2_400))
FIELDS = "{ id externalId createdAt holder { name email } }"
SPREADS = " ".join(f"...F{number}" for number in range(199))
HOSTILE = {
    "unknown input fields": f"mutation {{ recordEvent(input: {{{UNKNOWN}}}) {{ event {{ id }} }} }}",
    "unknown arguments": f"mutation {{ recordEvent({UNKNOWN}) {{ event {{ id }} }} }}",
    "unknown types": "{ __typename } "
    + " ".join(f"fragment F{number} on RecordEventInputConnectionEdge{number} {{ id }}" for number in range(1_000)),
    "repeated input fields": "mutation { recordEvent(input: {" + 'type: "a", ' * 2_400 + "}) { event { id } } }",
    "a comment": "{ __typename } #" + "x" * 4_000_000,
    "a block string": '{ pass(externalId: """' + "x\n" * 1_300_000 + '""") { id } }',
    "fragments side by side": f'{{ pass(externalId: "a") {{ {SPREADS} }} }} '
    + " ".join(f"fragment F{number} on Pass {FIELDS}" for number in range(199)),
    "nested repetition": "{ " + repeat_nested(("viewer", "workspace", "audit"), 11) + "}",
    "pairs of repeated lists": '{ pass(externalId: "a") { ' + repeat_nested(("events", "nodes"), 20) + "} }",
    "many operations": " ".join(f"query Q{number} {{ __typename }}" for number in range(1_600)),
}


@pytest.mark.parametrize(
    ("name", "query"),
    [
        ("operations", " ".join(f"query Q{number} {{ __typename }}" for number in range(101))),
        ("fragments", "{ __typename } " + " ".join(f"fragment F{n} on Query {{ __typename }}" for n in range(501))),
    ],
)
def test_document_with_too_many_definitions_is_refused_before_it_is_validated(name: str, query: str) -> None:
    with pytest.raises(RequestRefused) as refused:
        Documents(schema).find_operation(query, "Q1")
    assert [error["extensions"]["limit"] for error in refused.value.errors] == [name]


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_document_takes_little_cpu_and_gets_a_short_answer(name: str) -> None:
    """Such documents took 0.4 to 1.6 s, and one of 26 KB got an answer of 700 KB."""
    with spending_at_most(0.6), pytest.raises(RequestRefused) as refused:
        Documents(schema).find_operation(HOSTILE[name], None)
    errors = refused.value.errors
    assert len(errors) <= MAX_ERRORS + 1
    assert all(len(str(error["message"])) <= MAX_MESSAGE_CHARACTERS + 1 for error in errors)


def test_document_that_is_too_long_is_refused_and_not_cached() -> None:
    documents = Documents(SCHEMA)
    long_document = "{ b } #" + "x" * MAX_DOCUMENT_CHARACTERS
    with pytest.raises(RequestRefused) as refused:
        documents.find_operation(long_document, None)
    extensions = refused.value.errors[0]["extensions"]
    assert (extensions["code"], extensions["limit"]) == ("LIMIT_EXCEEDED", "characters")
    assert documents.count_unchecked(long_document) == 0
    assert documents.count_unchecked("{ b }") == 5
    documents.find_operation("{ b }", None)
    assert documents.count_unchecked("{ b }") == 0


def test_unknown_name_still_gets_a_suggestion() -> None:
    with pytest.raises(RequestRefused, match="Did you mean 'pass' or 'passes'"):
        Documents(schema).find_operation("{ passs { nodes { id } } }", None)
