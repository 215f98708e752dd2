"""Fields of Query and Mutation for event types and for the short forms of recordEvent."""

from __future__ import annotations

import strawberry

from app.graphql.types.paging import Connection

from . import event_type_mutations, shortcuts
from .event_type_mutations import EventDefinitionPayload
from .event_types import EventDefinition, find_definition, list_definitions, list_sources, list_types
from .payloads import RecordEventPayload


@strawberry.type
class EventTypeQueries:
    """Fields of Query that read event types and sources."""

    event_types: list[str] = strawberry.field(resolver=list_types)
    event_sources: list[str] = strawberry.field(resolver=list_sources)
    event_definition: EventDefinition | None = strawberry.field(resolver=find_definition)
    event_definitions: Connection[EventDefinition] = strawberry.field(resolver=list_definitions)


@strawberry.type
class EventShortcuts:
    """Fields of Mutation that record one event in short form or change event types."""

    record_purchase: RecordEventPayload = strawberry.mutation(resolver=shortcuts.record_purchase)
    record_refund: RecordEventPayload = strawberry.mutation(resolver=shortcuts.record_refund)
    record_check_in: RecordEventPayload = strawberry.mutation(resolver=shortcuts.record_check_in)
    record_activity: RecordEventPayload = strawberry.mutation(resolver=shortcuts.record_activity)
    record_field_change: RecordEventPayload = strawberry.mutation(resolver=shortcuts.record_field_change)
    define_event_type: EventDefinitionPayload = strawberry.mutation(resolver=event_type_mutations.define_event_type)
    update_event_type: EventDefinitionPayload = strawberry.mutation(resolver=event_type_mutations.update_event_type)
    archive_event_type: EventDefinitionPayload = strawberry.mutation(resolver=event_type_mutations.archive_event_type)
