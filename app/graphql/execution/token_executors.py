"""Executors for tokens of one pass: they check each field, argument and input against the allow-list."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from graphql import (
    GraphQLArgument,
    GraphQLField,
    GraphQLInputField,
    GraphQLInputObjectType,
    GraphQLObjectType,
    Undefined,
    get_argument_values,
    get_named_type,
    is_list_type,
    is_non_null_type,
    located_error,
)

from app.domain.errors import DeniedToToken
from app.domain.pass_tokens import Grant
from app.graphql.types.ids import given_id
from app.graphql.types.own_objects import shown_to

from .executors import AnswerExecutor, EventExecutor
from .token_access import ARGUMENTS, INPUTS, NEEDED_SCOPES, is_allowed

OWN_PASS = "passId"
"""Name of the field of inputs that must name the pass of the token."""


class _Checking:
    """Execution for the holder of a token: each selected field is checked before it is resolved."""

    context_value: Any
    schema: Any
    variable_values: Any
    _open_fields: ClassVar[set[tuple[str, str]]] = set()
    """Fields that every token may select and that take no arguments, as (type, field). The schema never changes."""

    def execute_fields(
        self, parent_type: Any, source_value: Any, path: Any, grouped_field_set: Any, position_context: Any
    ) -> Any:
        """Execute the fields of an object, as the holder of the token sees it. Raises DeniedToToken for a foreign one."""
        shown = shown_to(self.context_value.actor.grant, parent_type.name, source_value)
        execute = super().execute_fields  # type: ignore[misc]
        return execute(parent_type, shown, path, grouped_field_set, position_context)

    def execute_field(
        self, parent_type: GraphQLObjectType, source: Any, details: Any, path: Any, position_context: Any
    ) -> Any:
        """Execute a field, or report that the token does not allow it."""
        name = details[0].node.name.value
        # A list of 100 events with 10 fields took a third more time when each field was checked for each event.
        if (parent_type.name, name) not in self._open_fields and (field := self.schema.get_field(parent_type, name)):
            try:
                arguments = self._arguments_of(field, details[0])
                check_field(self.context_value.actor.grant, parent_type.name, name, field, arguments)
            except DeniedToToken as error:
                self.handle_field_error(error, field.type, details, path)  # type: ignore[attr-defined]
                return None
            if not field.args and f"{parent_type.name}.{name}" not in NEEDED_SCOPES:
                self._open_fields.add((parent_type.name, name))
        return super().execute_field(parent_type, source, details, path, position_context)  # type: ignore[misc]

    def _arguments_of(self, field: GraphQLField, details: Any) -> Mapping[str, Any]:
        if not field.args:
            return {}
        try:
            return get_argument_values(field, details.node, self.variable_values, details.fragment_variable_values)
        except Exception:  # noqa: BLE001  # the execution of the field reports the same error
            return {}


class TokenAnswerExecutor(_Checking, AnswerExecutor):
    """Executor of a query or a mutation for the holder of a token."""


class TokenEventExecutor(_Checking, EventExecutor):
    """Executor of a subscription for the holder of a token."""

    def build_resolve_info(self, field_def: Any, field_nodes: Any, parent_type: Any, path: Any) -> Any:
        """Return what the resolver of a field gets. graphql-core starts a stream without `execute_field`: check it here."""
        if parent_type is self.schema.subscription_type:
            try:
                name = field_nodes[0].name.value
                arguments = get_argument_values(field_def, field_nodes[0], self.variable_values)
                check_field(self.context_value.actor.grant, parent_type.name, name, field_def, arguments)
            except DeniedToToken as error:
                raise located_error(error, field_nodes, path.as_list()) from error
        return super().build_resolve_info(field_def, field_nodes, parent_type, path)


def check_field(
    grant: Grant, type_name: str, field_name: str, field: GraphQLField, arguments: Mapping[str, Any]
) -> None:
    """Raise DeniedToToken unless the token allows the field with these arguments, which are coerced."""
    coordinate = f"{type_name}.{field_name}"
    if not is_allowed(type_name, field_name):
        raise DeniedToToken(f"A token for one pass cannot select {coordinate}.")
    scope = NEEDED_SCOPES.get(coordinate)
    if scope is not None and not grant.allows(scope):
        raise DeniedToToken(f"{coordinate} needs a token with the scope {scope}.")
    if type_name.startswith("__") or field_name.startswith("__"):
        return
    allowed = ARGUMENTS.get(coordinate, frozenset())
    for name, argument in field.args.items():
        if _is_given(arguments.get(name, Undefined), argument):
            if name not in allowed:
                raise DeniedToToken(f"A token for one pass cannot give the argument {coordinate}({name}:).", name)
            for problem in _find_denied(grant, argument.type, arguments[name], (name,)):
                raise problem


def _find_denied(grant: Grant, of_type: Any, value: Any, path: tuple[str, ...]) -> Iterator[DeniedToToken]:
    """Yield what the token does not allow in a value."""
    if is_non_null_type(of_type):
        of_type = of_type.of_type
    if is_list_type(of_type):
        if isinstance(value, list):
            for index, each in enumerate(value):
                yield from _find_denied(grant, of_type.of_type, each, (*path, str(index)))
        return
    named = get_named_type(of_type)
    if not isinstance(named, GraphQLInputObjectType) or not isinstance(value, Mapping):
        return
    allowed = INPUTS.get(named.name, frozenset())
    for name, field in named.fields.items():
        given = value.get(name, Undefined)
        if not _is_given(given, field):
            continue
        if name not in allowed:
            yield DeniedToToken(f"A token for one pass cannot give {named.name}.{name}. Leave it out.", *path, name)
        elif name == OWN_PASS and given_id(given, "Pass") not in grant.pass_ids:
            yield DeniedToToken("A token for one pass cannot name another pass. Leave it out.", *path, name)
        else:
            yield from _find_denied(grant, field.type, given, (*path, name))


def _is_given(value: object, field: GraphQLArgument | GraphQLInputField) -> bool:
    """Return whether a value says more than leaving it out would."""
    return value is not Undefined and value is not None and value != field.default_value
