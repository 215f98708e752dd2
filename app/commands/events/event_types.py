"""defineEventType, updateEventType, archiveEventType, and what a process knows of a workspace's event types."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from app.commands.audit import record_audit_entry
from app.commands.context import Context
from app.domain.errors import Code, Conflict, InvalidInput, LimitExceeded, NotFound, Unavailable
from app.domain.events.attributes import parse_attributes
from app.domain.events.event_types import MAX_DEFINED, Acceptance, EventType, EventTypes, built_in, parse_category
from app.domain.events.events import TYPES, parse_type
from app.domain.ids import event_type_id
from app.domain.values.text import parse_optional, parse_text

EVENT_TYPES_TTL_SECONDS = 1.0
"""How long what was read of event types is believed: elsewhere a change is seen so much later, and here at once. Before an
event is refused, they are read again.
"""
MAX_TRIES = 20
MAX_DESCRIPTION = 2_000
Attributes = Sequence[Mapping[str, object]]


async def event_types(ctx: Context) -> EventTypes:
    """The workspace's event types, about a second old at most; asks the store once a second, for what changed."""
    known, now = ctx.resources.cache, time.monotonic()
    held = known.event_types(ctx.workspace.id)
    if held is not None:
        if held[1] > now:
            return held[0]
        # One asks for all: the others go on with what is held, meanwhile.
        known.remember_event_types(held[0], now + EVENT_TYPES_TTL_SECONDS)
    return await latest_event_types(ctx)


async def event_type(ctx: Context, key: str, version: int | None = None) -> EventType | None:
    """The definition of a type as it is now, or as it was in a version; None where there is none."""
    found = (await event_types(ctx)).get(key)
    if found is None or version in (None, found.version):
        return found
    if version == 1 and found.built_in:
        return built_in(ctx.workspace.id, key)
    return await ctx.workspace.event_types.past(found.id, version or 0)


async def define_event_type(
    ctx: Context,
    key: object,
    label: object,
    category: object = None,
    description: object = None,
    attributes: Attributes = (),
) -> EventType:
    """The new type; an archived one is taken up again, as its next version. Safe to repeat.

    Raises Refused: TAKEN at `key` where the type is defined otherwise or built in, LIMIT beyond 500; Unavailable.
    """
    name = parse_type(key, "key")
    if name in TYPES:
        raise Conflict("This type is built in; add to it with updateEventType.", "key", code=Code.TAKEN)
    now = await ctx.now()
    wanted = EventType(
        event_type_id(ctx.workspace.id, name),
        name,
        parse_text(label, "label"),
        parse_category(category, "category"),
        parse_optional(description, "description", most=MAX_DESCRIPTION),
        parse_attributes(attributes, "attributes"),
        created_at=now,
        updated_at=now,
    )

    def defined(before: EventType | None, types: EventTypes) -> EventType:
        if before is not None and not before.archived:
            if not before.says(wanted):
                raise Conflict("This type is defined; change it with updateEventType.", "key", code=Code.TAKEN)
            return before
        if before is not None and before.category is not wanted.category:
            raise InvalidInput(Code.INVALID, f"It was {before.category} before, and stays so.", "category")
        if sum(not each.archived and not each.built_in for each in types.defined.values()) >= MAX_DEFINED:
            raise LimitExceeded(f"At most {MAX_DEFINED} defined types; archive one first.", "key")
        return wanted

    return await _changed(ctx, "defineEventType", name, defined)


async def update_event_type(
    ctx: Context, key: object, label: object = None, description: object = None, attributes: Attributes | None = None
) -> EventType:
    """The type as changed, in its next version; what is None stays, `attributes` replace all of them. Safe to repeat.

    Built-in types too. Events recorded before are not judged again. Raises NotFound, Refused, Unavailable.
    """
    name = parse_type(key, "key")
    changes: dict[str, object] = {}
    if label is not None:
        changes["label"] = parse_text(label, "label")
    if description is not None:
        changes["description"] = parse_optional(description, "description", most=MAX_DESCRIPTION)
    if attributes is not None:
        changes["attributes"] = parse_attributes(attributes, "attributes")
    now = await ctx.now()

    def updated(before: EventType | None, types: EventTypes) -> EventType:
        found = before or types.get(name)
        if found is None:
            raise NotFound("event type", "key")
        if found.archived:
            raise Conflict("This type is archived; take it up again with defineEventType.", "key")
        return replace(found, **changes, created_at=found.created_at or now)  # type: ignore[arg-type]

    return await _changed(ctx, "updateEventType", name, updated)


async def archive_event_type(ctx: Context, key: object) -> EventType:
    """The type, archived: events of it are refused, those recorded stay. Safe to repeat.

    Raises NotFound, InvalidInput for a built-in type, Unavailable.
    """
    name = parse_type(key, "key")
    if name in TYPES:
        raise InvalidInput(Code.UNSUPPORTED, "Built-in types are not archived.", "key")

    def archived(before: EventType | None, _: EventTypes) -> EventType:
        if before is None:
            raise NotFound("event type", "key")
        return replace(before, archived=True)

    return await _changed(ctx, "archiveEventType", name, archived)


async def accept_event_types(ctx: Context, acceptance: Acceptance) -> EventTypes:
    """The event types, of which the workspace takes any (OPEN) or only defined ones (STRICT) from now on. Safe to repeat."""
    told = False
    for _ in range(MAX_TRIES):
        types = await latest_event_types(ctx)
        if types.acceptance is acceptance:
            return types
        if not told:
            await record_audit_entry(ctx, "updateWorkspace", "Workspace", ctx.workspace.id, eventTypes=acceptance.value)
            told = True
        await ctx.workspace.event_types.put_acceptance(acceptance, types.revision + 1)
    raise Unavailable("store")


async def _changed(
    ctx: Context, action: str, key: str, change: Callable[[EventType | None, EventTypes], EventType]
) -> EventType:
    """The definition after `change(before, all)`, which is called again where somebody else was first."""
    told = False
    for _ in range(MAX_TRIES):
        types = await latest_event_types(ctx)
        before = types.defined.get(key)
        after = change(before, types)
        current = before or types.get(key)
        if current is not None and current.says(after):
            return current
        if not told:
            await record_audit_entry(ctx, action, "EventDefinition", after.id, key=key)
            told = True
        after = _succeeding(after, current, await ctx.now())
        if await ctx.workspace.event_types.put(after, types.revision + 1, before):
            await latest_event_types(ctx)
            return after
    raise Unavailable("store")


def _succeeding(after: EventType, before: EventType | None, now: datetime) -> EventType:
    if before is None:
        return after
    return replace(after, version=before.version + 1, created_at=before.created_at or now, updated_at=now)


async def latest_event_types(ctx: Context) -> EventTypes:
    """The workspace's event types as they are now; asks the store for what changed. Raises Unavailable."""
    known = ctx.resources.cache
    asked_at, held = time.monotonic(), known.event_types(ctx.workspace.id)
    found = await ctx.workspace.event_types.since(EventTypes(ctx.workspace.id) if held is None else held[0])
    return known.remember_event_types(found, asked_at + EVENT_TYPES_TTL_SECONDS)
