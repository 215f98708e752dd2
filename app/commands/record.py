"""recordEvent and recordEvents: check, append, wake the fold. Each item has a fate of its own, in the order sent.

One or two round trips for 1,000 events: look up the passes not yet known, insert what is new. One more where ids were
taken, to tell repeats from conflicts; one for what corrections name, one for items refused that may be repeats.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from app import tracing
from app.domain.actors import STAFF
from app.domain.drafts import Draft, Rules, check, fingerprint
from app.domain.errors import Code, InvalidInput, Problem, Refused, Unavailable
from app.domain.events import DEFAULT_SOURCE, Event, EventInput, Origin
from app.domain.ids import event_id, keyed_event_id, slot_of
from app.domain.receipts import Status as Status
from app.domain.texts import parse_optional
from app.flow import range_of
from app.store.events import Stored
from app.store.ids import ordered_id

from .context import Context
from .corrections import beside_originals
from .event_types import event_types
from .missing import made, planned
from .vocabulary import note_words

MOST = 1_000
LIVE = frozenset({"API", "BATCH"})
"""Doors at which a member of staff acts now, by hand. A file only tells of it, and any key that writes may import one."""
REMOVED = Problem(Code.EVENT_REMOVED, "This event was removed; its identity is not given again.", ("externalId",))


@dataclass(frozen=True, slots=True)
class ItemResult:
    """What became of the item at `index`. DUPLICATE answers the event first stored; CONFLICT and REJECTED say why."""

    index: int
    status: Status
    event: Event | None = None
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class Outcome:
    """The results in input order, and how many there are of each kind (`failed`: CONFLICT and REJECTED); judged at `at`."""

    results: list[ItemResult]
    at: datetime

    def _count(self, *statuses: Status) -> int:
        return sum(result.status in statuses for result in self.results)

    @property
    def created(self) -> int:
        """How many were recorded now."""
        return self._count(Status.CREATED)

    @property
    def duplicate(self) -> int:
        """How many had been recorded before, with the same content."""
        return self._count(Status.DUPLICATE)

    @property
    def failed(self) -> int:
        """How many were not recorded."""
        return self._count(Status.CONFLICT, Status.REJECTED)


@dataclass(frozen=True, slots=True)
class _Item:
    index: int
    event: Event
    fingerprint: bytes
    draft: Draft


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
) -> Outcome:
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
    rules = Rules(
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
    refused: dict[int, tuple[Problem, ...]] = {}
    for index, sent in enumerate(items):
        try:
            drafts[index], problems = types.judged(check(sent, rules))
            if atomic and sent.external_id is None:
                raise InvalidInput(Code.REQUIRED, "Every item of an atomic batch has an external id.", "externalId")
        except Refused as error:
            drafts.pop(index, None)
            results[index] = ItemResult(index, Status.REJECTED, None, error.problems)
            continue
        if problems:
            refused[index] = problems
        if drafts[index].staff is not None and ctx.channel in LIVE:
            ctx.actor.require(STAFF)
    pass_ids, cards = await planned(ctx, drafts, now, create=create_missing_passes)
    if refused:
        # Nobody gets a pass by what is not recorded.
        wanted = {drafts[index].pass_external_id for index in drafts.keys() - refused.keys()}
        cards = [card for card in cards if card.external_id in wanted]
    if cards and not atomic and not dry_run:
        instead = await made(ctx, cards)
        pass_ids = {index: instead.get(pid, pid) if pid else None for index, pid in pass_ids.items()}
    for index, pass_id in pass_ids.items():
        if pass_id is None:
            name = "passId" if drafts[index].pass_id is not None else "passExternalId"
            advice = "No such pass in this workspace; create it, or send createMissingPasses with its external id."
            nowhere = Problem(Code.UNKNOWN, advice, (name,))
            results[index] = ItemResult(index, Status.REJECTED, None, (*refused.get(index, ()), nowhere))
    corrections, against = await beside_originals(ctx, drafts, pass_ids)
    against |= refused
    secret, origin = await ctx.secret(), ctx.origin
    new: dict[str, _Item] = {}
    taken: list[_Item] = []
    doubted: list[_Item] = []
    for index, draft in drafts.items():
        pass_id = pass_ids[index]
        if pass_id is None:
            continue
        identity = _identity(ctx.workspace.id, draft, idempotency_key, index)
        counted = corrections.get(index, draft)
        item = _Item(
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
        await _refused_unless_stored(ctx, results, doubted, against)
    if atomic and await _refused_whole(ctx, results, new, taken):
        return Outcome([result for result in results if result is not None], now)
    if dry_run:
        await _foreseen(ctx, results, new, taken)
        return Outcome([result for result in results if result is not None], now)
    if cards and atomic and await made(ctx, cards):
        # Somebody made one of these passes in the same moment: what was judged no longer holds.
        raise Unavailable("store")
    first = list(new.values())
    await note_words(ctx, [item.event for item in first])
    collided = await ctx.workspace.events.insert([(item.event, item.fingerprint) for item in first])
    for position, item in enumerate(first):
        if position in collided:
            taken.append(item)
        else:
            results[item.index] = ItemResult(item.index, Status.CREATED, item.event)
    if taken:
        stored = await _stored(ctx, taken)
        for item in taken:
            results[item.index] = _judged(item, stored.get(item.event.id))
    ctx.resources.bus.wake("fold", *{range_of(slot_of(item.event.pass_id)) for item in first})
    return Outcome([result for result in results if result is not None], now)


def check_size(items: Sequence[EventInput]) -> None:
    """Nothing for 1 to 1,000 items; else raises InvalidInput, before anything is written."""
    if not 1 <= len(items) <= MOST:
        code = Code.TOO_MANY if items else Code.REQUIRED
        raise InvalidInput(code, f"Between 1 and {MOST} events a call; this one has {len(items)}.", "events")


def _identity(workspace_id: str, draft: Draft, idempotency_key: str | None, index: int) -> str:
    if draft.external_id is not None:
        return event_id(workspace_id, draft.source, draft.external_id)
    return ordered_id("event") if idempotency_key is None else keyed_event_id(workspace_id, idempotency_key, index)


def _event(
    draft: Draft, identity: str, pass_id: str, now: datetime, origin: Origin, historical: bool, version: int | None
) -> Event:
    if draft.staff is not None:
        origin = replace(origin, channel="MANUAL" if origin.channel in LIVE else origin.channel, staff=draft.staff)
    return Event(
        identity, pass_id, draft.category, draft.type, draft.amount, draft.currency, draft.points, draft.source,
        draft.external_id, draft.metadata, draft.occurred_at or now, now, origin, draft.field_name, draft.old_value,
        draft.new_value, draft.correction_of, historical, points_end=draft.points_end,
        label=draft.label, definition_version=version,
    )  # fmt: skip


async def _stored(ctx: Context, items: Sequence[_Item]) -> dict[str, Stored]:
    """What is stored under the identities of the items.

    An event that was recorded on a pass since merged is a repeat of the same input for the pass that answers now: it is
    told as such. One round trip more, only where there is such an event.
    """
    stored = await ctx.workspace.events.stored([item.event.id for item in items])
    secret = await ctx.secret()
    repeated: dict[str, _Item] = {}
    for item in items:
        before = stored.get(item.event.id)
        if before is None or before.event is None or before.fingerprint == item.fingerprint:
            continue
        home = before.event.pass_id if before.event.move is None else before.event.move.home
        if home != item.event.pass_id and before.fingerprint == fingerprint(secret, item.draft, home):
            repeated[item.event.id] = item
    held = {key: event for key in repeated if (event := stored[key].event) is not None}
    answering = await ctx.workspace.passes.existing([event.pass_id for event in held.values()]) if held else {}
    for key, event in held.items():
        if answering.get(event.pass_id) == repeated[key].event.pass_id:
            stored[key] = replace(stored[key], fingerprint=repeated[key].fingerprint)
    return stored


def _judged(item: _Item, stored: Stored | None) -> ItemResult:
    """The fate of an item whose identity was taken, by what is stored there."""
    if stored is None:
        # Taken a moment ago and not readable yet: the same call, repeated, will know.
        raise Unavailable("store")
    if stored.event is None:
        return ItemResult(item.index, Status.REJECTED, None, (REMOVED,))
    if stored.fingerprint == item.fingerprint:
        return ItemResult(item.index, Status.DUPLICATE, stored.event)
    problem = Problem(
        Code.CONFLICT,
        "Another event with other content has this identity; send what was sent first, or another external id.",
        ("externalId",) if item.event.external_id is not None else (),
    )
    return ItemResult(item.index, Status.CONFLICT, stored.event, (problem,))


async def _refused_unless_stored(
    ctx: Context, results: list[ItemResult | None], doubted: list[_Item], against: Mapping[int, tuple[Problem, ...]]
) -> None:
    """Refuses items for what speaks against them now, except those recorded before it did: they are repeats."""
    stored = await _stored(ctx, doubted)
    for item in doubted:
        before = stored.get(item.event.id)
        refused = ItemResult(item.index, Status.REJECTED, None, against[item.index])
        results[item.index] = refused if before is None else _judged(item, before)


async def _foreseen(ctx: Context, results: list[ItemResult | None], new: dict[str, _Item], taken: list[_Item]) -> None:
    """Fills in what would become of the items that nothing speaks against so far."""
    stored = await _stored(ctx, list(new.values()))
    for item in (*new.values(), *taken):
        first = new[item.event.id]
        before = stored.get(item.event.id)
        if before is None and item is first:
            results[item.index] = ItemResult(item.index, Status.CREATED, item.event)
        else:
            results[item.index] = _judged(item, before or Stored(first.fingerprint, first.event))


async def _refused_whole(
    ctx: Context, results: list[ItemResult | None], new: dict[str, _Item], taken: list[_Item]
) -> bool:
    """Whether an atomic batch must not be written; then every item has its result."""
    stored = await _stored(ctx, list(new.values()))
    for item in [*new.values(), *taken]:
        before = stored.get(item.event.id)
        if before is not None:
            judged = _judged(item, before)
            if judged.status is not Status.DUPLICATE:
                results[item.index] = judged
        elif item.fingerprint != new[item.event.id].fingerprint:
            results[item.index] = _judged(item, Stored(new[item.event.id].fingerprint, new[item.event.id].event))
    if all(result is None or result.status is Status.DUPLICATE for result in results):
        return False
    untouched = Problem(Code.CONFLICT, "Not recorded: another item of this atomic batch was refused.")
    for index, result in enumerate(results):
        if result is None:
            results[index] = ItemResult(index, Status.REJECTED, None, (untouched,))
    return True
