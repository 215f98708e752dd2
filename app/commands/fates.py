"""Fates: what becomes of items whose identity is taken, of those refused that may be repeats, and of whole batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from app.domain.drafts import Draft, fingerprint
from app.domain.errors import Code, Problem, Unavailable
from app.domain.events import Event
from app.domain.receipts import Status
from app.store.events import Stored

from .context import Context

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
class Item:
    """An item of a batch as it would be recorded, and the draft that it was made of."""

    index: int
    event: Event
    fingerprint: bytes
    draft: Draft


async def stored_under(ctx: Context, items: Sequence[Item]) -> dict[str, Stored]:
    """What is stored under the identities of the items.

    An event that was recorded on a pass since merged is a repeat of the same input for the pass that answers now: it is
    told as such; one on a pass that is being erased as removed. One round trip more, only where there is such an event.
    """
    stored = await ctx.workspace.events.stored([item.event.id for item in items])
    secret = await ctx.secret()
    repeated: dict[str, Item] = {}
    for item in items:
        before = stored.get(item.event.id)
        if before is None or before.event is None or before.fingerprint == item.fingerprint:
            continue
        home = before.event.home
        if home != item.event.pass_id and before.fingerprint == fingerprint(secret, item.draft, home):
            repeated[item.event.id] = item
    held = {key: event for key in repeated if (event := stored[key].event) is not None}
    # Either may be the older view: this process may not have heard yet of a merge that whoever recorded knew.
    named = {event.pass_id for event in held.values()} | {item.event.pass_id for item in repeated.values()}
    answering = await ctx.workspace.passes.existing(list(named)) if held else {}
    for key, event in held.items():
        heir = answering.get(event.pass_id)
        if heir is None:
            # Its pass is being erased, and the name not somebody else's yet.
            stored[key] = Stored(None, None)
        elif heir == answering.get(repeated[key].event.pass_id):
            stored[key] = replace(stored[key], fingerprint=repeated[key].fingerprint)
    return stored


def judged(item: Item, stored: Stored | None) -> ItemResult:
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


async def refused_unless_stored(
    ctx: Context, results: list[ItemResult | None], doubted: list[Item], against: Mapping[int, tuple[Problem, ...]]
) -> None:
    """Refuses items for what speaks against them now, except those recorded before it did: they are repeats."""
    stored = await stored_under(ctx, doubted)
    for item in doubted:
        before = stored.get(item.event.id)
        refused = ItemResult(item.index, Status.REJECTED, None, against[item.index])
        results[item.index] = refused if before is None else judged(item, before)


async def foreseen(ctx: Context, results: list[ItemResult | None], new: dict[str, Item], taken: list[Item]) -> None:
    """Fills in what would become of the items that nothing speaks against so far."""
    stored = await stored_under(ctx, list(new.values()))
    for item in (*new.values(), *taken):
        first = new[item.event.id]
        before = stored.get(item.event.id)
        if before is None and item is first:
            results[item.index] = ItemResult(item.index, Status.CREATED, item.event)
        else:
            results[item.index] = judged(item, before or Stored(first.fingerprint, first.event))


async def refused_whole(
    ctx: Context, results: list[ItemResult | None], new: dict[str, Item], taken: list[Item]
) -> bool:
    """Whether an atomic batch must not be written; then every item has its result."""
    stored = await stored_under(ctx, list(new.values()))
    for item in [*new.values(), *taken]:
        before = stored.get(item.event.id)
        if before is not None:
            fate = judged(item, before)
            if fate.status is not Status.DUPLICATE:
                results[item.index] = fate
        elif item.fingerprint != new[item.event.id].fingerprint:
            results[item.index] = judged(item, Stored(new[item.event.id].fingerprint, new[item.event.id].event))
    if all(result is None or result.status is Status.DUPLICATE for result in results):
        return False
    untouched = Problem(Code.CONFLICT, "Not recorded: another item of this atomic batch was refused.")
    for index, result in enumerate(results):
        if result is None:
            results[index] = ItemResult(index, Status.REJECTED, None, (untouched,))
    return True
