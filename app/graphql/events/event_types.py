"""Event types: their definitions, and the types and sources that events of the workspace have had."""

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
        "NUMBER": 'A JSON number, or a decimal number as text, for example "12.50". Text keeps every digit.',
        "BOOLEAN": "true or false.",
        "DATE": 'A date as text, for example "2026-01-31".',
        "DATETIME": 'An instant as RFC 3339 text with an offset, for example "2026-01-31T09:30:00Z".',
        "ENUM": "One of the texts in `allowedValues`.",
        "OBJECT": "A JSON object.",
        "LIST": "A JSON list with items of any type.",
    },
)
Acceptance = event_types.Acceptance
describe_enum(
    Acceptance,
    "EventTypeAcceptance",
    {
        "OPEN": "Events of every type are accepted, except archived types. A type that is neither built in nor "
        "defined has the category that the event names, or else `CUSTOM`.",
        "STRICT": "Only events of built-in and defined types are accepted. Others are rejected with `UNKNOWN`.",
    },
)


class EventDefinitionStatus(StrEnum):
    """Whether events of a type are accepted."""

    ACTIVE = "ACTIVE"
    ARCHIVED = "ARCHIVED"


describe_enum(
    EventDefinitionStatus,
    "EventDefinitionStatus",
    {
        "ACTIVE": "Events of the type are accepted.",
        "ARCHIVED": "Events of the type are rejected. Events recorded before stay.",
    },
)


class EventDimensionStatus(StrEnum):
    """Whether rollups keep totals by the values of a dimension."""

    ACTIVE = "ACTIVE"
    OVERFLOWING = "OVERFLOWING"


describe_enum(
    EventDimensionStatus,
    "EventDimensionStatus",
    {
        "ACTIVE": "Rollups keep totals by its values.",
        "OVERFLOWING": "It has had more than 1,000 values within a month. Questions about it read the events.",
    },
)


@strawberry.type
class EventAttribute:
    """Value that the metadata of events of a type may hold or must hold."""

    name: str = strawberry.field(
        description="Path of the value in the metadata: keys joined by dots. A path goes through every object of a "
        "list: `items.sku` is the `sku` of each item."
    )
    type: AttributeType = strawberry.field(description="Type of the value, or of each item if `list` is true.")
    required: bool = strawberry.field(description="Whether events without the value are rejected.")
    is_list: bool = strawberry.field(name="list", description="Whether the value is a list of values of the type.")
    description: str | None = strawberry.field(description="Meaning of the value, for people. Null if none was given.")
    allowed_values: list[str] = strawberry.field(description="Texts that an ENUM allows. Empty for other types.")
    dimension: EventDimensionStatus | None = strawberry.field(
        description="Whether rollups keep totals by the values. Null if the attribute is not marked as a dimension."
    )


@strawberry.type
class EventDefinition(Node):
    """Definition of an event type in one workspace."""

    key: str = strawberry.field(description="Name of the type in events.")
    label: str = strawberry.field(description="Name of the type for people.")
    category: EventCategory = strawberry.field(description="Category of the events.")
    description: str | None = strawberry.field(description="Purpose of the type. Null if none was given.")
    attributes: list[EventAttribute] = strawberry.field(
        description="Values that the metadata of its events may hold or must hold. Values without an attribute are "
        "always accepted."
    )
    version: int = strawberry.field(
        description="Version of the definition, from 1. Every change makes the next version; `eventDefinition` "
        "returns old ones."
    )
    status: EventDefinitionStatus = strawberry.field(description="Whether events of the type are accepted.")
    built_in: bool = strawberry.field(description="Whether the type exists in every workspace without being defined.")
    created_at: datetime | None = strawberry.field(
        description="Instant at which the type was defined. For a built-in type: the instant of its first change, or "
        "null if it was never changed."
    )
    updated_at: datetime | None = strawberry.field(
        description="Instant at which this version was made. Null for a built-in type that was never changed."
    )


def definition_of(event_type: event_types.EventType) -> EventDefinition:
    """Return the GraphQL object of an event type."""
    return EventDefinition(
        id=strawberry.ID(to_global_id("EventDefinition", event_type.id)),
        key=event_type.key,
        label=event_type.label,
        category=event_type.category,
        description=event_type.description,
        attributes=[
            EventAttribute(
                name=attribute.name,
                type=attribute.type,
                required=attribute.required,
                is_list=attribute.list,
                description=attribute.description,
                allowed_values=[*attribute.allowed_values],
                dimension=_dimension_status(attribute),
            )
            for attribute in event_type.attributes
        ],
        version=event_type.version,
        status=EventDefinitionStatus.ARCHIVED if event_type.archived else EventDefinitionStatus.ACTIVE,
        built_in=event_type.is_built_in,
        created_at=event_type.created_at,
        updated_at=event_type.updated_at,
    )


def _dimension_status(attribute: attributes.Attribute) -> EventDimensionStatus | None:
    if not attribute.dimension:
        return None
    return EventDimensionStatus.OVERFLOWING if attribute.overflowing else EventDimensionStatus.ACTIVE


@fetcher("EventDefinition")
async def fetch_definition(context: RequestContext, type_id: str) -> EventDefinition | None:
    """Return the definition with this database id, or None."""
    types = await commands.event_types(context.commands)
    return next((definition_of(each) for each in types.all() if each.id == type_id), None)


listing = Pagination[event_types.EventType]("event_type", (str,), lambda event_type: (event_type.key,))


async def find_definition(
    info: Info,
    key: Annotated[str, strawberry.argument(description="Name of the type in events.")],
    version: Annotated[
        int | None, strawberry.argument(description="Version of the definition, from 1. Default: the current one.")
    ] = None,
) -> EventDefinition | None:
    """Return the definition of an event type: built in or defined, current or past.

    Null if the type or the version does not exist. Needs the scope `read`.
    """
    event_type = await commands.event_type(info.context.commands, key, version)
    return None if event_type is None else definition_of(event_type)


async def list_definitions(
    info: Info, first: First = None, after: After = None, last: Last = None, before: Before = None
) -> Connection[EventDefinition]:
    """List the current definitions of all event types by key, built-in and archived ones included.

    Needs the scope `read`.
    """
    span = listing.span(first, after, last, before)
    definitions = (await commands.event_types(info.context.commands)).all()

    async def count() -> int:
        return len(definitions)

    return listing.connection(listing.paged(definitions, span), span, definition_of, count)


async def list_types(info: Info) -> list[str]:
    """List the types that events of the workspace have had, and the defined types, sorted by name.

    Archived types without an event are left out. Punchcard notes up to about 10,000 types and sources of a workspace;
    further ones are missing in the list. Needs the scope `read`.
    """
    types = await commands.event_types(info.context.commands)
    defined = [key for key, event_type in types.defined.items() if not event_type.archived]
    return sorted({*await info.context.workspace.vocabulary.types(), *defined})


async def list_sources(info: Info) -> list[str]:
    """List the sources that events of the workspace have had, sorted by name.

    Punchcard notes up to about 10,000 types and sources of a workspace; further ones are missing in the list. Needs
    the scope `read`.
    """
    return await info.context.workspace.vocabulary.sources()
