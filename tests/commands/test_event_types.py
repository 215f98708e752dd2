"""What a workspace says of event types holds for every event from then on, and for none before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from app.commands import event_types as commands
from app.commands.event_types import (
    accept_event_types,
    archive_event_type,
    define_event_type,
    event_type,
    event_types,
    update_event_type,
)
from app.commands.record import Outcome
from app.domain.errors import Code, Denied, Refused
from app.domain.event_types import Acceptance
from app.domain.events import Category
from app.resources import Resources
from app.store.known import Known
from app.store.paging import Span
from tests.business import Business

STORE: Mapping[str, object] = {"name": "store", "type": "TEXT", "required": True}


def fates(outcome: Outcome) -> list[str]:
    return [result.status.value for result in outcome.results]


def problems(outcome: Outcome, index: int = 0) -> list[tuple[Code, tuple[str, ...]]]:
    return [(problem.code, problem.field) for problem in outcome.results[index].problems]


def another_process(business: Business) -> Business:
    return replace(business, ctx=replace(business.ctx, resources=replace(business.ctx.resources, known=Known())))


async def test_an_event_without_a_required_attribute_is_refused_alone_with_the_attributes_path(
    business: Business,
) -> None:
    """A1-02, A1-04, V1-01, V1-02: a custom type with typed attributes, some of them mandatory."""
    sizes = {"name": "size", "type": "ENUM", "allowedValues": ["S", "M"]}
    made = await define_event_type(business.ctx, "lookbook", "Lookbook", "ACTIVITY", "Seen", [STORE, sizes])
    assert (made.version, made.category, made.built_in) == (1, Category.ACTIVITY, False)
    outcome = await business.record(
        {"type": "lookbook", "metadata": {"store": "north", "size": "M", "more": 1}},
        {"type": "lookbook", "metadata": {"size": "XL"}, "pass_external_id": "nobody"},
        {"type": "lookbook", "metadata": {"store": 7}},
        {"type": "lookbook", "metadata": {"store": "north"}, "category": "CUSTOM"},
        {"type": "purchase"},
    )
    assert fates(outcome) == ["CREATED", "REJECTED", "REJECTED", "REJECTED", "CREATED"]
    assert problems(outcome, 1) == [
        (Code.REQUIRED, ("metadata", "store")),
        (Code.UNKNOWN, ("metadata", "size")),
    ]
    assert problems(outcome, 2) == [(Code.INVALID, ("metadata", "store"))]
    assert problems(outcome, 3) == [(Code.INVALID, ("category",))]
    event = outcome.results[0].event
    assert event is not None
    assert (event.category, event.definition_version) == (Category.ACTIVITY, 1)
    assert await business.ctx.workspace.passes.ids_of(["nobody"]) == {}, "what is refused makes no pass"
    assert await business.ctx.workspace.events.get_many([event.id]) == {event.id: event}


async def test_attributes_are_added_to_a_built_in_type_and_every_version_is_kept(business: Business) -> None:
    """A1-03: custom attributes on built-in events."""
    ctx = business.ctx
    before = await event_type(ctx, "purchase")
    assert before is not None
    assert (before.label, before.version, before.attributes) == ("Purchase", 1, ())
    changed = await update_event_type(ctx, "purchase", attributes=[STORE])
    assert await update_event_type(ctx, "purchase", attributes=[STORE]) == changed, "a repeat changes nothing"
    again = await update_event_type(ctx, "purchase", label="Sale", attributes=[])
    assert (changed.version, again.version) == (2, 3)
    found = [await event_type(ctx, "purchase", version) for version in (1, 2, 3, 4)]
    assert found == [before, changed, again, None]
    assert (await event_types(ctx)).label_of("purchase") == "Sale"
    [entry, *_] = (await ctx.workspace.audit.page(Span(5))).items
    assert (entry.action, entry.details) == ("updateEventType", {"key": "purchase"})
