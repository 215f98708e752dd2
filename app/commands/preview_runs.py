"""Runs of previews: they go through the passes of a workspace, some at a time, and write nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

from app.domain.activities import Entry
from app.domain.activity_queries import ActivityQuery
from app.domain.definitions import Definitions
from app.domain.errors import LimitExceeded, Unavailable
from app.domain.events.events import Event
from app.domain.explanation.explaining import DRAFT_ID
from app.domain.fold.copies import CopyWalk, TooMuchToRead, walk_step, walk_until
from app.domain.passes.passes import Pass
from app.domain.preview import Preview, PreviewOrder, PreviewTally, sum_tallies
from app.domain.segments.segments import Circle, Version
from app.domain.simulation import definitions_of, memberships_at
from app.domain.values.estimates import estimate_most
from app.domain.values.instants import from_ms
from app.domain.webhooks.endpoints import MAX_ENDPOINTS, EndpointStatus
from app.store.mongo.paging import Page, PageRequest
from app.store.mongo.usage import charge
from app.store.workspace.workspace import Workspace
from app.templates.rendering import LiquidTexts

from .copies import CopyReader
from .definitions import name_circle

T = TypeVar("T")
MAX_DRAWN_PASSES = 2_000
"""Passes that one request draws for an estimate, or replays."""
MAX_PREVIEWED_EVENTS = 100_000
"""Events that one request reads for a preview, or to replay passes."""
EVENTS_PER_WALK = 20_000
"""Events of one pass that a preview reads for its walk."""
CHUNK = 50
"""Passes of an estimate that are evaluated or replayed at once."""


@dataclass(frozen=True, slots=True)
class PagePreview:
    """The figures of some passes, and the ids of those that would be members."""

    tally: PreviewTally
    member_ids: Sequence[str]


class PreviewRun:
    """A preview that goes through the passes of a workspace, some at a time."""

    def __init__(self, workspace: Workspace, preview: Preview, *, is_replayed: bool) -> None:
        self._workspace, self._preview, self._is_replayed = workspace, preview, is_replayed
        self._texts = LiquidTexts()
        self._events_read = self._walked = 0

    @cached_property
    def _replayed(self) -> Definitions:
        """The definitions by which passes are replayed."""
        return definitions_of(self._preview.definitions.latest(), self._preview.version)

    def again(self) -> PreviewRun:
        """Return a run of the same preview that has read nothing yet."""
        return PreviewRun(self._workspace, self._preview, is_replayed=self._is_replayed)

    async def read(self, span: PageRequest) -> Page[Pass]:
        """Return a page of passes, the newest first, with what this preview reads of them."""
        preview = self._preview
        return await self._workspace.evaluable_passes.page(
            span, preview.measure_keys, is_counted=preview.may_build_measures, is_replayed=self._is_replayed
        )

    def read_all(self) -> AsyncIterator[list[Pass]]:
        """Iterate over all passes, in parts, with what this preview reads of them."""
        preview = self._preview
        return self._workspace.evaluable_passes.all(
            preview.measure_keys, is_counted=preview.may_build_measures, is_replayed=self._is_replayed
        )

    async def find_drawn(self, total: int) -> list[Pass] | None:
        """Return about 2,000 of the `total` passes, chosen at random; None if passes have no draws yet."""
        preview = self._preview
        await charge(min(MAX_DRAWN_PASSES, total))
        return await self._workspace.evaluable_passes.drawn(
            MAX_DRAWN_PASSES, total, preview.measure_keys,
            is_counted=preview.may_build_measures, is_replayed=self._is_replayed,
        )  # fmt: skip

    async def draw(self, total: int) -> list[Pass]:
        """Return passes as `find_drawn` does. Raises LimitExceeded if passes have no draws yet."""
        drawn = await self.find_drawn(total)
        if drawn is None:
            raise _too_large(
                f"The workspace has {total:,} passes, and `punchcard migrate` has not drawn some of them yet."
            )
        return drawn

    @property
    def may_read_events(self) -> bool:
        """Whether the answer for a pass may take its events. Walks read events in any case."""
        return self._is_replayed or self._preview.may_build_measures

    def most_events(self, drawn: Sequence[Pass], total: int) -> int:
        """Return how many events the preview reads for `total` passes at most, estimated from drawn ones.

        It is the upper end of the 95 % interval, without the events that walks need.
        """
        needs_history = self._preview.needs_history
        counts = [card.event_count if self._is_replayed or needs_history(card) else 0 for card in drawn]
        return estimate_most(counts, total)

    def is_outdated(self, cards: Sequence[Pass]) -> bool:
        """Return whether a pass was evaluated under definitions that the run does not have.

        Then begin another run.
        """
        return any(card.revision > self._preview.definitions.revision for card in cards)

    async def add(
        self, cards: Sequence[Pass], *, max_events: int | None = None, max_walked: int | None = None
    ) -> PagePreview:
        """Preview some passes. Raises LimitExceeded if the run has then read more events, or walked more passes."""
        preview = self._preview
        if self._is_replayed:
            return await self._add_replayed(cards, max_events)
        behind = [card for card in cards if preview.is_behind(card)]
        current = [card for card in cards if not preview.is_behind(card)]
        for card in behind:
            self._count_walk(max_walked)
            walked = await self._catch_up(card)
            if walked is not None:
                current.append(walked)
        reading = [card for card in current if preview.needs_history(card)]
        await self._count_read(reading, max_events)
        histories = await self._workspace.counted_events.histories(reading)
        moves = await asyncio.to_thread(self._find_moves, current, histories)
        tallies, members = list[PreviewTally](), list[str]()
        for card, (was_member, is_member) in zip(current, moves, strict=True):
            entries = None
            if preview.is_referenced and was_member != is_member:
                self._count_walk(max_walked)
                entries = await self._walk(card)
            tallies.append(preview.tally(card, was_member, is_member, entries))
            if is_member:
                members.append(card.id)
        return PagePreview(sum_tallies(tallies), members)

    async def replay(
        self, cards: Sequence[Pass], instants_ms: Sequence[int], *, max_events: int | None = None
    ) -> list[list[bool]]:
        """Return of each pass whether it would have been in the segment at instants, in order of time.

        Raises LimitExceeded as `add` does.
        """
        await self._count_read(cards, max_events)
        histories = await self._workspace.counted_events.histories(cards)
        return await asyncio.to_thread(self._replay, cards, histories, instants_ms)

    def _replay(
        self, cards: Sequence[Pass], histories: Mapping[str, Sequence[Event]], instants_ms: Sequence[int]
    ) -> list[list[bool]]:
        segment_id = self._preview.version.segment_id
        return [memberships_at(card, histories[card.id], self._replayed, segment_id, instants_ms) for card in cards]

    async def _add_replayed(self, cards: Sequence[Pass], max_events: int | None) -> PagePreview:
        found = await self.replay(cards, [self._preview.at_ms], max_events=max_events)
        segment_id, tallies, members = self._preview.version.segment_id, list[PreviewTally](), list[str]()
        for card, [is_member] in zip(cards, found, strict=True):
            was_member = segment_id in card.memberships
            entering, leaving = int(is_member and not was_member), int(was_member and not is_member)
            tallies.append(PreviewTally(passes=1, count=int(is_member), entering=entering, leaving=leaving))
            members += [card.id] if is_member else []
        return PagePreview(sum_tallies(tallies), members)

    async def _count_read(self, cards: Sequence[Pass], max_events: int | None) -> None:
        events = sum(card.event_count for card in cards)
        self._events_read += events
        if max_events is not None and self._events_read > max_events:
            raise _too_large(f"The preview takes more than {max_events:,} events.")
        await charge(events)

    def _find_moves(self, cards: Sequence[Pass], histories: Mapping[str, Sequence[Event]]) -> list[tuple[bool, bool]]:
        return [self._preview.find_move(card, histories.get(card.id)) for card in cards]

    def _count_walk(self, max_walked: int | None) -> None:
        self._walked += 1
        if max_walked is not None and self._walked > max_walked:
            raise _too_large(f"The preview has to walk more than {max_walked:,} passes one by one.")

    async def _catch_up(self, card: Pass) -> Pass | None:
        """Return the pass as a worker will leave it; None if it is gone."""
        preview, found = self._preview, await self._workspace.passes.complete(card.id)
        if found is None or found.id != card.id:
            return None
        at_ms = max(preview.at_ms, found.evaluated_until_ms)
        return await self._run(walk_until(found, preview.definitions, at_ms, self._texts))

    async def _walk(self, card: Pass) -> Sequence[Entry]:
        """Return what a walk of a copy adds to the outbox under the edit."""
        preview, found = self._preview, await self._catch_up(card) or card
        at_ms = max(preview.at_ms, found.evaluated_until_ms)
        after = await self._run(walk_step(found, preview.definitions_after, at_ms, self._texts))
        return after.outbox[len(found.outbox) :]

    async def _run(self, walk: CopyWalk[Pass]) -> Pass:
        try:
            return await CopyReader(self._workspace).run(walk, EVENTS_PER_WALK)
        except TooMuchToRead:
            raise Unavailable("workers") from None


async def run_in_chunks(cards: Sequence[Pass], run: Callable[[Sequence[Pass]], Awaitable[T]]) -> list[T]:
    """Return what a run gives for 50 of the passes at a time. It ends before the chunk that would exceed its limits.

    Raises LimitExceeded if that is the first one.
    """
    results: list[T] = []
    for start in range(0, len(cards), CHUNK):
        try:
            results.append(await run(cards[start : start + CHUNK]))
        except LimitExceeded:
            if not results:
                raise
            break
    return results


async def start_run(
    workspace: Workspace, definitions: Definitions, order: PreviewOrder, now_ms: int, *, is_replayed: bool = False
) -> PreviewRun:
    """Return the run of a preview, now or at the instant of the order. With `is_replayed`, it replays passes.

    Raises NotFound and InvalidInput for criteria that name wrong segments.
    """
    segment_id = order.segment_id or DRAFT_ID
    at_ms = now_ms if order.at_ms is None else order.at_ms
    before = definitions.latest().get(segment_id)
    version = Version(
        segment_id=segment_id,
        revision=definitions.revision + 1,
        version=1 if before is None else before.version + 1,
        criteria=order.criteria,
        timezone=order.timezone,
        zone_field=order.zone_field,
        archived=False,
        notify=order.notify,
        at=from_ms(at_ms),
        fires_rules=order.fires_rules,
    )
    endpoints = (await workspace.webhooks.page(PageRequest(MAX_ENDPOINTS))).items
    filters: list[ActivityQuery] = [each.filter for each in endpoints if each.status is EndpointStatus.ENABLED]
    try:
        preview = Preview(definitions, version, at_ms, filters=filters)
    except Circle as circle:
        raise await name_circle(workspace.segments, circle) from None
    return PreviewRun(workspace, preview, is_replayed=is_replayed or order.at_ms is not None)


def _too_large(reason: str) -> LimitExceeded:
    """Return the error for a preview that a request does not compute."""
    return LimitExceeded(f"{reason} Call previewSegment instead, a job that previews any number.", "criteria")
