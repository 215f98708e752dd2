"""The part of the roots that speaks of event types, and the mutations that record one event with fewer words."""

from __future__ import annotations

import strawberry

from app.graphql.types.paging import Connection

from . import event_type_mutations, shortcuts
from .event_type_mutations import EventDefinitionPayload
from .event_types import EventDefinition, find_definition, list_definitions, list_sources, list_types
from .mutations import RecordEventPayload

REPEAT = "Safe to repeat with an externalId or an idempotencyKey; without, a blind repeat may double it."


@strawberry.type
class EventTypeQueries:
    """What can be asked of event types."""

    event_types: list[str] = strawberry.field(
        resolver=list_types,
        description="The types that events came with so far, and those defined; some 10,000 words at most, sorted.",
    )
    event_sources: list[str] = strawberry.field(
        resolver=list_sources,
        description="The sources that events came with so far; some 10,000 words at most, sorted.",
    )
    event_definition: EventDefinition | None = strawberry.field(
        resolver=find_definition, description="The definition of a type, built in or of the workspace, in any version."
    )
    event_definitions: Connection[EventDefinition] = strawberry.field(
        resolver=list_definitions,
        description="The definitions of all types, built in and of the workspace, archived ones included, by key.",
    )


@strawberry.type
class EventShortcuts:
    """What can be recorded with fewer words, and said of event types."""

    record_purchase: RecordEventPayload = strawberry.mutation(
        resolver=shortcuts.record_purchase, description=f"Records a `purchase`, as recordEvent does. {REPEAT}"
    )
    record_refund: RecordEventPayload = strawberry.mutation(
        resolver=shortcuts.record_refund, description=f"Records a `refund`, as recordEvent does. {REPEAT}"
    )
    record_check_in: RecordEventPayload = strawberry.mutation(
        resolver=shortcuts.record_check_in, description=f"Records a `check_in`, as recordEvent does. {REPEAT}"
    )
    record_activity: RecordEventPayload = strawberry.mutation(
        resolver=shortcuts.record_activity,
        description=f"Records an event of the category ACTIVITY, as recordEvent does. {REPEAT}",
    )
    record_field_change: RecordEventPayload = strawberry.mutation(
        resolver=shortcuts.record_field_change,
        description="Records that a field of the pass was set, incremented or decremented, as recordEvent does; the field "
        f"follows within moments, exactly once. {REPEAT}",
    )
    define_event_type: EventDefinitionPayload = strawberry.mutation(
        resolver=event_type_mutations.define_event_type,
        description="Defines a type of events, or takes up an archived one. It holds for events from now on, everywhere "
        "within two seconds. Needs the scope `admin`. Safe to repeat.",
    )
    update_event_type: EventDefinitionPayload = strawberry.mutation(
        resolver=event_type_mutations.update_event_type,
        description="Changes a type of events, a built-in one too, in a next version. Needs the scope `admin`. Safe to "
        "repeat.",
    )
    archive_event_type: EventDefinitionPayload = strawberry.mutation(
        resolver=event_type_mutations.archive_event_type,
        description="Takes events of a type no more; those recorded stay. Needs the scope `admin`. Safe to repeat.",
    )
