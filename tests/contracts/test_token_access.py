"""The allow-list of tokens for one pass is complete: each field that a token can reach is allowed or forbidden there."""

from __future__ import annotations

from graphql import (
    GraphQLInputObjectType,
    GraphQLObjectType,
    get_named_type,
    is_abstract_type,
    is_composite_type,
)

from app.graphql.execution.token_access import (
    ALLOWED,
    ARGUMENTS,
    CLOSED,
    FORBIDDEN,
    INPUTS,
    NEEDED_SCOPES,
    is_allowed,
)
from app.graphql.schema import schema
from app.graphql.types.own_objects import OWN_TYPES

ADVICE = "Decide in app/graphql/execution/token_access.py: may the customer of a pass see it in a browser?"


def object_types(name: str) -> set[str]:
    """Return the object types behind the type of a field. Of `Node`, a token finds a few types only."""
    named = schema.type_map[name]
    if name == "Node":
        return set(OWN_TYPES)
    if is_abstract_type(named):
        return {each.name for each in schema.get_possible_types(named)}
    return {name} if isinstance(named, GraphQLObjectType) else set()


def reachable_types() -> set[str]:
    """Return the object types that a token reaches from the roots through allowed fields."""
    found: set[str] = set()
    waiting = {"Query", "Mutation", "Subscription"}
    while waiting:
        name = waiting.pop()
        found.add(name)
        fields = schema.type_map[name].fields  # type: ignore[attr-defined]
        for field_name, field in fields.items():
            named = get_named_type(field.type)
            if is_allowed(name, field_name) and is_composite_type(named):
                waiting |= object_types(named.name) - found
    return found


def test_each_field_that_a_token_can_reach_is_decided() -> None:
    for name in reachable_types() - CLOSED:
        fields = set(schema.type_map[name].fields)  # type: ignore[attr-defined]
        decided = ALLOWED.get(name, frozenset()) | FORBIDDEN.get(name, frozenset())
        assert fields - decided == set(), f"{name}: {ADVICE}"


def test_the_lists_name_only_what_exists_and_nothing_twice() -> None:
    assert set(ALLOWED) == reachable_types()
    for table in (ALLOWED, FORBIDDEN):
        for name, listed in table.items():
            assert listed - set(schema.type_map[name].fields) == set(), name  # type: ignore[attr-defined]
    assert [name for name in FORBIDDEN if FORBIDDEN[name] & ALLOWED[name]] == []
    for coordinate, arguments in ARGUMENTS.items():
        name, field_name = coordinate.split(".")
        assert is_allowed(name, field_name), coordinate
        field = schema.type_map[name].fields[field_name]  # type: ignore[attr-defined]
        assert arguments - set(field.args) == set(), coordinate
    assert {each for each in NEEDED_SCOPES if each.startswith("Mutation.")} == {
        f"Mutation.{name}" for name in ALLOWED["Mutation"]
    }


def test_the_inputs_that_a_token_gives_are_listed() -> None:
    """A token gives only listed fields of inputs, and every input that an allowed argument takes has its list."""
    for coordinate, arguments in ARGUMENTS.items():
        name, field_name = coordinate.split(".")
        args = schema.type_map[name].fields[field_name].args  # type: ignore[attr-defined]
        for argument in arguments & set(args):
            kind = get_named_type(args[argument].type)
            assert not isinstance(kind, GraphQLInputObjectType) or kind.name in INPUTS, coordinate
    for name, listed in INPUTS.items():
        assert listed - set(schema.type_map[name].fields) == set(), name  # type: ignore[attr-defined]
