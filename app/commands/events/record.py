"""recordEvent and recordEvents: check, append, wake the fold. Each item has a fate of its own, in the order sent.

One or two round trips for 1,000 events: look up the passes not yet known, insert what is new. One more where ids were
taken, to tell repeats from conflicts; one for what corrections name, one for items refused that may be repeats.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from app.commands.context import Context
from app.domain.actors import STAFF
from app.domain.errors import Code, InvalidInput, Problem, Refused, Unavailable
from app.domain.events.event_types import EventTypes
from app.domain.events.events import DEFAULT_SOURCE, Event, EventInput, Origin
from app.domain.events.receipts import RecordStatus
from app.domain.events.validation import Draft, ValidationRules, fingerprint, validate_event
from app.domain.ids import event_id, keyed_event_id, slot_of
from app.domain.values.text import parse_optional
from app.flow import range_of
from app.store.mongo.ids import ordered_id
from app.telemetry import tracing

from .corrections import resolve_corrections
from .event_types import event_types, latest_event_types
from .outcomes import (
    BatchOutcome,
    Item,
    ItemResult,
    find_stored,
    preview_outcomes,
    reject_unless_stored,
    resolve_outcome,
    would_fail,
)
from .pass_lookup import insert_missing, resolve_passes
from .vocabulary import record_words

MAX_EVENTS = 1_000
LIVE_CHANNELS = frozenset({"API", "BATCH"})
"""Doors at which a member of staff acts now, by hand. A file only tells of it, and any key that writes may import one."""


@tracing.traced("record")
async def record_events(
    ctx: Context,
    items: Sequence[EventInput],
    *,
    atomic: bool = False,
    create_missing_passes: bool = False,
    idempotency_key: str | None = None,
    default_source: str = DEFAULT_SOURCE,
    default_occurred_at: datetime | None = None,
    historical: bool = False,
    dry_run: bool = False,
) -> BatchOutcome:
    """What became of each of 1 to 1,000 items, in input order.

    Safe to repeat with the same external ids or the same `idempotency_key`. `atomic` writes nothing when an item is
    refused or contradicts what is stored. Raises Refused for the call as a whole, Unavailable; both before or without
    losing what was acknowledged. `dry_run` writes nothing at all and answers what would become of each item.
    Defaults stand in for what an item leaves out (now, for its instant), and are no part of what a repeat repeats.
    """
    check_size(items)
    parse_optional(idempotency_key, "idempotencyKey")
    now = await ctx.now()
    settings = ctx.resources.settings
    rules = ValidationRules(
        now,
        (await ctx.profile()).currency,
        settings.metadata_bytes,
        timedelta(seconds=settings.future_tolerance_seconds),
        default_source,
        default_occurred_at,
    )
    results: list[ItemResult | None] = [None] * len(items)
    drafts: dict[int, Draft] = {}
    types = await event_types(ctx)
    for index, sent in enumerate(items):
        try:
            drafts[index] = validate_event(sent, rules)
            if atomic and sent.external_id is None:
                raise InvalidInput(Code.REQUIRED, "Every item of an atomic batch has an external id.", "externalId")
        except Refused as error:
            drafts.pop(index, None)
            results[index] = ItemResult(index, RecordStatus.REJECTED, None, error.problems)
            continue
        if drafts[index].staff is not None and ctx.channel in LIVE_CHANNELS:
            ctx.actor.require(STAFF)
    drafts, refused = _judged_by(types, drafts)
    if refused and (newer := await latest_event_types(ctx)).revision > types.revision:
        # Elsewhere somebody has just defined what is refused here.
        types = newer
        drafts, refused = _judged_by(types, drafts)
    pass_ids, cards = await resolve_passes(ctx, drafts, now, create=create_missing_passes)
    if refused:
        # Nobody gets a pass by what is not recorded.
        wanted = {drafts[index].pass_external_id for index in drafts.keys() - refused.keys()}
        cards = [card for card in cards if card.external_id in wanted]
    if cards and not atomic and not dry_run:
        instead = await insert_missing(ctx, cards)
        pass_ids = {index: instead.get(pid, pid) if pid else None for index, pid in pass_ids.items()}
    for index, pass_id in pass_ids.items():
        if pass_id is None:
            name = "passId" if drafts[index].pass_id is not None else "passExternalId"
            advice = "No such pass in this workspace; create it, or send createMissingPasses with its external id."
            nowhere = Problem(Code.UNKNOWN, advice, (name,))
            results[index] = ItemResult(index, RecordStatus.REJECTED, None, (*refused.get(index, ()), nowhere))
    corrections, against = await resolve_corrections(ctx, drafts, pass_ids)
    against |= refused
    secret, origin = await ctx.secret(), ctx.origin
    new: dict[str, Item] = {}
    taken: list[Item] = []
    doubted: list[Item] = []
    for index, draft in drafts.items():
        pass_id = pass_ids[index]
        if pass_id is None:
            continue
        identity = _identity(ctx.workspace.id, draft, idempotency_key, index)
        counted = corrections.get(index, draft)
        item = Item(
            index,
            _event(counted, identity, pass_id, now, origin, historical, types.version_of(draft.type)),
            fingerprint(secret, draft, pass_id),
            draft,
        )
        if index in against:
            doubted.append(item)
        elif new.setdefault(identity, item) is not item:
            taken.append(item)
    if doubted:
        await reject_unless_stored(ctx, results, doubted, against)
    if atomic and await would_fail(ctx, results, new, taken):
        return BatchOutcome([result for result in results if result is not None], now)
    if dry_run:
        await preview_outcomes(ctx, results, new, taken)
        return BatchOutcome([result for result in results if result is not None], now)
    if cards and atomic and await insert_missing(ctx, cards):
        # Somebody made one of these passes in the same moment: what was judged no longer holds.
        raise Unavailable("store")
    first = list(new.values())
    await record_words(ctx, [item.event for item in first])
    collided = await ctx.workspace.events.insert([(item.event, item.fingerprint) for item in first])
    for position, item in enumerate(first):
        if position in collided:
            taken.append(item)
        else:
            results[item.index] = ItemResult(item.index, RecordStatus.CREATED, item.event)
    if taken:
        stored = await find_stored(ctx, taken)
        for item in taken:
            results[item.index] = resolve_outcome(item, stored.get(item.index))
    ctx.resources.bus.wake("fold", *{range_of(slot_of(item.event.pass_id)) for item in first})
    return BatchOutcome([result for result in results if result is not None], now)


def check_size(items: Sequence[EventInput]) -> None:
    """Nothing for 1 to 1,000 items; else raises InvalidInput, before anything is written."""
    if not 1 <= len(items) <= MAX_EVENTS:
        code = Code.TOO_MANY if items else Code.REQUIRED
        raise InvalidInput(code, f"Between 1 and {MAX_EVENTS} events a call; this one has {len(items)}.", "events")


def _judged_by(
    types: EventTypes, drafts: Mapping[int, Draft]
) -> tuple[dict[int, Draft], dict[int, tuple[Problem, ...]]]:
    """The drafts with the categories of their types, and what the definitions say against some of them."""
    resolve_outcome = {index: types.check(draft) for index, draft in drafts.items()}
    return (
        {index: draft for index, (draft, _) in resolve_outcome.items()},
        {index: problems for index, (_, problems) in resolve_outcome.items() if problems},
    )


def _identity(workspace_id: str, draft: Draft, idempotency_key: str | None, index: int) -> str:
    if draft.external_id is not None:
        return event_id(workspace_id, draft.source, draft.external_id)
    return ordered_id("event") if idempotency_key is None else keyed_event_id(workspace_id, idempotency_key, index)


def _event(
    draft: Draft, identity: str, pass_id: str, now: datetime, origin: Origin, historical: bool, version: int | None
) -> Event:
    if draft.staff is not None:
        origin = replace(
            origin, channel="MANUAL" if origin.channel in LIVE_CHANNELS else origin.channel, staff=draft.staff
        )
    return Event(
        identity, pass_id, draft.category, draft.type, draft.amount, draft.currency, draft.points, draft.source,
        draft.external_id, draft.metadata, draft.occurred_at or now, now, origin, draft.field_name, draft.old_value,
        draft.new_value, draft.correction_of, historical, points_expiry=draft.points_expiry,
        label=draft.label, definition_version=version,
    )  # fmt: skip
