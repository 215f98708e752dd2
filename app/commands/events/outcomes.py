"""Fates: what becomes of items whose identity is taken, of those refused that may be repeats, and of whole batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType

from app.commands.context import Context
from app.domain.errors import Code, Problem, Unavailable
from app.domain.events.events import Event
from app.domain.events.receipts import RecordStatus
from app.domain.events.validation import Draft, fingerprint
from app.store.workspace.events import StoredEvent

REMOVED = Problem(Code.EVENT_REMOVED, "This event was removed; its identity is not given again.", ("externalId",))


@dataclass(frozen=True, slots=True)
class ItemResult:
    """What became of the item at `index`. DUPLICATE answers the event first stored; CONFLICT and REJECTED say why."""

    index: int
    status: RecordStatus
    event: Event | None = None
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class BatchOutcome:
    """The results in input order, and how many there are of each kind (`failed`: CONFLICT and REJECTED); judged at `at`."""

    results: list[ItemResult]
    at: datetime

    def _count(self, *statuses: RecordStatus) -> int:
        return sum(result.status in statuses for result in self.results)

    @property
    def created(self) -> int:
        """How many were recorded now."""
        return self._count(RecordStatus.CREATED)

    @property
    def duplicate(self) -> int:
        """How many had been recorded before, with the same content."""
        return self._count(RecordStatus.DUPLICATE)

    @property
    def failed(self) -> int:
        """How many were not recorded."""
        return self._count(RecordStatus.CONFLICT, RecordStatus.REJECTED)


@dataclass(frozen=True, slots=True)
class Item:
    """An item of a batch as it would be recorded, and the draft that it was made of."""

    index: int
    event: Event
    fingerprint: bytes
    draft: Draft


async def find_stored(
    ctx: Context, items: Sequence[Item], first: Mapping[str, Item] = MappingProxyType({})
) -> dict[int, StoredEvent]:
    """By place in the call, what each item is judged beside: what is stored under its identity, or else the `first` item of
    the call that has it.

    An event that was recorded on a pass since merged is a repeat of the same input for the pass that answers now: it is
    told as such; one on a pass that is being erased as removed. One round trip more, only where there is such an event.
    """
    stored = await ctx.workspace.events.stored([item.event.id for item in items])
    beside: dict[int, StoredEvent] = {}
    for item in items:
        original = first.get(item.event.id, item)
        if (before := stored.get(item.event.id)) is not None:
            beside[item.index] = before
        elif original is not item:
            beside[item.index] = StoredEvent(original.fingerprint, original.event)
    secret = await ctx.secret()
    repeated: list[tuple[Item, Event]] = []
    for item in items:
        before = beside.get(item.index)
        if before is None or before.event is None or before.fingerprint == item.fingerprint:
            continue
        home = before.event.home_pass_id
        if home != item.event.pass_id and before.fingerprint == fingerprint(secret, item.draft, home):
            repeated.append((item, before.event))
    # Either may be the older view: this process may not have heard yet of a merge that whoever recorded knew.
    named = {pass_id for item, event in repeated for pass_id in (item.event.pass_id, event.pass_id)}
    answering = await ctx.workspace.passes.existing(list(named)) if named else {}
    for item, event in repeated:
        heir = answering.get(event.pass_id)
        if heir is None and event.id in stored:
            # Its pass is being erased, and the name not somebody else's yet.
            beside[item.index] = StoredEvent(None, None)
        elif heir is not None and heir == answering.get(item.event.pass_id):
            beside[item.index] = StoredEvent(item.fingerprint, event)
    return beside


def resolve_outcome(item: Item, stored: StoredEvent | None) -> ItemResult:
    """The fate of an item whose identity was taken, by what is stored there."""
    if stored is None:
        # Taken a moment ago and not readable yet: the same call, repeated, will know.
        raise Unavailable("store")
    if stored.event is None:
        return ItemResult(item.index, RecordStatus.REJECTED, None, (REMOVED,))
    if stored.fingerprint == item.fingerprint:
        return ItemResult(item.index, RecordStatus.DUPLICATE, stored.event)
    problem = Problem(
        Code.CONFLICT,
        "Another event with other content has this identity; send what was sent first, or another external id.",
        ("externalId",) if item.event.external_id is not None else (),
    )
    return ItemResult(item.index, RecordStatus.CONFLICT, stored.event, (problem,))


async def reject_unless_stored(
    ctx: Context, results: list[ItemResult | None], doubted: list[Item], against: Mapping[int, tuple[Problem, ...]]
) -> None:
    """Refuses items for what speaks against them now, except those recorded before it did: they are repeats."""
    stored = await find_stored(ctx, doubted)
    for item in doubted:
        before = stored.get(item.index)
        refused = ItemResult(item.index, RecordStatus.REJECTED, None, against[item.index])
        results[item.index] = refused if before is None else resolve_outcome(item, before)


async def preview_outcomes(
    ctx: Context, results: list[ItemResult | None], new: dict[str, Item], taken: list[Item]
) -> None:
    """Fills in what would become of the items that nothing speaks against so far."""
    items = [*new.values(), *taken]
    stored = await find_stored(ctx, items, new)
    for item in items:
        before = stored.get(item.index)
        created = ItemResult(item.index, RecordStatus.CREATED, item.event)
        results[item.index] = created if before is None else resolve_outcome(item, before)


async def would_fail(ctx: Context, results: list[ItemResult | None], new: dict[str, Item], taken: list[Item]) -> bool:
    """Whether an atomic batch must not be written; then every item has its result."""
    items = [*new.values(), *taken]
    stored = await find_stored(ctx, items, new)
    for item in items:
        if (before := stored.get(item.index)) is not None:
            fate = resolve_outcome(item, before)
            if fate.status is not RecordStatus.DUPLICATE:
                results[item.index] = fate
    if all(result is None or result.status is RecordStatus.DUPLICATE for result in results):
        return False
    untouched = Problem(Code.CONFLICT, "Not recorded: another item of this atomic batch was refused.")
    for index, result in enumerate(results):
        if result is None:
            results[index] = ItemResult(index, RecordStatus.REJECTED, None, (untouched,))
    return True
