"""Definitions of event types: they apply to every event recorded afterwards, and to none recorded before."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Mapping
from dataclasses import replace

import pytest

from app.commands.events import event_types as event_type_commands
from app.commands.events.event_types import (
    archive_event_type,
    define_event_type,
    event_type,
    event_types,
    set_event_rules,
    update_event_type,
)
from app.commands.events.outcomes import BatchOutcome
from app.domain.errors import Code, Denied, Refused
from app.domain.events.event_types import Acceptance, EventTypes
from app.domain.events.events import Category
from app.domain.events.receipts import RecordStatus
from app.store.cache import WorkspaceCache
from app.store.mongo.paging import PageRequest
from app.store.workspace.event_types import EventTypeQueries
from tests.business import Business

STORE: Mapping[str, object] = {"name": "store", "type": "TEXT", "required": True}


def statuses_of(outcome: BatchOutcome) -> list[str]:
    return [result.status.value for result in outcome.results]


def problems_of(outcome: BatchOutcome, index: int = 0) -> list[tuple[Code, tuple[str, ...]]]:
    return [(problem.code, problem.field) for problem in outcome.results[index].problems]


def open_other_process(business: Business) -> Business:
    return replace(
        business, ctx=replace(business.ctx, resources=replace(business.ctx.resources, cache=WorkspaceCache()))
    )


async def test_event_without_a_required_attribute_is_rejected_alone_with_the_path(
    business: Business,
) -> None:
    """A1-02, A1-04, V1-01, V1-02: a custom type has typed attributes, and some of them are required."""
    sizes = {"name": "size", "type": "ENUM", "allowedValues": ["S", "M"]}
    defined = await define_event_type(business.ctx, "lookbook", "Lookbook", "ACTIVITY", "Seen", [STORE, sizes])
    assert (defined.version, defined.category, defined.is_built_in) == (1, Category.ACTIVITY, False)
    outcome = await business.record(
        {"type": "lookbook", "metadata": {"store": "north", "size": "M", "more": 1}},
        {"type": "lookbook", "metadata": {"size": "XL"}, "pass_external_id": "new"},
        {"type": "lookbook", "metadata": {"store": 7}},
        {"type": "lookbook", "metadata": {"store": "north"}, "category": "CUSTOM"},
        {"type": "purchase"},
    )
    assert statuses_of(outcome) == ["CREATED", "REJECTED", "REJECTED", "REJECTED", "CREATED"]
    assert problems_of(outcome, 1) == [
        (Code.REQUIRED, ("metadata", "store")),
        (Code.UNKNOWN, ("metadata", "size")),
    ]
    assert problems_of(outcome, 2) == [(Code.INVALID, ("metadata", "store"))]
    assert problems_of(outcome, 3) == [(Code.INVALID, ("category",))]
    event = outcome.results[0].event
    assert event is not None
    assert (event.category, event.definition_version) == (Category.ACTIVITY, 1)
    assert await business.ctx.workspace.passes.ids_of(["new"]) == {}, "a rejected item creates no pass"
    assert await business.ctx.workspace.events.get_many([event.id]) == {event.id: event}


async def test_attributes_are_added_to_a_built_in_type_and_all_versions_kept(business: Business) -> None:
    """A1-03: custom attributes on built-in events."""
    ctx = business.ctx
    before = await event_type(ctx, "purchase")
    assert before is not None
    assert (before.label, before.version, before.attributes) == ("Purchase", 1, ())
    changed = await update_event_type(ctx, "purchase", attributes=[STORE])
    assert await update_event_type(ctx, "purchase", attributes=[STORE]) == changed, "a repeat changes nothing"
    second = await update_event_type(ctx, "purchase", label="Sale", attributes=[])
    assert (changed.version, second.version) == (2, 3)
    found = [await event_type(ctx, "purchase", version) for version in (1, 2, 3, 4)]
    assert found == [before, changed, second, None]
    assert (await event_types(ctx)).label_of("purchase") == "Sale"
    [entry, *_] = (await ctx.workspace.audit.page(PageRequest(5))).items
    assert (entry.action, entry.details) == ("updateEventType", {"key": "purchase"})


async def test_repeat_stays_a_duplicate_after_a_definition_became_stricter(
    business: Business,
) -> None:
    """WH1-21: clients may retry blindly, whatever was defined in between."""
    old = {"external_id": "old", "metadata": {"a": 1}, "type": "lookbook"}
    batch = [{"type": "lookbook"}, {"type": "lookbook", "category": "CUSTOM"}]
    await business.record(old)
    await business.record(*batch, idempotency_key="k")
    await define_event_type(business.ctx, "lookbook", "Lookbook", "ACTIVITY", attributes=[STORE])
    new_items = [{**old, "external_id": "new"}, {**old, "metadata": {"a": 2}}]
    outcome = await business.record(old, *new_items)
    assert statuses_of(outcome) == ["DUPLICATE", "REJECTED", "CONFLICT"]
    assert statuses_of(await business.record(*batch, idempotency_key="k")) == ["DUPLICATE", "DUPLICATE"]
    good = {"external_id": "good", "metadata": {"store": "north"}, "type": "lookbook"}
    assert statuses_of(await business.record(old, good, atomic=True)) == ["DUPLICATE", "CREATED"]
    third = (await business.record(old, {**good, "external_id": "x"}, new_items[0], atomic=True)).results[2]
    assert third.status is RecordStatus.REJECTED
    preview = await business.record(old, new_items[0], good, dry_run=True)
    assert statuses_of(preview) == ["DUPLICATE", "REJECTED", "DUPLICATE"]
    await archive_event_type(business.ctx, "lookbook")
    assert statuses_of(await business.record(old, good, {**good, "external_id": "late"})) == [
        "DUPLICATE", "DUPLICATE", "REJECTED",
    ]  # fmt: skip
    assert await business.ctx.resources.db["events"].count_documents({}) == 4


async def test_open_workspace_accepts_any_type_and_a_strict_one_only_defined_types(business: Business) -> None:
    """V1-01: a strict workspace rejects undefined types. WH1-04: an open one accepts them."""
    outside = {"type": "lookbook"}
    assert statuses_of(await business.record(outside)) == ["CREATED"]
    types = await set_event_rules(business.ctx, Acceptance.STRICT)
    assert (await set_event_rules(business.ctx, Acceptance.STRICT)).revision == types.revision, (
        "a repeat changes nothing"
    )
    outcome = await business.record(outside, {"type": "scan"})
    assert statuses_of(outcome) == ["REJECTED", "CREATED"]
    assert problems_of(outcome) == [(Code.UNKNOWN, ("type",))]
    await define_event_type(business.ctx, "lookbook", "Lookbook")
    assert statuses_of(await business.record(outside)) == ["CREATED"]
    await archive_event_type(business.ctx, "lookbook")
    assert problems_of(await business.record(outside)) == [(Code.UNSUPPORTED, ("type",))]
    await set_event_rules(business.ctx, Acceptance.OPEN)
    assert statuses_of(await business.record({"type": "anything"}, outside)) == ["CREATED", "REJECTED"]
    [entry, *_] = (await business.ctx.workspace.audit.page(PageRequest(5))).items
    assert (entry.action, entry.details) == ("updateWorkspace", {"eventTypes": "OPEN"})


async def test_definition_has_versions_and_is_safe_to_repeat(business: Business) -> None:
    ctx = business.ctx
    first = await define_event_type(ctx, "lookbook", "Lookbook", attributes=[STORE])
    assert await define_event_type(ctx, "lookbook", "Lookbook", attributes=[STORE]) == first
    archived = await archive_event_type(ctx, "lookbook")
    assert await archive_event_type(ctx, "lookbook") == archived
    restored = await define_event_type(ctx, "lookbook", "Look book")
    assert [(each.version, each.archived) for each in (first, archived, restored)] == [
        (1, False),
        (2, True),
        (3, False),
    ]
    assert restored.created_at == first.created_at
    assert [await event_type(ctx, "lookbook", version) for version in (1, 2, 3)] == [first, archived, restored]
    assert await event_type(ctx, "nothing") is None
    actions = [entry.action for entry in (await ctx.workspace.audit.page(PageRequest(9))).items]
    assert actions == ["defineEventType", "archiveEventType", "defineEventType"]


async def test_invalid_definition_is_rejected_with_its_path(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A1-22: internal types cannot be defined either."""
    ctx = business.ctx
    await define_event_type(ctx, "lookbook", "Lookbook")
    await define_event_type(ctx, "old", "Old")
    await archive_event_type(ctx, "old")
    await define_event_type(ctx, "second", "Second")
    monkeypatch.setattr(event_type_commands, "MAX_DEFINED", 2)
    calls: list[tuple[Coroutine[object, object, object], Code, str]] = [
        (define_event_type(ctx, "lookbook", "Other"), Code.TAKEN, "key"),
        (define_event_type(ctx, "purchase", "Purchase"), Code.TAKEN, "key"),
        (define_event_type(ctx, "pass_updated", "Mine"), Code.INVALID, "key"),
        (define_event_type(ctx, "no blanks", "Mine"), Code.INVALID, "key"),
        (define_event_type(ctx, "new", ""), Code.INVALID, "label"),
        (define_event_type(ctx, "new", "New", "FIELD_CHANGE"), Code.UNSUPPORTED, "category"),
        (define_event_type(ctx, "old", "Old", "ACTIVITY"), Code.INVALID, "category"),
        (define_event_type(ctx, "new", "New", attributes=[{"name": "a"}]), Code.UNKNOWN, "attributes"),
        (define_event_type(ctx, "third", "Third"), Code.LIMIT, "key"),
        (update_event_type(ctx, "nothing", "x"), Code.UNKNOWN, "key"),
        (update_event_type(ctx, "old", "x"), Code.CONFLICT, "key"),
        (update_event_type(ctx, "lookbook", " "), Code.INVALID, "label"),
        (archive_event_type(ctx, "nothing"), Code.UNKNOWN, "key"),
        (archive_event_type(ctx, "purchase"), Code.UNSUPPORTED, "key"),
    ]
    for call, code, field in calls:
        with pytest.raises(Refused) as refused:
            await call
        assert [(problem.code, problem.field[0]) for problem in refused.value.problems] == [(code, field)]
    assert (await event_types(ctx)).revision == 4


async def test_change_applies_at_once_here_and_within_the_cache_time_elsewhere(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = open_other_process(business)
    at = [1_000.0]
    monkeypatch.setattr(time, "monotonic", lambda: at[0])
    assert statuses_of(await elsewhere.record({})) == ["CREATED"]
    revisions_read = []
    read_since = EventTypeQueries.read_since

    async def note_then_read(self: EventTypeQueries, cached: EventTypes) -> EventTypes:
        revisions_read.append(cached.revision)
        return await read_since(self, cached)

    monkeypatch.setattr(EventTypeQueries, "read_since", note_then_read)
    await update_event_type(business.ctx, "purchase", attributes=[STORE])
    assert statuses_of(await business.record({})) == ["REJECTED"]
    revisions_read.clear()
    assert statuses_of(await elsewhere.record({})) == ["CREATED"]
    assert revisions_read == [], "the cached types are valid for a second"
    at[0] += event_type_commands.EVENT_TYPES_TTL_SECONDS + 0.001
    assert statuses_of(await elsewhere.record({})) == ["REJECTED"]
    assert revisions_read == [0, 1], "one read after the cache expired, one before an item is rejected"
    await define_event_type(business.ctx, "new", "New")
    await set_event_rules(business.ctx, Acceptance.STRICT)
    at[0] += event_type_commands.EVENT_TYPES_TTL_SECONDS + 0.001
    assert statuses_of(await elsewhere.record({"type": "new"})) == ["CREATED"]
    await define_event_type(business.ctx, "newer", "Newer")
    assert statuses_of(await elsewhere.record({"type": "newer"}, {"type": "none"})) == ["CREATED", "REJECTED"]


async def test_concurrent_changes_are_all_stored(business: Business) -> None:
    others = [business, *(open_other_process(business) for _ in range(3))]
    await asyncio.gather(
        *(define_event_type(each.ctx, f"type_{n}", f"Type {n}") for n, each in enumerate(others)),
        *(update_event_type(each.ctx, "purchase", f"Sale {n}") for n, each in enumerate(others)),
        *(set_event_rules(each.ctx, Acceptance.STRICT) for each in others),
    )
    fresh = open_other_process(business).ctx
    types = await event_types(fresh)
    assert {f"type_{n}" for n in range(4)} < set(types.defined)
    assert types.acceptance is Acceptance.STRICT
    sale = types.defined["purchase"]
    assert sale.version == 5
    versions = [await event_type(fresh, "purchase", version) for version in range(1, 6)]
    assert {found.label for found in versions if found} == {"Purchase", *(f"Sale {n}" for n in range(4))}


async def test_slow_read_does_not_replace_newer_types_in_the_cache(business: Business) -> None:
    cache, before = business.ctx.resources.cache, await event_types(business.ctx)
    changed = await set_event_rules(business.ctx, Acceptance.STRICT)
    cache.remember_event_types(before, 10**12)
    assert await event_types(business.ctx) == changed


async def test_label_and_staff_are_stored_and_staff_needs_its_scope(business: Business) -> None:
    """WH1-07, A1-05, A1-07: a member of staff enters an event by hand."""
    [result] = (await business.record({"label": "Lunch", "staff": "Mia", "external_id": "1"})).results
    event = result.event
    assert event is not None
    assert (event.label, event.origin.channel, event.origin.staff) == ("Lunch", "MANUAL", "Mia")
    assert await business.ctx.workspace.events.get_many([event.id]) == {event.id: event}
    till = replace(business.ctx, actor=replace(business.ctx.actor, scopes=frozenset({"write"})))
    with pytest.raises(Denied):
        await replace(business, ctx=till).record({}, {"staff": "Mia"})
    # A file that names a member of staff is not an entry by hand.
    [imported] = (await replace(business, ctx=replace(till, channel="IMPORT")).record({"staff": "Bo"})).results
    assert imported.event is not None
    assert (imported.event.origin.channel, imported.event.origin.staff) == ("IMPORT", "Bo")
    assert await business.ctx.resources.db["events"].count_documents({}) == 2
