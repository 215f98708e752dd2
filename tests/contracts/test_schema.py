"""The schema does not drift: the exported file is the code's, everything is explained, every error has its translation."""

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
from app.graphql.sdl import NAMED_BY_CONTRACT, VALUES
from app.graphql.types.enums import UserErrorCode

EXPORTED = Path(__file__).parents[2] / "schema.graphql"


def elements() -> Iterator[tuple[str, str | None]]:
    """Every element of the schema with its description."""
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


def test_the_exported_schema_is_the_codes() -> None:
    assert EXPORTED.read_text() == print_sdl(), "run: punchcard schema > schema.graphql"


def test_only_values_go_without_an_id() -> None:
    """What the linter is told not to ask for is not there, and nobody is excused who is gone."""
    kinds = {name: kind for name, kind in schema.type_map.items() if isinstance(kind, GraphQLObjectType)}
    assert set(kinds) >= VALUES | NAMED_BY_CONTRACT
    assert [name for name in VALUES if "id" in kinds[name].fields] == []


def test_everything_is_explained_in_a_sentence() -> None:
    unexplained = [name for name, text in elements() if not text or not text.rstrip().endswith((".", "`"))]
    assert unexplained == []


def test_every_problem_code_is_published() -> None:
    assert UserErrorCode is Code
    published = schema.type_map["UserErrorCode"]
    assert isinstance(published, GraphQLEnumType)
    assert set(published.values) == set(Code.__members__)


def test_every_error_class_has_its_translation() -> None:
    classes = [
        value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, PunchcardError)
    ]
    untranslated = [
        kind.__name__ for kind in classes if kind is not PunchcardError and not issubclass(kind, tuple(TRANSLATED))
    ]
    assert untranslated == []
    assert set(TRANSLATED.values()) <= set(ErrorCode)


def test_every_mutation_takes_one_input_and_answers_user_errors() -> None:
    assert schema.mutation_type
    for name, field in schema.mutation_type.fields.items():
        assert list(field.args) == ["input"], name
        payload = field.type.of_type
        assert "userErrors" in payload.fields, name
        assert str(payload.fields["userErrors"].type) == "[UserError!]!"
