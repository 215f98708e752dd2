"""Outcomes of recorded items: CREATED, DUPLICATE, CONFLICT or REJECTED, decided by what is stored under the same id."""

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
    """Outcome of the item at `index`.

    DUPLICATE and CONFLICT carry the event stored first; CONFLICT and REJECTED carry the problems.
    """

    index: int
    status: RecordStatus
    event: Event | None = None
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class BatchOutcome:
    """Results of a call in input order, as of the instant `at`."""

    results: list[ItemResult]
    at: datetime

    def _count(self, *statuses: RecordStatus) -> int:
        return sum(result.status in statuses for result in self.results)

    @property
    def created(self) -> int:
        """Number of items recorded by this call."""
        return self._count(RecordStatus.CREATED)

    @property
    def duplicate(self) -> int:
        """Number of items that were recorded before with the same content."""
        return self._count(RecordStatus.DUPLICATE)

    @property
    def failed(self) -> int:
        """Number of items that are not recorded: CONFLICT and REJECTED."""
        return self._count(RecordStatus.CONFLICT, RecordStatus.REJECTED)


@dataclass(frozen=True, slots=True)
class Item:
    """Event that would be recorded for the item at `index`, and the draft it was built from."""

    index: int
    event: Event
    fingerprint: bytes
    draft: Draft


async def find_stored(
    ctx: Context, items: Sequence[Item], first: Mapping[str, Item] = MappingProxyType({})
) -> dict[int, StoredEvent]:
    """Return, by item index, the event to compare each item with: the stored one, else the `first` of the same id.

    An event recorded on a pass that was merged since is a repeat of the same input for the survivor, so its fingerprint is
    replaced by the item's. An event on a pass whose erasure is under way counts as removed. Two round trips; a third only
    if events on other passes are found. Index: _id.
    """
    stored = await ctx.workspace.events.stored([item.event.id for item in items])
    compared: dict[int, StoredEvent] = {}
    for item in items:
        original = first.get(item.event.id, item)
        if (before := stored.get(item.event.id)) is not None:
            compared[item.index] = before
        elif original is not item:
            compared[item.index] = StoredEvent(original.fingerprint, original.event)
    secret = await ctx.secret()
    repeated: list[tuple[Item, Event]] = []
    for item in items:
        before = compared.get(item.index)
        if before is None or before.event is None or before.fingerprint == item.fingerprint:
            continue
        home = before.event.home_pass_id
        if home != item.event.pass_id and before.fingerprint == fingerprint(secret, item.draft, home):
            repeated.append((item, before.event))
    # Ask for the survivors of both passes: this process may not know a merge that the recording process knew.
    pass_ids = {pass_id for item, event in repeated for pass_id in (item.event.pass_id, event.pass_id)}
    survivors = await ctx.workspace.passes.existing(list(pass_ids)) if pass_ids else {}
    for item, event in repeated:
        survivor = survivors.get(event.pass_id)
        if survivor is None and event.id in stored:
            # The pass is being erased, and its external id is not free yet.
            compared[item.index] = StoredEvent(None, None)
        elif survivor is not None and survivor == survivors.get(item.event.pass_id):
            compared[item.index] = StoredEvent(item.fingerprint, event)
    return compared


def resolve_outcome(item: Item, stored: StoredEvent | None) -> ItemResult:
    """Return the outcome of an item whose id exists already. Raises Unavailable if the stored event is not readable yet."""
    if stored is None:
        # Another call inserted the id a moment ago. A retry of this call can read what it inserted.
        raise Unavailable("store")
    if stored.event is None:
        return ItemResult(item.index, RecordStatus.REJECTED, problems=(REMOVED,))
    if stored.fingerprint == item.fingerprint:
        return ItemResult(item.index, RecordStatus.DUPLICATE, stored.event)
    problem = Problem(
        Code.CONFLICT,
        "Another event with other content has this identity; send what was sent first, or another external id.",
        ("externalId",) if item.event.external_id is not None else (),
    )
    return ItemResult(item.index, RecordStatus.CONFLICT, stored.event, problems=(problem,))


async def reject_unless_stored(
    ctx: Context, items: Sequence[Item], problems: Mapping[int, tuple[Problem, ...]]
) -> list[ItemResult]:
    """Reject items for their problems, except those that are stored already: these are repeats. One round trip or more."""
    stored = await find_stored(ctx, items)
    return [
        ItemResult(item.index, RecordStatus.REJECTED, problems=problems[item.index])
        if (before := stored.get(item.index)) is None
        else resolve_outcome(item, before)
        for item in items
    ]
