"""The schema: the exported file is up to date, every element is described, every error has a code."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from graphql import (
    GraphQLEnumType,
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLObjectType,
    is_introspection_type,
    is_specified_directive,
    is_specified_scalar_type,
)

from app.domain import errors
from app.domain.errors import Code, PunchcardError
from app.graphql.errors import TRANSLATED, ErrorCode
from app.graphql.schema import print_sdl, schema
from app.graphql.sdl import NAMED_BY_CONTRACT, TYPES_WITHOUT_ID
from app.graphql.types.enums import UserErrorCode

EXPORTED = Path(__file__).parents[2] / "schema.graphql"


def elements() -> Iterator[tuple[str, str | None]]:
    """Yield every element of the schema with its description."""
    for kind in schema.type_map.values():
        if is_introspection_type(kind) or is_specified_scalar_type(kind):
            continue
        yield kind.name, kind.description
        if isinstance(kind, GraphQLEnumType):
            for name, value in kind.values.items():
                yield f"{kind.name}.{name}", value.description
        if isinstance(kind, (GraphQLObjectType, GraphQLInterfaceType)):
            for name, field in kind.fields.items():
                yield f"{kind.name}.{name}", field.description
                for argument_name, argument in field.args.items():
                    yield f"{kind.name}.{name}({argument_name})", argument.description
        if isinstance(kind, GraphQLInputObjectType):
            for name, given in kind.fields.items():
                yield f"{kind.name}.{name}", given.description
    for directive in schema.directives:
        if not is_specified_directive(directive):
            yield f"@{directive.name}", directive.description


def test_exported_schema_equals_the_code() -> None:
    assert EXPORTED.read_text() == print_sdl(), "run: punchcard schema > schema.graphql"


def test_types_without_an_id_are_those_that_are_listed() -> None:
    """The lists contain no type that does not exist, and no type that has an id."""
    kinds = {name: kind for name, kind in schema.type_map.items() if isinstance(kind, GraphQLObjectType)}
    assert set(kinds) >= TYPES_WITHOUT_ID | NAMED_BY_CONTRACT
    assert [name for name in TYPES_WITHOUT_ID if "id" in kinds[name].fields] == []


def test_every_element_is_described_in_a_sentence() -> None:
    undescribed = [name for name, text in elements() if not text or not text.rstrip().endswith((".", "`"))]
    assert undescribed == []


def test_every_problem_code_is_published() -> None:
    assert UserErrorCode is Code
    published = schema.type_map["UserErrorCode"]
    assert isinstance(published, GraphQLEnumType)
    assert set(published.values) == set(Code.__members__)


def test_every_error_class_is_translated() -> None:
    classes = [
        value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, PunchcardError)
    ]
    untranslated = [
        kind.__name__ for kind in classes if kind is not PunchcardError and not issubclass(kind, tuple(TRANSLATED))
    ]
    assert untranslated == []
    assert set(TRANSLATED.values()) <= set(ErrorCode)


def test_every_mutation_takes_one_input_and_returns_user_errors() -> None:
    assert schema.mutation_type
    for name, field in schema.mutation_type.fields.items():
        assert list(field.args) == ["input"], name
        payload = field.type.of_type
        assert "userErrors" in payload.fields, name
        assert str(payload.fields["userErrors"].type) == "[UserError!]!"
