"""Seal: compute the contents of dirty hours, and of the days and months made of them.

A content is a pure function of the events that count. The stage reads the mark of a head, then the events. It makes the
content valid only if the head still has that mark. Whatever changes the counted events of an hour marks it anew.
`docs/explanation/sealing.md` gives the steps and the proof.

Sealing is the least urgent work of a worker. Between two reads it waits as long as the last read took, while the fold or
publish runs. Only for the hour that has just ended, it does not wait. If a worker crashes between two steps, the heads stay
dirty, and the next seal begins again.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence

from app.clock import system_ms
from app.domain.rollups.building import Content, build_content
from app.domain.rollups.dimensions import Incomplete, claimed
from app.domain.rollups.levels import Level
from app.domain.rollups.marks import HeadKey
from app.domain.rollups.plans import Head
from app.domain.rollups.rows import QUARTER_HOUR_MS
from app.domain.rollups.sealing import SealTask
from app.domain.values.instants import DAY_MS, HOUR_MS, to_ms
from app.store.codecs.rollups import content_to_docs, dimension_parts_of, head_id, parts_of, rows_from_docs
from app.store.mongo.queries import Doc
from app.store.stages.rollups import Seal
from app.store.workspace.rollup_heads import new_mark
from app.telemetry import metrics
from workers.worker import Worker

log = logging.getLogger(__name__)

MAX_DIRTY_PERIODS = 2_000
"""Dirty periods that one look reads, the newest ones. The next look reads those that are dirty then."""
MAX_LOOK_AGE_SECONDS = 10.0
"""The age up to which the tasks of a look are still done. The next look finds hours that have ended since."""
MAX_YIELD_SECONDS = 0.5
"""The longest wait for the fold and publish between two reads."""


async def seal(worker: Worker, key: str) -> None:
    """Seal the dirty periods of a workspace that are ready. Safe to repeat, and to run in several workers at once."""
    if not worker.is_running("seal", key):
        lap, now_seconds = worker.seals.lap(key), worker.seals.now_seconds()
        # Tasks of a run that failed may be done by now. Tasks of an earlier look would delay hours that have ended since.
        if not lap.is_cut or now_seconds - lap.looked_at > MAX_LOOK_AGE_SECONDS:
            lap.tasks = []
        lap.began_at, lap.is_cut = now_seconds, False
    await worker.run_alone("seal", key, lambda: seal_once(worker, key))


async def seal_once(worker: Worker, workspace_id: str) -> bool:
    """Do the next task of the last look, or look, and return whether more may follow at once. Raises Unavailable."""
    lap = worker.seals.lap(workspace_id)
    if not lap.tasks:
        await look(worker, workspace_id)
    if not lap.tasks:
        return False
    lap.sealed += await do_task(worker, workspace_id, lap.tasks.pop(0))
    has_more = bool(lap.tasks) or lap.sealed > 0
    if has_more and worker.seals.now_seconds() - lap.began_at > worker.seals.timing.slice:
        worker.seals.schedule(workspace_id, 0.0)
        lap.is_cut = True
        return False
    return has_more


async def look(worker: Worker, workspace_id: str) -> None:
    """Find out what is dirty, set the tasks that are ready, and schedule the next look for what is not."""
    seals = worker.seals
    lap = seals.begin_look(workspace_id)
    dirty = await worker.seal_queries.dirty(workspace_id, MAX_DIRTY_PERIODS, lap.near_ms)
    lap.near_ms = dirty[-1].start_ms if len(dirty) == MAX_DIRTY_PERIODS else None
    now_ms = to_ms(await worker.resources.clock.now())
    plan = lap.notes.plan(dirty, now_ms, seals.now_seconds(), seals.timing, cut_ms=lap.near_ms)
    lap.tasks, lap.sealed, lap.open_hour_ms = list(plan.tasks), 0, plan.open_hour_ms
    if not plan.tasks or plan.wait_seconds is not None:
        seals.end_look(workspace_id, plan.wait_seconds)
    if not dirty:
        seals.forget(workspace_id)


async def do_task(worker: Worker, workspace_id: str, task: SealTask) -> int:
    """Seal the hours of a task, then their day, or the month of the task, and return how many periods are sealed."""
    sealed = await seal_hours(worker, workspace_id, task) if task.hours else 0
    return sealed + await join_period(worker, HeadKey(workspace_id, task.level, task.start_ms))


async def seal_hours(worker: Worker, workspace_id: str, task: SealTask) -> int:
    """Seal dirty hours of one day, and return how many are sealed. Raises Unavailable; safe to repeat."""
    election = worker.last_election()
    keys = [HeadKey(workspace_id, Level.HOUR, start_ms) for start_ms in task.hours]
    heads = {key: head for key, head in (await worker.seal_queries.heads(keys)).items() if head.dirty is not None}
    contents: dict[HeadKey, tuple[Content, Incomplete]] = {}
    # After the marks: a change of the dimensions marks hours after it is stored.
    dimensions = await worker.seal_queries.dimensions(workspace_id) if heads else {}
    give_way, open_hour_ms = yielding(worker), worker.seals.lap(workspace_id).open_hour_ms
    for key in heads:
        if worker.stopping:
            return 0
        # Questions about the present day read all events of the hour that has just ended until it is sealed.
        is_urgent = open_hour_ms == key.start_ms + HOUR_MS
        wait = None if is_urgent else give_way
        content = await worker.seal_queries.read_hour(workspace_id, key.start_ms, wait, dimensions)
        if content is not None:
            contents[key] = content
    # A new primary may show events as they were before the marks.
    worker.require_same_primary(election)
    sealed = 0
    if contents:
        # Before an hour is sealed, its day is dirty: a day that is clean must equal its hours.
        await worker.seal_queries.mark(HeadKey(workspace_id, Level.DAY, task.start_ms))
        sealed = await store(worker, {key: (heads[key], *content) for key, content in contents.items()})
    if sealed < len(task.hours):
        # An event was pending, or the mark has changed meanwhile.
        worker.seals.lap(workspace_id).notes.postpone(task.hours, worker.seals.now_seconds())
        worker.seals.schedule(workspace_id, worker.seals.timing.quiet)
    return sealed


async def join_period(worker: Worker, key: HeadKey) -> int:
    """Seal a day from its hours, or a month from its days, unless one of them is dirty. Return 1 if it is sealed, else 0.

    Raises Unavailable; safe to repeat.
    """
    election, queries = worker.last_election(), worker.seal_queries
    head = (await queries.heads([key])).get(key)
    if head is None or head.dirty is None or worker.stopping:
        return 0
    part_heads = await queries.heads(parts_of_period(key))
    if any(part.dirty is not None for part in part_heads.values()):
        return 0
    docs = await queries.contents({part: each for part, each in part_heads.items() if each.token is not None})
    worker.require_same_primary(election)
    lost = [part for part, each in part_heads.items() if each.token is not None and part not in docs]
    if lost:
        log.error("the contents of %d rollups are missing, so they are computed again: %s", len(lost), lost[0])
        for part in lost:
            await queries.mark(part)
        worker.seals.schedule(key.workspace_id, worker.seals.timing.quiet)
        return 0
    # In a thread, because a day with many rows takes some 50 ms.
    content, incomplete = await asyncio.to_thread(join_contents, docs, key.level)
    if key.level is Level.DAY:
        await queries.mark(HeadKey(key.workspace_id, Level.MONTH, Level.MONTH.start_ms(key.start_ms)))
    return await store(worker, {key: (head, content, incomplete)})


def parts_of_period(key: HeadKey) -> list[HeadKey]:
    """Return the hours of a day, or the days of a month."""
    level, width_ms = (Level.HOUR, HOUR_MS) if key.level is Level.DAY else (Level.DAY, DAY_MS)
    starts = range(key.start_ms, key.level.end_ms(key.start_ms), width_ms)
    return [HeadKey(key.workspace_id, level, start_ms) for start_ms in starts]


def join_contents(docs: Mapping[HeadKey, Sequence[Doc]], level: Level) -> tuple[Content, Incomplete]:
    """Return the content of a day from the documents of its hours, or of a month from those of its days.

    The second result has what the content cannot claim, because one of its parts does not.
    """
    incomplete = Incomplete()
    incomplete.compare([doc["type"] for doc in own] for own in docs.values())
    cuts = (0, DAY_MS // QUARTER_HOUR_MS) if level is Level.MONTH else ()
    rows = (row for key, own in docs.items() for row in rows_from_docs(own, key.level, key.start_ms, cuts=cuts))
    return build_content(rows, level), incomplete


async def store(worker: Worker, contents: Mapping[HeadKey, tuple[Head, Content, Incomplete]]) -> int:
    """Insert contents under new tokens, then make those valid whose heads have kept their marks. Return their number.

    The dimensions that a content cannot claim are left out. One with too many values overflows from now on.
    """
    queries, now_ms = worker.seal_queries, system_ms()
    seals: list[Seal] = []
    docs: list[Doc] = []
    for key, (head, built, incomplete) in contents.items():
        assert head.dirty is not None
        content, overflowing = claimed(built, incomplete.kinds)
        for dimension in overflowing:
            await queries.mark_overflowing(key.workspace_id, dimension)
        token = new_mark()
        docs += content_to_docs(content, *key, token=token)
        seals.append(Seal(key, head.dirty, token, parts=parts_of(content), dimensions=dimension_parts_of(content)))
    await queries.insert(docs, {head_id(*seal.key): seal.mark for seal in seals}, now_ms)
    await queries.expire({key: head for key, (head, *_) in contents.items()}, now_ms)
    sealed = await queries.commit(seals)
    metrics.SEALED.labels(seals[0].key.level.name.lower()).inc(sealed)
    return sealed


def yielding(worker: Worker) -> Callable[[], Awaitable[None]]:
    """Return a wait for the fold and publish: as long as the time since the last wait, if one of them runs."""
    began = time.monotonic()

    async def give_way() -> None:
        nonlocal began
        if worker.is_stage_running("fold") or worker.is_stage_running("publish"):
            await asyncio.sleep(min(MAX_YIELD_SECONDS, time.monotonic() - began))
        began = time.monotonic()

    return give_way
