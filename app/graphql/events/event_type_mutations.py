"""defineEventType, updateEventType and archiveEventType at the edge. All of it needs the scope `admin`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import strawberry

from app.commands.events import event_types as commands
from app.domain.actors import ADMIN
from app.domain.errors import Refused
from app.graphql.context import Info
from app.graphql.types.enums import EventCategory
from app.graphql.types.payloads import UserError, user_errors

from .event_types import AttributeType, EventDefinition, definition_of


@strawberry.input
class EventAttributeInput:
    """A value that the metadata of events is to hold."""

    name: str = strawberry.field(
        description="Its path: up to 10 keys joined by points, for example `store.city`. It goes through each object of a "
        "list: `items.sku`."
    )
    type: AttributeType = strawberry.field(description="What its value is.")
    required: bool = strawberry.field(default=False, description="Refuse events without it.")
    is_list: bool = strawberry.field(name="list", default=False, description="It is a list of such values.")
    description: str | None = strawberry.field(default=None, description="What it means; at most 500 characters.")
    allowed_values: list[str] | None = strawberry.field(
        default=None, description="The texts that an ENUM allows: 1 to 200, and at most 1,000 in the whole type."
    )


@strawberry.input
class DefineEventTypeInput:
    """A new type of events, or an archived one to take up again."""

    key: str = strawberry.field(
        description="The type, as events name it: 1 to 100 letters, digits, `_`, `.`, `:` or `-`; permanent."
    )
    label: str = strawberry.field(description="What people call it.")
    category: EventCategory = strawberry.field(
        default=EventCategory.CUSTOM, description="The category of its events; permanent, and not FIELD_CHANGE."
    )
    description: str | None = strawberry.field(default=None, description="What it is for.")
    attributes: list[EventAttributeInput] = strawberry.field(
        default_factory=list, description="What its events have to hold in their metadata: at most 100."
    )


@strawberry.input
class UpdateEventTypeInput:
    """Changes to a type of events, a built-in one too; what is omitted stays."""

    key: str = strawberry.field(description="The type.")
    label: str | None = strawberry.field(default=None, description="What people call it.")
    description: str | None = strawberry.field(default=None, description="What it is for.")
    attributes: list[EventAttributeInput] | None = strawberry.field(
        default=None, description="All its attributes from now on: at most 100."
    )


@strawberry.input
class ArchiveEventTypeInput:
    """A type of events to take no more."""

    key: str = strawberry.field(description="The type.")


@strawberry.type
class EventDefinitionPayload:
    """The definition of a type of events."""

    event_definition: EventDefinition | None = strawberry.field(
        default=None, description="The definition as it is now; absent if the call was refused."
    )
    user_errors: list[UserError] = strawberry.field(default_factory=list, description="What to change.")


async def define_event_type(
    info: Info, input: Annotated[DefineEventTypeInput, strawberry.argument(description="The type.")]
) -> EventDefinitionPayload:
    """Defines a type of events, or takes up an archived one.

    It holds for events from now on, everywhere within two seconds. Needs the scope `admin`. Safe to repeat.
    """
    info.context.actor.require(ADMIN)
    try:
        made = await commands.define_event_type(
            info.context.commands,
            input.key,
            input.label,
            input.category.value,
            input.description,
            _as_sent(input.attributes),
        )
    except Refused as refused:
        return EventDefinitionPayload(user_errors=user_errors(refused.problems))
    return EventDefinitionPayload(event_definition=definition_of(made))


async def update_event_type(
    info: Info, input: Annotated[UpdateEventTypeInput, strawberry.argument(description="The changes.")]
) -> EventDefinitionPayload:
    """Changes a type of events, a built-in one too, in a next version. Needs the scope `admin`. Safe to repeat."""
    info.context.actor.require(ADMIN)
    attributes = None if input.attributes is None else _as_sent(input.attributes)
    try:
        changed = await commands.update_event_type(
            info.context.commands, input.key, input.label, input.description, attributes
        )
    except Refused as refused:
        return EventDefinitionPayload(user_errors=user_errors(refused.problems))
    return EventDefinitionPayload(event_definition=definition_of(changed))


async def archive_event_type(
    info: Info, input: Annotated[ArchiveEventTypeInput, strawberry.argument(description="The type.")]
) -> EventDefinitionPayload:
    """Takes events of a type no more; those recorded stay. Needs the scope `admin`. Safe to repeat."""
    info.context.actor.require(ADMIN)
    try:
        archived = await commands.archive_event_type(info.context.commands, input.key)
    except Refused as refused:
        return EventDefinitionPayload(user_errors=user_errors(refused.problems))
    return EventDefinitionPayload(event_definition=definition_of(archived))


def _as_sent(given: list[EventAttributeInput]) -> list[Mapping[str, object]]:
    return [
        {
            "name": attribute.name,
            "type": attribute.type.value,
            "required": attribute.required,
            "list": attribute.is_list,
            "description": attribute.description,
            "allowedValues": attribute.allowed_values,
        }
        for attribute in given
    ]
