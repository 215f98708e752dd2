"""recordEvent and recordEvents: validate items, resolve their passes, insert the events, wake the fold.

Recording 1,000 new events takes one or two round trips: one looks up passes that this process has not cached, one inserts
the events. Three more are possible: one reads the originals of corrections, one reads events whose ids exist already, and
one looks for stored copies of items that would be rejected today.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from app.commands.context import Context
from app.domain.actors import STAFF
from app.domain.errors import Code, InvalidInput, Problem, Refused, Unavailable
from app.domain.events.attributes import Examined
from app.domain.events.event_types import EventTypes
from app.domain.events.events import DEFAULT_SOURCE, GIFTS, Event, EventInput, Origin
from app.domain.events.guards import GUARDED_TYPES, NO_DEBT, Guard
from app.domain.events.receipts import RecordStatus
from app.domain.events.validation import Draft, ValidationRules, fingerprint, validate_event
from app.domain.ids import event_id, keyed_event_id
from app.domain.passes.passes import Pass
from app.domain.values.text import parse_optional
from app.store.mongo.ids import ordered_id
from app.store.mongo.points import charge_points
from app.telemetry import tracing

from . import outcomes, pass_lookup
from .corrections import resolve_corrections
from .event_types import allows_negative_balance, event_types, latest_event_types
from .outcomes import BatchOutcome, Item, ItemResult
from .vocabulary import record_words, words_of

MAX_EVENTS = 1_000
VALUES_PER_PAUSE = 20_000
"""Values of attributes that a call checks before other requests of the process go on, and before it pays for them."""
VALUES_PER_POINT = 10
"""Values of attributes that cost a point. The first 20,000 of a call are free."""
LIVE_CHANNELS = frozenset({"API", "BATCH"})
"""Channels on which naming a member of staff means that this person acts now, by hand. A file only reports it."""


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
    """Record 1 to 1,000 items and return the outcome of each, in input order.

    Safe to repeat with the same external ids or the same `idempotency_key`. With `atomic`, nothing is written if an item
    is REJECTED or a CONFLICT. With `dry_run`, nothing is written at all. `default_source` and `default_occurred_at` (else
    now) replace what an item leaves out; they do not belong to the content by which a repeat is recognized.
    Raises Refused if the call as a whole is invalid. Raises Unavailable if the store does not answer; acknowledged events
    are never lost by that.
    """
    check_size(items)
    parse_optional(idempotency_key, "idempotencyKey")
    rules = await validation_rules(ctx, default_source, default_occurred_at, is_import=historical)
    batch = Batch(items, rules, atomic=atomic)
    await batch.validate(ctx)
    await batch.resolve_passes(ctx, create=create_missing_passes, historical=historical)
    if not atomic and not dry_run:
        await batch.insert_missing_passes(ctx)
    batch.reject_without_pass()
    await batch.build_items(ctx, idempotency_key, historical=historical)
    if atomic and await batch.would_fail(ctx):
        return batch.outcome()
    if dry_run:
        return await batch.preview(ctx)
    if atomic and await batch.insert_missing_passes(ctx):
        # Another process created one of these passes in the meantime, so the checks above may no longer hold.
        raise Unavailable("store")
    await batch.insert(ctx)
    return batch.outcome()


def check_size(items: Sequence[EventInput]) -> None:
    """Raise InvalidInput unless there are 1 to 1,000 items."""
    if not 1 <= len(items) <= MAX_EVENTS:
        code = Code.TOO_MANY if items else Code.REQUIRED
        raise InvalidInput(code, f"Between 1 and {MAX_EVENTS} events a call; this one has {len(items)}.", "events")


async def validation_rules(
    ctx: Context,
    default_source: str = DEFAULT_SOURCE,
    default_occurred_at: datetime | None = None,
    *,
    is_import: bool = False,
) -> ValidationRules:
    """Return the limits and defaults for events of the workspace. Raises Unavailable."""
    settings = ctx.resources.settings
    return ValidationRules(
        now=await ctx.now(),
        default_currency=(await ctx.profile()).currency,
        metadata_bytes=settings.metadata_bytes,
        future_tolerance=timedelta(seconds=settings.future_tolerance_seconds),
        default_source=default_source,
        default_occurred_at=default_occurred_at,
        is_import=is_import,
    )


class Batch:
    """Items of one call on their way to the store: each has a draft, then an event, then a result."""

    def __init__(self, sent: Sequence[EventInput], rules: ValidationRules, *, atomic: bool) -> None:
        self._sent, self._rules, self._atomic = sent, rules, atomic
        self._results: list[ItemResult | None] = [None] * len(sent)
        self._drafts: dict[int, Draft] = {}
        self._problems: dict[int, tuple[Problem, ...]] = {}
        """Why a valid draft is rejected today. A copy recorded before the reason arose is still a DUPLICATE."""
        self._types: EventTypes | None = None
        self._pass_ids: dict[int, str | None] = {}
        self._missing_passes: list[Pass] = []
        self._new: dict[str, Item] = {}
        """The first item of each event id."""
        self._repeated: list[Item] = []
        """Items whose event id exists already, in this call or in the store."""

    async def validate(self, ctx: Context) -> None:
        """Check each item by itself and by the definition of its type. Raises Denied if a key may not name staff."""
        for index, sent in enumerate(self._sent):
            try:
                draft = validate_event(sent, self._rules)
                if self._atomic and sent.external_id is None:
                    raise InvalidInput(Code.REQUIRED, "Every item of an atomic batch has an external id.", "externalId")
            except Refused as refused:
                self._reject(index, refused.problems)
                continue
            if draft.staff is not None and ctx.channel in LIVE_CHANNELS:
                ctx.actor.require(STAFF)
            self._drafts[index] = draft
        self._types = await event_types(ctx)
        await self._check_types(self._types)
        # Another process may have defined a moment ago what this process rejects: read the definitions again.
        if self._problems and (newer := await latest_event_types(ctx)).revision > self._types.revision:
            self._types = newer
            await self._check_types(newer)

    async def _check_types(self, types: EventTypes) -> None:
        """Check each draft by the definition of its type, and charge for drafts with many values."""
        checked: dict[int, tuple[Draft, tuple[Problem, ...]]] = {}
        examined, pausing_at = Examined(), VALUES_PER_PAUSE
        for index, draft in self._drafts.items():
            checked[index] = types.check(draft, examined)
            if examined.of_call > pausing_at:
                pausing_at = examined.of_call + VALUES_PER_PAUSE
                await charge_points(VALUES_PER_PAUSE // VALUES_PER_POINT)
                await asyncio.sleep(0)
        self._drafts = {index: draft for index, (draft, _) in checked.items()}
        self._problems = {index: problems for index, (_, problems) in checked.items() if problems}

    async def resolve_passes(self, ctx: Context, *, create: bool, historical: bool) -> None:
        """Find the pass of each draft; with `create`, prepare a new pass for each unknown external id."""
        self._pass_ids, missing = await pass_lookup.resolve_passes(
            ctx, self._drafts, self._rules.now, create=create, historical=historical
        )
        # Do not create passes for items that will be rejected.
        wanted = {self._drafts[index].pass_external_id for index in self._drafts.keys() - self._problems.keys()}
        self._missing_passes = [card for card in missing if card.external_id in wanted]

    async def insert_missing_passes(self, ctx: Context) -> bool:
        """Insert the prepared passes and return whether another process had created one of them meanwhile."""
        if not self._missing_passes:
            return False
        existing = await pass_lookup.insert_missing(ctx, self._missing_passes)
        self._pass_ids = {index: existing.get(pid, pid) if pid else None for index, pid in self._pass_ids.items()}
        return bool(existing)

    def reject_without_pass(self) -> None:
        """Reject the drafts whose pass does not exist."""
        for index, pass_id in self._pass_ids.items():
            if pass_id is None:
                self._reject(index, (*self._problems.get(index, ()), pass_lookup.find_problem(self._drafts[index])))

    async def build_items(self, ctx: Context, idempotency_key: str | None, *, historical: bool) -> None:
        """Give each draft its id, fingerprint and event; resolve at once those that would be rejected today."""
        assert self._types is not None, "validate was called"
        corrections, conflicts = await resolve_corrections(ctx, self._drafts, self._pass_ids)
        self._problems = conflicts | self._problems
        secret, rejected = await ctx.secret(), []
        allows_debt = historical or await allows_negative_balance(ctx, self._types)
        for index, draft in self._drafts.items():
            pass_id = self._pass_ids[index]
            if pass_id is None:
                continue
            identity = _identity(ctx.workspace.id, draft, idempotency_key, index)
            event = build_event(
                corrections.get(index, draft),
                identity,
                pass_id,
                now=self._rules.now,
                origin=ctx.origin,
                historical=historical,
                definition_version=self._types.version_of(draft.type),
                guard=_guard_of(draft, allows_debt=allows_debt, historical=historical),
            )
            item = Item(index=index, event=event, fingerprint=fingerprint(secret, draft, pass_id), draft=draft)
            if index in self._problems:
                rejected.append(item)
            elif self._new.setdefault(identity, item) is not item:
                self._repeated.append(item)
        if rejected:
            self._set_results(await outcomes.reject_unless_stored(ctx, rejected, self._problems))

    async def would_fail(self, ctx: Context) -> bool:
        """Return whether an atomic batch must not be written; if so, give every item its result."""
        stored = await outcomes.find_stored(ctx, [*self._new.values(), *self._repeated], self._new)
        for item in (*self._new.values(), *self._repeated):
            if (before := stored.get(item.index)) is not None:
                outcome = outcomes.resolve_outcome(item, before)
                if outcome.status is not RecordStatus.DUPLICATE:
                    self._results[item.index] = outcome
        if all(result is None or result.status is RecordStatus.DUPLICATE for result in self._results):
            return False
        not_recorded = Problem(Code.CONFLICT, "Not recorded: another item of this atomic batch was refused.")
        for index in [index for index, result in enumerate(self._results) if result is None]:
            self._reject(index, (not_recorded,))
        return True

    async def preview(self, ctx: Context) -> BatchOutcome:
        """Return the outcome that recording the batch now would have."""
        stored = await outcomes.find_stored(ctx, [*self._new.values(), *self._repeated], self._new)
        for item in (*self._new.values(), *self._repeated):
            before = stored.get(item.index)
            created = ItemResult(item.index, RecordStatus.CREATED, item.event)
            self._results[item.index] = created if before is None else outcomes.resolve_outcome(item, before)
        return self.outcome()

    async def insert(self, ctx: Context) -> None:
        """Insert the new events, tell repeats from conflicts, and wake the fold. Safe to repeat with the same ids."""
        items = list(self._new.values())
        new_words = await record_words(ctx, [item.event for item in items])
        existing = await ctx.workspace.events.insert([(item.event, item.fingerprint) for item in items])
        for number, item in enumerate(items):
            if number in existing:
                self._repeated.append(item)
            else:
                self._results[item.index] = ItemResult(item.index, RecordStatus.CREATED, item.event)
        if new_words and existing:
            # An event that was removed is not recorded again, so its words may have no event.
            created = [item.event for number, item in enumerate(items) if number not in existing]
            await ctx.workspace.vocabulary.doubt(new_words - words_of(created))
        if self._repeated:
            stored = await outcomes.find_stored(ctx, self._repeated)
            for item in self._repeated:
                self._results[item.index] = outcomes.resolve_outcome(item, stored.get(item.index))
        ctx.resources.wake_fold(ctx.workspace.id, {item.event.pass_id for item in items})

    def outcome(self) -> BatchOutcome:
        """Return the results so far, in input order."""
        return BatchOutcome([result for result in self._results if result is not None], self._rules.now)

    def _set_results(self, results: Sequence[ItemResult]) -> None:
        for result in results:
            self._results[result.index] = result

    def _reject(self, index: int, problems: Sequence[Problem]) -> None:
        self._results[index] = ItemResult(index, RecordStatus.REJECTED, problems=tuple(problems))


def _identity(workspace_id: str, draft: Draft, idempotency_key: str | None, index: int) -> str:
    if draft.external_id is not None:
        return event_id(workspace_id, draft.source, draft.external_id)
    return ordered_id("event") if idempotency_key is None else keyed_event_id(workspace_id, idempotency_key, index)


def _guard_of(draft: Draft, *, allows_debt: bool, historical: bool) -> Guard | None:
    """Return what the walk asks before the event counts. Historical imports are not guarded."""
    if not historical and draft.type in GIFTS:
        return replace(draft.guard or Guard(), gift=True)
    if historical or draft.guard is not None:
        return None if historical else draft.guard
    return NO_DEBT if draft.points < 0 and draft.type in GUARDED_TYPES and not allows_debt else None


def build_event(
    draft: Draft,
    identity: str,
    pass_id: str,
    *,
    now: datetime,
    origin: Origin,
    historical: bool,
    definition_version: int | None,
    guard: Guard | None,
) -> Event:
    """Return the event of a draft, recorded now."""
    if draft.staff is not None:
        channel = "MANUAL" if origin.channel in LIVE_CHANNELS else origin.channel
        origin = replace(origin, channel=channel, staff=draft.staff)
    return Event(
        id=identity,
        pass_id=pass_id,
        category=draft.category,
        type=draft.type,
        amount=draft.amount,
        currency=draft.currency,
        points=draft.points,
        source=draft.source,
        external_id=draft.external_id,
        metadata=draft.metadata,
        split_metadata=draft.split_metadata,
        # A guarded event is decided when it is recorded, not in the past.
        occurred_at=now if guard is not None else draft.occurred_at or now,
        recorded_at=now,
        guard=guard,
        performed_at=None if guard is None else draft.occurred_at,
        origin=origin,
        field_name=draft.field_name,
        old_value=draft.old_value,
        new_value=draft.new_value,
        correction_of=draft.correction_of,
        corrected_order=draft.corrected_order,
        root=draft.root,
        historical=historical,
        points_expiry=draft.points_expiry,
        label=draft.label,
        definition_version=definition_version,
    )
