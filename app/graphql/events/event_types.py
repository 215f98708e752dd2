"""Event types: the definitions, and what a workspace's events came with so far."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated

import strawberry

from app.commands.events import event_types as commands
from app.domain.events import attributes, event_types
from app.graphql.context import Info, RequestContext
from app.graphql.types.enums import EventCategory, describe_enum
from app.graphql.types.ids import to_global_id
from app.graphql.types.node import Node, fetcher
from app.graphql.types.paging import After, Before, Connection, First, Last, Pagination

AttributeType = attributes.AttributeType
describe_enum(
    AttributeType,
    "EventAttributeType",
    {
        "TEXT": "A text.",
        "NUMBER": "A number, or one written as text, which keeps its digits.",
        "BOOLEAN": "True or false.",
        "DATE": "A date as text, for example 2026-01-31.",
        "DATETIME": "An instant as text: RFC 3339 with an offset.",
        "ENUM": "One of the texts in `allowedValues`.",
        "OBJECT": "An object.",
        "LIST": "A list of anything.",
    },
)
Acceptance = event_types.Acceptance
describe_enum(
    Acceptance,
    "EventTypeAcceptance",
    {
        "OPEN": "Any: one that nobody defined is CUSTOM.",
        "STRICT": "Those built in or defined; others are refused.",
    },
)


class EventDefinitionStatus(StrEnum):
    """Whether events of a type are taken."""

    ACTIVE = "ACTIVE"
    ARCHIVED = "ARCHIVED"


describe_enum(
    EventDefinitionStatus,
    "EventDefinitionStatus",
    {"ACTIVE": "They are.", "ARCHIVED": "They are refused; those recorded before stay."},
)


@strawberry.type
class EventAttribute:
    """A value that the metadata of an event of this type holds."""

    name: str = strawberry.field(
        description="Its path: keys joined by points. It goes through each object of a list: `items.sku`."
    )
    type: AttributeType = strawberry.field(description="What its value is.")
    required: bool = strawberry.field(description="Whether events without it are refused.")
    is_list: bool = strawberry.field(name="list", description="Whether it is a list of such values.")
    description: str | None = strawberry.field(description="What it means.")
    allowed_values: list[str] = strawberry.field(description="The texts that an ENUM allows.")


@strawberry.type
class EventDefinition(Node):
    """What a workspace says of a type of events."""

    key: str = strawberry.field(description="The type, as events name it.")
    label: str = strawberry.field(description="What people call it.")
    category: EventCategory = strawberry.field(description="The category of its events.")
    description: str | None = strawberry.field(description="What it is for.")
    attributes: list[EventAttribute] = strawberry.field(
        description="What its events have to hold in their metadata; anything else is welcome beside."
    )
    version: int = strawberry.field(description="Its version, from 1; every change makes the next, and all are kept.")
    status: EventDefinitionStatus = strawberry.field(description="Whether events of it are taken.")
    built_in: bool = strawberry.field(description="Whether every workspace has it.")
    created_at: datetime | None = strawberry.field(
        description="When it was defined; null for a built-in type that nobody changed."
    )
    updated_at: datetime | None = strawberry.field(
        description="When this version was made; null for a built-in type that nobody changed."
    )


def definition_of(found: event_types.EventType) -> EventDefinition:
    """The definition as it is published."""
    return EventDefinition(
        id=strawberry.ID(to_global_id("EventDefinition", found.id)),
        key=found.key,
        label=found.label,
        category=found.category,
        description=found.description,
        attributes=[
            EventAttribute(
                name=attribute.name,
                type=attribute.type,
                required=attribute.required,
                is_list=attribute.list,
                description=attribute.description,
                allowed_values=[*attribute.allowed_values],
            )
            for attribute in found.attributes
        ],
        version=found.version,
        status=EventDefinitionStatus.ARCHIVED if found.archived else EventDefinitionStatus.ACTIVE,
        built_in=found.built_in,
        created_at=found.created_at,
        updated_at=found.updated_at,
    )


@fetcher("EventDefinition")
async def fetch_definition(context: RequestContext, type_id: str) -> EventDefinition | None:
    """The definition of a database id, or None."""
    types = await commands.event_types(context.commands)
    return next((definition_of(found) for found in types.all() if found.id == type_id), None)


listing = Pagination[event_types.EventType]("event_type", (str,), lambda found: (found.key,))


async def find_definition(
    info: Info,
    key: Annotated[str, strawberry.argument(description="The type.")],
    version: Annotated[int | None, strawberry.argument(description="A version of it; the latest, if omitted.")] = None,
) -> EventDefinition | None:
    """The definition of a type, built in or of the workspace, in any version."""
    found = await commands.event_type(info.context.commands, key, version)
    return None if found is None else definition_of(found)


async def list_definitions(
    info: Info, first: First = None, after: After = None, last: Last = None, before: Before = None
) -> Connection[EventDefinition]:
    """The definitions of all types, built in and of the workspace, archived ones included, by key."""
    span = listing.span(first, after, last, before)
    found = (await commands.event_types(info.context.commands)).all()

    async def count() -> int:
        return len(found)

    return listing.connection(listing.paged(found, span), span, definition_of, count)


async def list_types(info: Info) -> list[str]:
    """The types that events came with so far, and those defined; some 10,000 words at most, sorted."""
    types = await commands.event_types(info.context.commands)
    defined = [key for key, found in types.defined.items() if not found.archived]
    return sorted({*await info.context.workspace.vocabulary.types(), *defined})


async def list_sources(info: Info) -> list[str]:
    """The sources that events came with so far; some 10,000 words at most, sorted."""
    return await info.context.workspace.vocabulary.sources()
