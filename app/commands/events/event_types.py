"""defineEventType, updateEventType, archiveEventType, and the cached event types of a workspace."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from app.clock import SystemClock
from app.commands.audit import record_audit_entry
from app.commands.context import Context
from app.domain.errors import Code, Conflict, InvalidInput, LimitExceeded, NotFound, Unavailable
from app.domain.events.attributes import parse_attributes
from app.domain.events.event_types import MAX_DEFINED, Acceptance, EventType, EventTypes, built_in_type, parse_category
from app.domain.events.events import TYPES
from app.domain.events.type_names import parse_type
from app.domain.ids import dimension_job_id, event_type_id
from app.domain.jobs import MAX_OPEN_JOBS, Job, JobKind, JobStatus, Tally, too_many_jobs
from app.domain.values.text import parse_optional, parse_text
from app.store.codecs.jobs import DimensionsOrder

EVENT_TYPES_TTL_SECONDS = 1.0
"""How long cached event types are valid. This process sees its own change at once, others within this time.

Before an event is rejected, the types are read again.
"""
MAX_ATTEMPTS = 20
MAX_DESCRIPTION_CHARACTERS = 2_000
Attributes = Sequence[Mapping[str, object]]


async def event_types(ctx: Context) -> EventTypes:
    """Return the workspace's event types, at most about a second old. A process reads the changes once a second."""
    cache, now = ctx.resources.cache, time.monotonic()
    cached = cache.event_types(ctx.workspace.id)
    if cached is not None:
        if cached[1] > now:
            return cached[0]
        # This call reads the changes; concurrent calls use the cached types meanwhile.
        cache.remember_event_types(cached[0], now + EVENT_TYPES_TTL_SECONDS)
    return await latest_event_types(ctx)


async def allows_negative_balance(ctx: Context, types: EventTypes) -> bool:
    """Return whether recorded deductions of points may leave a debt on a pass of the workspace."""
    if types.allow_negative_balance is not None:
        return types.allow_negative_balance
    return (await ctx.profile()).allow_negative_balance


async def event_type(ctx: Context, key: str, version: int | None = None) -> EventType | None:
    """Return the definition of a type, the current one or a given version; None if there is none."""
    found = (await event_types(ctx)).get(key)
    if found is None or version in (None, found.version):
        return found
    if version == 1 and found.is_built_in:
        return built_in_type(ctx.workspace.id, key)
    return await ctx.workspace.event_types.get_past(found.id, version or 0)


async def define_event_type(
    ctx: Context,
    key: object,
    label: object,
    category: object = None,
    description: object = None,
    attributes: Attributes = (),
) -> EventType:
    """Define an event type and return it. An archived type becomes live again, as its next version. Safe to repeat.

    Raises Refused: TAKEN at `key` if the type is built in or has another definition, LIMIT above 500 types. Raises
    Unavailable.
    """
    name = parse_type(key, "key")
    if name in TYPES:
        raise Conflict("This type is built in; add to it with updateEventType.", "key", code=Code.TAKEN)
    now = await ctx.now()
    requested = EventType(
        id=event_type_id(ctx.workspace.id, name),
        key=name,
        label=parse_text(label, "label"),
        category=parse_category(category, "category"),
        description=parse_optional(description, "description", max_length=MAX_DESCRIPTION_CHARACTERS),
        attributes=parse_attributes(attributes, "attributes"),
        created_at=now,
        updated_at=now,
    )

    def define(before: EventType | None, types: EventTypes) -> EventType:
        after = requested.following(before)
        if before is not None and not before.archived:
            if not before.has_same_content(after):
                raise Conflict("This type is defined; change it with updateEventType.", "key", code=Code.TAKEN)
            return before
        if before is not None and before.category is not requested.category:
            message = f"The category of a type never changes; send {before.category} again."
            raise InvalidInput(Code.INVALID, message, "category")
        if before is None and sum(not each.is_built_in for each in types.defined.values()) >= MAX_DEFINED:
            message = (
                f"A workspace defines at most {MAX_DEFINED} types, archived ones included. Use a type that is defined, or "
                "make an archived one live again."
            )
            raise LimitExceeded(message, "key")
        return after

    return await _store_change(ctx, "defineEventType", name, define)


async def update_event_type(
    ctx: Context, key: object, label: object = None, description: object = None, attributes: Attributes | None = None
) -> EventType:
    """Update an event type, also a built-in one, and return its next version. Safe to repeat.

    Arguments that are None change nothing; `attributes` replace all of them. Events recorded before are not checked
    again. Raises NotFound, Refused and Unavailable.
    """
    name = parse_type(key, "key")
    changes: dict[str, object] = {}
    if label is not None:
        changes["label"] = parse_text(label, "label")
    if description is not None:
        changes["description"] = parse_optional(description, "description", max_length=MAX_DESCRIPTION_CHARACTERS)
    if attributes is not None:
        changes["attributes"] = parse_attributes(attributes, "attributes")
    now = await ctx.now()

    def update(before: EventType | None, types: EventTypes) -> EventType:
        found = before or types.get(name)
        if found is None:
            raise NotFound("event type", "key")
        if found.archived:
            raise Conflict("This type is archived; make it live again with defineEventType.", "key")
        after = replace(found, **changes, created_at=found.created_at or now)  # type: ignore[arg-type]
        return after.following(found)

    return await _store_change(ctx, "updateEventType", name, update)


async def archive_event_type(ctx: Context, key: object) -> EventType:
    """Archive an event type and return it: new events of the type are rejected, recorded ones stay. Safe to repeat.

    Raises NotFound, InvalidInput for a built-in type, and Unavailable.
    """
    name = parse_type(key, "key")
    if name in TYPES:
        raise InvalidInput(Code.UNSUPPORTED, "Built-in types cannot be archived; name a defined type.", "key")

    def archive(before: EventType | None, _: EventTypes) -> EventType:
        if before is None:
            raise NotFound("event type", "key")
        return replace(before, archived=True)

    return await _store_change(ctx, "archiveEventType", name, archive)


async def set_event_rules(
    ctx: Context, acceptance: Acceptance | None = None, *, allow_negative_balance: bool | None = None
) -> EventTypes:
    """Set which events the workspace accepts, and return its types. What is None stays as it is.

    `acceptance` says whether it accepts any type (OPEN) or only defined ones (STRICT), `allow_negative_balance` whether
    recorded deductions of points may leave a debt. Safe to repeat. Raises Unavailable.
    """
    is_audited = False
    for _ in range(MAX_ATTEMPTS):
        types = await latest_event_types(ctx)
        allows = await allows_negative_balance(ctx, types)
        changes: dict[str, str] = {}
        if acceptance is not None and acceptance is not types.acceptance:
            changes["eventTypes"] = acceptance.value
        if allow_negative_balance not in (None, allows):
            changes["allowNegativeBalance"] = str(allow_negative_balance).lower()
        if not changes:
            return types
        if not is_audited:
            await record_audit_entry(ctx, "updateWorkspace", "Workspace", ctx.workspace.id, **changes)
            is_audited = True
        stored = types.allow_negative_balance if allow_negative_balance is None else allow_negative_balance
        await ctx.workspace.event_types.put_rules(acceptance or types.acceptance, stored, types.revision + 1)
    raise Unavailable("store")


async def _store_change(
    ctx: Context, action: str, key: str, change: Callable[[EventType | None, EventTypes], EventType]
) -> EventType:
    """Store and return the definition after `change(before, all types)`.

    After a concurrent change of the types, `change` is called again. If the type has a new dimension, a job prepares it.
    """
    is_audited = False
    for _ in range(MAX_ATTEMPTS):
        types = await latest_event_types(ctx)
        before = types.defined.get(key)
        after = change(before, types)
        current = before or types.get(key)
        if current is not None and current.has_same_content(after):
            await _prepare_dimensions(ctx, current)
            return current
        if after.has_more_dimensions(current) and await ctx.workspace.jobs.count_open() >= MAX_OPEN_JOBS:
            raise too_many_jobs("attributes")
        if not after.archived:
            types.check_room(after)
        if not is_audited:
            await record_audit_entry(ctx, action, "EventDefinition", after.id, key=key)
            is_audited = True
        after = _next_version(after, current, await ctx.now())
        if await ctx.workspace.event_types.put(after, types.revision + 1, before):
            await latest_event_types(ctx)
            await _prepare_dimensions(ctx, after)
            return after
    raise Unavailable("store")


def _next_version(after: EventType, before: EventType | None, now: datetime) -> EventType:
    version = 1 if before is None else before.version + 1
    is_marked = after.has_more_dimensions(before)
    last_marked = version if is_marked else None if before is None else before.dimensions_version
    after = replace(after, version=version, dimensions_version=last_marked)
    return after if before is None else replace(after, created_at=before.created_at or now, updated_at=now)


async def _prepare_dimensions(ctx: Context, current: EventType) -> None:
    """Create the job that prepares the dimensions that a version added. Safe to repeat: each version has one job.

    A call that crashed before it is repeated by the client, and then finds the version stored.
    """
    if current.dimensions_version != current.version:
        return
    job = Job(
        id=dimension_job_id(current.id, current.version),
        kind=JobKind.PREPARE_DIMENSIONS,
        status=JobStatus.QUEUED,
        tally=Tally(),
        total=0,
        created_at=await SystemClock().now(),
    )
    if not await ctx.workspace.jobs.insert(job, DimensionsOrder(current.key), ctx.actor.key_id, None):
        raise too_many_jobs("attributes")
    ctx.resources.bus.wake("jobs", job.id)


async def latest_event_types(ctx: Context) -> EventTypes:
    """Return the workspace's event types as they are now. Reads the changes from the store. Raises Unavailable."""
    cache = ctx.resources.cache
    asked_at, cached = time.monotonic(), cache.event_types(ctx.workspace.id)
    found = await ctx.workspace.event_types.read_since(EventTypes(ctx.workspace.id) if cached is None else cached[0])
    return cache.remember_event_types(found, asked_at + EVENT_TYPES_TTL_SECONDS)
