"""Erase: remove the personal data that is left of an erased pass, in its events and in its activities.

The fold has replaced the pass by a stub in one write and marked it as `erasing`. The stub stays until everything else
is done: if the worker crashes, the next sweep continues. Activities are emptied only after the outbox is empty, for
then all of them are in the log. A slow publisher that still holds rendered copies gets a duplicate-key error and cannot
restore them.

Files, failed messages and persisted documents that name the pass or its aliases are removed at the end. The erasure then
also covers what was stored while it ran. If Redis does not answer, the stub stays until the next sweep.

Processes cache passes. So before the external id is free again, this stage changes the workspace's erasure epoch and
waits until every process has read the change. Events that are acknowledged later cannot belong to the erased pass.
"""

from __future__ import annotations

import asyncio
import time

from app.clock import system_ms
from app.commands.passes.erasure import erase_copies, erase_documents
from app.domain.events.tombstones import is_tombstone
from app.domain.passes.passes import Erased, Pass
from app.domain.values.instants import from_ms, to_ms
from app.store.cache import EPOCH_TTL_SECONDS
from app.store.mongo.ids import new_id
from app.store.workspace.workspace import Workspace
from workers.failures import log_failures
from workers.worker import Worker

from .count_active import mark_changed

CACHE_EXPIRY_SECONDS = EPOCH_TTL_SECONDS + 0.05
"""The time after which every process has read a change of the erasure epoch."""


async def erase(worker: Worker, key: str) -> None:
    """Remove the data of an erased pass. Safe to repeat, and to run in several workers at once."""
    await worker.run_alone("erase", key, lambda: erase_once(worker, key))


_guarded_erase = log_failures("erase", erase)


async def erase_once(worker: Worker, pass_id: str) -> bool:
    """Run one round and return False: no other round follows at once.

    If the round must wait for publish, react, merges or the fold, the sweep starts another one later. If it must wait for
    the caches of other processes, a task starts another one when they have expired.
    """
    election = worker.last_election()
    now_ms = to_ms(await worker.resources.clock.now())
    card = (await worker.fold_queries.passes([pass_id])).get(pass_id)
    if card is None or (card.erased is None and card.alias_of is None):
        return False
    erased = card.erased or Erased(at_ms=now_ms, events=0, aggregates=0, segments=())
    if card.outbox:
        worker.resources.bus.wake("publish", card.workspace_id)
        return False
    if card.alias_of is not None and await worker.merge_queries.holds_moved(card.alias_of, card.workspace_id):
        # The survivor is erased, and an event that the merge moved there still counts. Keep the mark of the merged pass:
        # without it, a question would find an erased customer and call its answer exact.
        worker.resources.wake_fold(card.workspace_id, [card.alias_of])
        return False
    aliases = await worker.merge_queries.aliases(card)
    for alias, moving in aliases:
        if moving:
            worker.resources.bus.wake("merge", alias.id)
            return False
        if alias.outbox:
            worker.resources.bus.wake("publish", card.workspace_id)
            return False
    cards = (card, *(alias for alias, _ in aliases))
    pass_ids = frozenset(each.id for each in cards)
    workspace = worker.resources.workspace(card.workspace_id)
    if await workspace.reactions.has_unmade(sorted(pass_ids)):
        # An accepted transfer still reaches the other pass: once the log entry is empty, nothing follows from it.
        await workspace.reactions.announce_work(system_ms())
        worker.resources.bus.wake("react", card.workspace_id)
        return False
    if pass_ids not in worker.epoch_changed_at:
        await worker.erase_queries.erase_messages(cards, system_ms())
        for each in cards:
            await _refuse_late_effects(workspace, each, now_ms)
            await worker.erase_queries.close_name(each)
            await worker.erase_queries.take_names_out(each)
            # If the survivor was erased before its merge ended, the merge has moved intervals to it since.
            await workspace.history.erase(filter(None, (each.id, each.alias_of)))
            await _empty_activities(worker, each, now_ms)
        # A new primary may not have shown all activities. The next round does not look at them again.
        worker.require_same_primary(election)
        await worker.erase_queries.change_erasure_epoch(card.workspace_id)
        worker.remember_epoch_change(pass_ids, time.monotonic())
        if CACHE_EXPIRY_SECONDS > 0:
            worker.start_task(_continue_later(worker, pass_id))
    if time.monotonic() < worker.epoch_changed_at[pass_ids] + CACHE_EXPIRY_SECONDS:
        return False
    # Free no external id before all events are stubs. Finish the pass after its aliases: only it leads to them.
    for each in cards:
        await _empty_events(worker, each, now_ms)
    await worker.erase_queries.erase_messages(cards, system_ms())
    if not await erase_copies(worker.resources, card.workspace_id, [each.external_id for each in cards]):
        return False
    await erase_documents(worker.resources, card.workspace_id)
    # A new primary may not have shown all aliases and events at once: repeat the round before the pass is forgotten.
    worker.require_same_primary(election)
    # The passes say which numbers of active passes still have them, and what is kept of them does not.
    await mark_changed(
        worker, card.workspace_id, await worker.active_count_queries.recounts_of(pass_ids, card.workspace_id)
    )
    for each in cards:
        await worker.pass_period_queries.delete_of_pass(each)
    for alias, _ in aliases:
        # The figures of the erasure are stored once, with the pass.
        await worker.erase_queries.finish(alias, Erased(at_ms=erased.at_ms, events=0, aggregates=0, segments=()))
    if worker.resources.is_embedded:
        await worker.erase_queries.prune_oplog()
    await worker.erase_queries.finish(card, erased)
    worker.epoch_changed_at.pop(pass_ids, None)
    return False


async def _continue_later(worker: Worker, pass_id: str) -> None:
    """Run the stage again when all caches have expired."""
    await asyncio.sleep(CACHE_EXPIRY_SECONDS)
    await _guarded_erase(worker, pass_id)


async def _refuse_late_effects(workspace: Workspace, card: Pass, now_ms: int) -> None:
    """Insert a stub under the id of each effect outside the pass: a slow worker may have read its firing before."""
    await workspace.reactions.forget_pass(card.id)
    effects = await workspace.reactions.ending_with(card.id)
    event_ids = [each.id for each in effects if each.body.prefix == "event"]
    await workspace.removals.stub_missing(dict.fromkeys(event_ids, card.id), now_ms)
    message_ids = [each.id for each in effects if each.body.prefix == "msg"]
    if message_ids:
        # In system time, because the store deletes the stubs of messages by its own clock.
        await workspace.messages.insert_stubs(message_ids, from_ms(system_ms()))


async def _empty_activities(worker: Worker, card: Pass, now_ms: int) -> None:
    """Replace the events of a pass by stubs, then empty its activities."""
    await _empty_events(worker, card, now_ms)
    position: int | None = 0
    while position is not None:
        position = await worker.erase_queries.empty_activities(card, position)


async def _empty_events(worker: Worker, card: Pass, now_ms: int) -> None:
    """Replace the events of a pass by stubs, pending or not, in batches, and mark their hours.

    The hours of a batch are noted in the pass before it is emptied, because stubs have no instants. If a worker crashes in
    between, another one marks them in the end. It finds all of them: it reads the names after no event is left, and a name
    is stored before the first event of its batch is emptied.
    """
    queries = worker.erase_queries
    while events := await queries.events_of(card):
        hours = sorted({each.hour_ms for each in events if each.hour_ms is not None})
        name = new_id("batch")
        await queries.name_batch(card, name, hours)
        tombstones = [each for each in events if is_tombstone(each.id)]
        await queries.replace_events_by_stubs(card, [each for each in events if each not in tombstones], now_ms)
        await worker.rollup_marks.mark_hours([(card.workspace_id, hour) for hour in hours])
        # As in the fold: the removal of an event is over when its hour is marked, not before.
        await queries.replace_events_by_stubs(card, tombstones, now_ms)
        await queries.take_out_batches(card, [name])
    unmarked = await queries.batches(card)
    await worker.rollup_marks.mark_hours([(card.workspace_id, hour) for hours in unmarked.values() for hour in hours])
    await queries.take_out_batches(card, unmarked)
