"""Mutations of event types: defineEventType, updateEventType and archiveEventType. All need the scope `admin`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import strawberry

from app.commands.events import event_types as commands
from app.domain.actors import ADMIN
from app.domain.errors import Refused
from app.domain.events.event_types import EventType
from app.domain.rollups.dimensions import MAX_VALUES
from app.graphql.context import Info
from app.graphql.types.enums import EventCategory
from app.graphql.types.payloads import UserError, user_errors

from .event_types import AttributeType, EventDefinition, definition_of


@strawberry.input
class EventAttributeInput:
    """Value that the metadata of events of a type may hold or must hold."""

    name: str = strawberry.field(
        description="Path of the value in the metadata: up to 10 keys joined by dots, for example `store.city`; at "
        "most 200 characters. A path goes through every object of a list: `items.sku` is the `sku` of "
        "each item. An attribute that holds others is an OBJECT or a LIST."
    )
    type: AttributeType = strawberry.field(description="Type of the value, or of each item if `list` is true.")
    required: bool = strawberry.field(
        default=False, description="Whether events without the value are rejected. Default: false."
    )
    is_list: bool = strawberry.field(
        name="list", default=False, description="Whether the value is a list of values of the type. Default: false."
    )
    description: str | None = strawberry.field(
        default=None, description="Meaning of the value, for people. At most 500 characters."
    )
    allowed_values: list[str] | None = strawberry.field(
        default=None,
        description="Texts that an ENUM allows: 1 to 200, and at most 1,000 over all attributes of the type. Only for "
        "ENUM.",
    )
    dimension: bool = strawberry.field(
        default=False,
        description="Whether rollups keep totals by the values, so that `aggregateEvents` groups and filters by them at "
        "the cost of rollups. Only for a TEXT, a NUMBER or an ENUM that is no list; at most 3 attributes of a type. "
        "If an event has several values, as on a path through a list, the events of its hour are read instead. "
        "Default: false.",
    )


@strawberry.input
class DefineEventTypeInput:
    """Event type to define, or archived event type to define again."""

    key: str = strawberry.field(
        description="Name of the type in events: 1 to 100 letters, digits, `_`, `.`, `:` or `-`, beginning with a "
        "letter or digit. It cannot be changed later, and must not be a built-in type."
    )
    label: str = strawberry.field(description="Name of the type for people. At most 255 characters.")
    category: EventCategory = strawberry.field(
        default=EventCategory.CUSTOM,
        description="Category of the events. Default: `CUSTOM`. It cannot be changed later. `FIELD_CHANGE` is not "
        "allowed.",
    )
    description: str | None = strawberry.field(
        default=None, description="Purpose of the type. At most 2,000 characters."
    )
    attributes: list[EventAttributeInput] = strawberry.field(
        default_factory=list,
        description="Values that the metadata of its events may hold or must hold: at most 100. Values without an "
        "attribute are always accepted.",
    )


@strawberry.input
class UpdateEventTypeInput:
    """Changes to an event type, which may be built in. Fields that are left out keep their value."""

    key: str = strawberry.field(description="Name of the type in events.")
    label: str | None = strawberry.field(
        default=None, description="New name of the type for people. At most 255 characters."
    )
    description: str | None = strawberry.field(
        default=None, description="New purpose of the type. At most 2,000 characters."
    )
    attributes: list[EventAttributeInput] | None = strawberry.field(
        default=None, description="New attributes: at most 100. The list replaces all attributes of the type."
    )


@strawberry.input
class ArchiveEventTypeInput:
    """Event type to archive."""

    key: str = strawberry.field(description="Name of the type in events.")


@strawberry.type
class EventDefinitionPayload:
    """Result of a mutation of event types."""

    event_definition: EventDefinition | None = strawberry.field(
        default=None, description="Definition as it is now. Null if the call failed."
    )
    user_errors: list[UserError] = strawberry.field(
        default_factory=list, description="Problems with the input; empty if the call succeeded."
    )
    warnings: list[str] = strawberry.field(
        default_factory=list,
        description="Dimensions of the type that overflow, each with advice. Empty if none does.",
    )


async def define_event_type(
    info: Info, input: Annotated[DefineEventTypeInput, strawberry.argument(description="Event type to define.")]
) -> EventDefinitionPayload:
    """Define an event type, or define an archived one again. Needs the scope `admin`.

    The definition applies to events recorded from now on, in every process within two seconds. An archived type keeps
    its category and gets its next version. A workspace has at most 500 defined types that are not archived. Safe to
    repeat. If the type is defined differently, the call fails with `TAKEN`.
    """
    info.context.actor.require(ADMIN)
    try:
        defined = await commands.define_event_type(
            info.context.commands,
            input.key,
            input.label,
            input.category.value,
            input.description,
            _to_mappings(input.attributes),
        )
    except Refused as refused:
        return EventDefinitionPayload(user_errors=user_errors(refused.problems))
    return EventDefinitionPayload(event_definition=definition_of(defined), warnings=_warnings_of(defined))


async def update_event_type(
    info: Info, input: Annotated[UpdateEventTypeInput, strawberry.argument(description="Changes to make.")]
) -> EventDefinitionPayload:
    """Change an event type, which may be built in. Needs the scope `admin`.

    The change makes the next version of the definition. Events recorded before are not checked again. An archived type
    cannot be changed. If an attribute becomes a dimension, a job of the kind `PREPARE_DIMENSIONS` lets the rollups of
    earlier events be computed again. Safe to repeat: a call that changes nothing makes no version.
    """
    info.context.actor.require(ADMIN)
    attributes = None if input.attributes is None else _to_mappings(input.attributes)
    try:
        changed = await commands.update_event_type(
            info.context.commands, input.key, input.label, input.description, attributes
        )
    except Refused as refused:
        return EventDefinitionPayload(user_errors=user_errors(refused.problems))
    return EventDefinitionPayload(event_definition=definition_of(changed), warnings=_warnings_of(changed))


async def archive_event_type(
    info: Info, input: Annotated[ArchiveEventTypeInput, strawberry.argument(description="Event type to archive.")]
) -> EventDefinitionPayload:
    """Archive an event type: new events of the type are rejected. Needs the scope `admin`.

    Recorded events stay. A built-in type cannot be archived. `defineEventType` brings an archived type back. Safe to
    repeat.
    """
    info.context.actor.require(ADMIN)
    try:
        archived = await commands.archive_event_type(info.context.commands, input.key)
    except Refused as refused:
        return EventDefinitionPayload(user_errors=user_errors(refused.problems))
    return EventDefinitionPayload(event_definition=definition_of(archived))


def _warnings_of(event_type: EventType) -> list[str]:
    return [
        f"The dimension '{attribute.name}' overflows: it has had more than {MAX_VALUES:,} values within a month. Questions "
        "about it read the events. Take the mark from the attribute, or put values together and mark it again."
        for attribute in event_type.attributes
        if attribute.overflowing
    ]


def _to_mappings(inputs: list[EventAttributeInput]) -> list[Mapping[str, object]]:
    return [
        {
            "name": attribute.name,
            "type": attribute.type.value,
            "required": attribute.required,
            "list": attribute.is_list,
            "description": attribute.description,
            "allowedValues": attribute.allowed_values,
            "dimension": attribute.dimension,
        }
        for attribute in inputs
    ]
