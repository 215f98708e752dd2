"""Publish: outboxes are appended to the workspace's log, whose positions are dense.

Position p is written only after p - 1 exists, and an activity's id is its pass and number: whoever races or repeats
finds its line taken, drops what is there already, and goes on. (Source: docs/explanation/exactly-once.md.)
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal

from app.clock import SystemClock
from app.domain.activities import POINTS_EXPIRED, Activity, Entry, category_of
from app.domain.events.events import Event
from app.domain.ids import slot_of
from app.domain.segments.segments import Segment
from app.domain.values.decimals import plain
from app.domain.values.instants import from_ms, to_ms
from app.feed.tailer import topic
from app.flow import range_of
from app.store.stages.publish import entries_in_order
from app.telemetry import metrics
from workers.worker import Worker

PASSES_PER_ROUND = 200
ENTRIES_PER_PASS = 50
"""Entries taken of one pass at once: what a round renders has to fit into memory, however far publishing is behind."""
PUBLISH_BATCH_SIZE = 1_000


async def publish(worker: Worker, workspace_id: str) -> None:
    """Publishes what waits in a workspace until nothing does. Safe to repeat and to race."""
    await worker.run_alone("publish", workspace_id, lambda: publish_once(worker, workspace_id))


async def publish_once(worker: Worker, workspace_id: str) -> bool:
    """One round; whether something was published."""
    waiting = await worker.publish_queries.waiting(workspace_id, PASSES_PER_ROUND, ENTRIES_PER_PASS)
    listed = entries_in_order(waiting, ENTRIES_PER_PASS)
    if not listed:
        return False
    workspace = worker.resources.workspace(workspace_id)
    drafts = await _render(worker, workspace_id, listed)
    while drafts:
        last = await workspace.activities.last_pos(worker.positions.get(workspace_id, 0))
        worker.positions[workspace_id] = last
        numbered = [
            _assign_positions(draft, last + place) for place, draft in enumerate(drafts[:PUBLISH_BATCH_SIZE], start=1)
        ]
        appended = await workspace.activities.append(numbered)
        metrics.PUBLISHED.inc(appended)
        drafts = drafts[appended:]
        if appended < len(numbered):
            there = await workspace.activities.get_many([draft.id for draft in drafts])
            drafts = [draft for draft in drafts if draft.id not in there]
    # Whoever follows the feed is told first: the log is complete, and taking the entries out of the outboxes can wait.
    # It does wait for the word to the webhook endpoints: who dies before that publishes again, and says it.
    bus, now_ms = worker.resources.bus, to_ms(await SystemClock().now())
    _, heard = await asyncio.gather(bus.publish(topic(workspace_id), {}), workspace.partitions.announce_work(now_ms))
    if heard:
        bus.wake("deliver", workspace_id)
    told = Counter(pass_id for pass_id, _ in listed)
    await worker.publish_queries.published({pass_id: waiting[pass_id][count - 1].number for pass_id, count in told.items()})
    # A pass whose outbox was full waits for this.
    relieved = {range_of(slot_of(pass_id)) for pass_id, entries in waiting.items() if len(entries) == ENTRIES_PER_PASS}
    bus.wake("fold", *relieved)
    return True


async def _render(worker: Worker, workspace_id: str, listed: Sequence[tuple[str, Entry]]) -> list[Activity]:
    workspace = worker.resources.workspace(workspace_id)
    event_ids = {str(e.refs["event"]) for _, e in listed if "event" in e.refs}
    segment_ids = {str(e.refs["segment"]) for _, e in listed if "segment" in e.refs}
    events = await workspace.events.get_many(event_ids) if event_ids else {}
    segments = await workspace.segments.get_many(segment_ids) if segment_ids else {}
    return [_activity(pass_id, entry, events, segments) for pass_id, entry in listed]


def _activity(pass_id: str, entry: Entry, events: Mapping[str, Event], segments: Mapping[str, Segment]) -> Activity:
    data: dict[str, object] = {}
    event_id, segment_id = entry.refs.get("event"), entry.refs.get("segment")
    if event_id is not None:
        event = events.get(str(event_id))
        data["event"] = {"id": event_id, "removed": True} if event is None else _snapshot(event)
    if entry.type == POINTS_EXPIRED:
        points, balance = (Decimal(str(entry.refs[name])) for name in ("points", "balance"))
        data |= {"points": plain(points), "balance": plain(balance), "expiredAt": _announce(from_ms(entry.at_ms))}
    for name in ("removed", "into"):
        if name in entry.refs:
            data[name] = entry.refs[name]
    if segment_id is not None:
        segment = segments.get(str(segment_id))
        data = {
            "segment": {
                "id": segment_id,
                "key": None if segment is None else segment.key,
                "name": None if segment is None else segment.name,
                "version": entry.refs["version"],
            },
            "member": entry.type.endswith(".entered"),
            "before": entry.refs["before"],
            "after": entry.refs["after"],
            "late": entry.late,
            "silent": entry.silent,
            "historical": entry.historical,
        }
    return Activity(
        0,
        entry.number,
        pass_id,
        entry.type,
        category_of(entry.type),
        from_ms(entry.at_ms),
        from_ms(entry.recorded_ms),
        entry.cause,
        data,
        None if segment_id is None else str(segment_id),
        entry.late,
        entry.silent,
        entry.historical,
    )


def _snapshot(event: Event) -> dict[str, object]:
    """The event as it is told: decimals as plain text, as everywhere on the wire."""
    end = event.points_expiry
    return {
        "id": event.id,
        "type": event.type,
        "category": event.category.value,
        "amount": None if event.amount is None else plain(event.amount),
        "currency": event.currency,
        "points": plain(event.points),
        "pointsExpireAt": None if end is None or end.at_ms is None else _announce(from_ms(end.at_ms)),
        "pointsExpireAfterDays": None if end is None else end.after_days,
        "fieldName": event.field_name,
        "oldValue": event.old_value,
        "newValue": event.new_value,
        "changes": dict(event.changes),
        "source": event.source,
        "externalId": event.external_id,
        "metadata": dict(event.metadata),
        "occurredAt": _announce(event.occurred_at),
        "recordedAt": _announce(event.recorded_at),
        "correctionOf": event.correction_of,
    }


def _announce(at: datetime) -> str:
    return at.isoformat().replace("+00:00", "Z")


def _assign_positions(activity: Activity, pos: int) -> Activity:
    return replace(activity, position=pos)
