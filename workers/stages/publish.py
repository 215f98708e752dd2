"""Publish: append the outboxes of passes to the activity log of their workspace, whose positions are dense.

Position p is written only after p - 1 exists, and an activity's id is its pass and its number. A worker that races another
or repeats a round gets a duplicate-key error, drops what is in the log already, and continues.
(Source: docs/explanation/exactly-once.md.)
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

from app.clock import SystemClock
from app.domain.activities import TRANSITIONS, Activity, Entry
from app.domain.events.events import INTERNAL_TYPES, Event
from app.domain.reactions.reactions import reactions_of
from app.domain.rendering import event_id_of, render_activity
from app.domain.rollups.marks import counted_hour_of
from app.domain.values.instants import to_ms
from app.feed.tailer import topic
from app.store.mongo.horizons import Horizon
from app.store.stages.publish import Waiting, entries_in_order
from app.store.stages.rollup_marks import Hour
from app.store.workspace.vocabulary import SOURCE, TYPE, Word
from app.store.workspace.workspace import Workspace
from app.telemetry import metrics
from workers.worker import Worker

PASSES_PER_ROUND = 1_000
ENTRIES_PER_PASS = 50
"""Entries that one round takes from one pass."""
MAX_ENTRIES_PER_ROUND = 10_000
"""Entries that one round reads: they are held in memory. The passes behind them wait for the next round."""
ENTRIES_PER_STEP = 500
"""Entries that a round renders, appends and removes from their outboxes at once. A crash repeats one step at most."""
READ_ON_AFTER = 1_000
"""Positions after which react and the history of segments read on, even if nothing follows from them there."""
WORDS_TTL_SECONDS = 10.0
"""The time after which a worker stores types and sources again, in case the stage forget has deleted them meanwhile."""


async def publish(worker: Worker, workspace_id: str) -> None:
    """Publish the outboxes of a workspace until all are empty. Safe to repeat, and to run in several workers at once."""
    await worker.run_alone("publish", workspace_id, lambda: publish_once(worker, workspace_id))


async def publish_once(worker: Worker, workspace_id: str) -> bool:
    """Run one round and return whether it published anything."""
    horizon = worker.horizons.pop(workspace_id, Horizon())
    waiting, horizon = await worker.publish_queries.waiting(workspace_id, horizon, PASSES_PER_ROUND, ENTRIES_PER_PASS)
    waiting = _limit_entries(waiting)
    entries = entries_in_order(waiting, ENTRIES_PER_PASS)
    if not entries:
        return False
    if horizon.until_ms is not None:
        worker.horizons[workspace_id] = horizon
    for start in range(0, len(entries), ENTRIES_PER_STEP):
        await _publish_entries(worker, workspace_id, entries[start : start + ENTRIES_PER_STEP], waiting)
    # The fold may have stopped at a pass whose outbox was full.
    relieved = [pass_id for pass_id, taken in waiting.items() if len(taken.entries) == ENTRIES_PER_PASS]
    worker.resources.wake_fold(workspace_id, relieved)
    return True


async def _publish_entries(
    worker: Worker, workspace_id: str, entries: Sequence[tuple[str, Entry]], waiting: Mapping[str, Waiting]
) -> None:
    """Append entries of outboxes to the log in this order, announce them, and remove them from the outboxes."""
    workspace = worker.resources.workspace(workspace_id)
    made = [entry.made for _, entry in entries if entry.made]
    await _record_words(worker, workspace, made)
    # Before the log: an activity must not tell of an event that does not exist. Before the pull: the outbox is the only
    # other place where the event is stored.
    await worker.publish_queries.insert_made(workspace_id, made)
    # After the insert, for a seal in between would leave the events out and drop the mark. Before the pull, because readers
    # know by the outbox that events are missing in the rollups.
    await worker.rollup_marks.mark_hours(sorted(_hours_of(workspace_id, made)))
    drafts, last, history = await asyncio.gather(
        _render(worker, workspace_id, entries, waiting),
        _read_last_position(worker, workspace),
        workspace.read_log_history(),
    )
    has_reactions, before = any(map(reactions_of, drafts)), last
    published: list[Activity] = []
    while drafts:
        numbered = [
            replace(draft, position=position, epoch=history.epoch) for position, draft in enumerate(drafts, last + 1)
        ]
        appended = await workspace.activities.append(numbered)
        metrics.PUBLISHED.inc(appended)
        worker.count_writes(len(numbered), len(numbered) - appended)
        published += numbered[:appended]
        drafts = drafts[appended:]
        last = worker.positions[workspace_id] = last + appended
        if appended < len(numbered):
            # A publisher that crashed appended some. Something may follow from one whose event is removed by now.
            has_reactions = True
            existing = await workspace.activities.find_appended(drafts)
            last = await _read_last_position(worker, workspace)
            drafts = [draft for draft in drafts if (draft.pass_id, draft.pass_sequence) not in existing]
    # Announce before emptying the outboxes: the log is complete, and subscribers need not wait for that write. The new work
    # token must be stored before it, too: a worker that crashes here publishes again, and sets the token again.
    bus, now_ms = worker.resources.bus, to_ms(await SystemClock().now())
    has_reactions |= last // READ_ON_AFTER > before // READ_ON_AFTER
    _, has_endpoints, _, _ = await asyncio.gather(
        bus.publish(topic(workspace_id), {}),
        workspace.partitions.announce_work(now_ms),
        workspace.reactions.announce_work(now_ms) if has_reactions else asyncio.sleep(0),
        # Before the outboxes are emptied, too: until then, a publisher that crashes here is followed by one that writes it.
        _record_history(worker, workspace, entries, published, before=before, last=last),
    )
    if has_endpoints:
        bus.wake("deliver", workspace_id)
    if has_reactions:
        bus.wake("react", workspace_id)
    # The entries of one pass are in order of number, so the last one of each pass stays.
    await worker.publish_queries.published(
        {pass_id: entry.number for pass_id, entry in entries}, workspace_id=workspace_id
    )


async def _record_history(
    worker: Worker,
    workspace: Workspace,
    entries: Sequence[tuple[str, Entry]],
    published: Sequence[Activity],
    *,
    before: int,
    last: int,
) -> None:
    """Write the intervals of segments, and the counts of days, that follow from the log up to `last`.

    `published` are the activities that this step appended after `before`. Without transitions there is no round trip, but
    for the first step of this worker in the workspace, and one step in a thousand positions.
    """
    history, position = workspace.history, worker.histories.get(workspace.id)
    has_transitions = any(entry.type in TRANSITIONS for _, entry in entries)
    if position is None or (has_transitions and position < before):
        position = await history.position()
    elif not has_transitions and position < before:
        # Another publisher has appended the others. It writes what follows from them.
        return
    if position == before and len(published) == last - before:
        transitions = [each for each in published if each.type in TRANSITIONS]
        if transitions:
            await history.record(transitions, before, last)
        elif last // READ_ON_AFTER > before // READ_ON_AFTER:
            await history.advance(last)
    else:
        await history.follow(last)
    worker.histories[workspace.id] = last


def _limit_entries(waiting: Mapping[str, Waiting]) -> dict[str, Waiting]:
    """Return the first passes, at least one, whose entries together stay within MAX_ENTRIES_PER_ROUND."""
    taken: dict[str, Waiting] = {}
    count = 0
    for pass_id, found in waiting.items():
        count += len(found.entries)
        if taken and count > MAX_ENTRIES_PER_ROUND:
            break
        taken[pass_id] = found
    return taken


def _hours_of(workspace_id: str, made: Sequence[Event]) -> set[Hour]:
    """Return the hours whose rollups hold these events."""
    hours = (counted_hour_of(event.type, event.occurred_at) for event in made)
    return {(workspace_id, hour) for hour in hours if hour is not None}


async def _record_words(worker: Worker, workspace: Workspace, made: Sequence[Event]) -> None:
    """Store the types and sources of events that walks made. A word that this worker stored lately costs no round trip."""
    words = {
        word
        for event in made
        if event.type not in INTERNAL_TYPES
        for word in ((TYPE, event.type), (SOURCE, event.source))
    }
    now_seconds = time.monotonic()
    since, stored = worker.words.get(workspace.id, (-math.inf, frozenset[Word]()))
    if now_seconds - since > WORDS_TTL_SECONDS:
        since, stored = now_seconds, frozenset()
    if words <= stored:
        return
    await workspace.vocabulary.insert(words - stored)
    worker.words[workspace.id] = since, stored | words


async def _read_last_position(worker: Worker, workspace: Workspace) -> int:
    """Return the last position of the log. A remembered one is looked up, too: the store may have been restored."""
    last = await workspace.activities.last_pos(worker.positions.get(workspace.id, 0))
    worker.positions[workspace.id] = last
    return last


async def _render(
    worker: Worker, workspace_id: str, entries: Sequence[tuple[str, Entry]], waiting: Mapping[str, Waiting]
) -> list[Activity]:
    workspace = worker.resources.workspace(workspace_id)
    made = {entry.made.id: entry.made for _, entry in entries if entry.made}
    event_ids = {found for _, entry in entries if (found := event_id_of(entry)) is not None} - made.keys()
    segment_ids = {str(entry.refs["segment"]) for _, entry in entries if "segment" in entry.refs}
    events = await workspace.events.get_many(event_ids) if event_ids else {}
    segments = await workspace.segments.get_many(segment_ids) if segment_ids else {}
    events = {**events, **made}
    return [
        render_activity(pass_id, entry, events, segments, customer=waiting[pass_id].customer)
        for pass_id, entry in entries
    ]
