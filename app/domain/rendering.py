"""Rendering of activities: an outbox entry and the objects it names become the activity that is published."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from .activities import DELETED, POINTS_EXPIRED, REWARDED_POINTS, TIER_TYPES, Activity, CauseKind, Entry, category_of
from .events.events import INTERNAL_TYPES, Event
from .segments.segments import Segment
from .snapshots import Customer, customer_snapshot, event_snapshots
from .values.decimals import plain
from .values.instants import format_instant, from_ms


def event_id_of(entry: Entry) -> str | None:
    """Return the id of the event that an activity carries, or None.

    It is the event that the activity is about. An entry, an exit or a change of the tier carries the event that caused it.
    """
    if "event" in entry.refs:
        return str(entry.refs["event"])
    is_change = "segment" in entry.refs or entry.type in TIER_TYPES
    if not is_change or entry.cause.get("kind") != CauseKind.EVENT.value or "event" not in entry.cause:
        return None
    return str(entry.cause["event"])


def render_activity(
    pass_id: str,
    entry: Entry,
    events: Mapping[str, Event],
    segments: Mapping[str, Segment],
    *,
    customer: Customer | None = None,
) -> Activity:
    """Return the activity of an outbox entry, at position 0. Publish sets the position.

    `events` and `segments` map ids to the objects that the entry names. An event that is missing there was removed.
    `customer` is shown in every activity but the last one of a pass; None for a pass that ended.
    """
    segment_id = entry.refs.get("segment")
    if segment_id is not None:
        data = _transition_data(entry, segments.get(str(segment_id))) | _causing_event(entry, events)
    elif entry.type in TIER_TYPES:
        data = _tier_data(entry) | _causing_event(entry, events)
    else:
        data = _event_data(entry, events, customer)
    if customer is not None and entry.type != DELETED:
        data["customer"] = customer_snapshot(pass_id, customer)
    return Activity(
        position=0,
        pass_sequence=entry.number,
        pass_id=pass_id,
        type=entry.type,
        category=category_of(entry.type),
        occurred_at=from_ms(entry.at_ms),
        recorded_at=from_ms(entry.recorded_ms),
        cause=entry.cause,
        data=data,
        segment_id=None if segment_id is None else str(segment_id),
        late=entry.late,
        silent=entry.silent,
        historical=entry.historical,
        entered=entered if isinstance(entered := entry.refs.get("entered"), int) else None,
    )


def _event_data(entry: Entry, events: Mapping[str, Event], customer: Customer | None) -> dict[str, object]:
    data: dict[str, object] = {}
    event_id = entry.refs.get("event")
    if event_id is not None:
        event = events.get(str(event_id))
        data["event"] = {"id": event_id, "removed": True} if event is None else _event_snapshot(event)
        if event is not None:
            reasons = _reasons(entry) if "reasons" in entry.refs else None
            data |= event_snapshots(entry.type, event, customer, reasons)
            if entry.type == REWARDED_POINTS:
                data["rule"] = {
                    "id": event.origin.rule,
                    "key": event.source.removeprefix("rule:"),
                    "version": event.origin.rule_version,
                }
    if "balance" in entry.refs:
        data |= {name: plain(Decimal(str(entry.refs[name]))) for name in ("points", "balance")}
    if entry.type == POINTS_EXPIRED:
        data["expiredAt"] = format_instant(from_ms(entry.at_ms))
    if "reasons" in entry.refs:
        data["reasons"] = _reasons(entry)
    for name in ("removed", "into"):
        if name in entry.refs:
            data[name] = entry.refs[name]
    return data


def _reasons(entry: Entry) -> list[dict[str, object]]:
    """Return why the event was declined, with a code and a message each."""
    reasons = entry.refs["reasons"]
    assert isinstance(reasons, list | tuple)
    return [{"code": code, "message": message} for code, message in reasons]


def _transition_data(entry: Entry, segment: Segment | None) -> dict[str, object]:
    return {
        "segment": {
            "id": entry.refs["segment"],
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


def _causing_event(entry: Entry, events: Mapping[str, Event]) -> dict[str, object]:
    """Return the event that caused a transition or a change of the tier. It is left out if it was removed."""
    event = events.get(event_id_of(entry) or "")
    return {} if event is None or event.type in INTERNAL_TYPES else {"event": _event_snapshot(event)}


def _tier_data(entry: Entry) -> dict[str, object]:
    refs = entry.refs
    return {
        "change": refs["change"],
        "before": _tier_snapshot(refs, "Before"),
        "after": _tier_snapshot(refs, ""),
        "programVersion": refs["program"],
        "values": refs["values"],
        "late": entry.late,
        "silent": entry.silent,
        "historical": entry.historical,
    }


def _tier_snapshot(refs: Mapping[str, object], suffix: str) -> dict[str, object] | None:
    """Return the tier before or after a change; None for no tier."""
    key, since, until = (refs.get(name + suffix) for name in ("tier", "since", "until"))
    if key is None:
        return None
    since_text, until_text = (format_instant(from_ms(at)) if isinstance(at, int) else None for at in (since, until))
    return {"key": key, "since": since_text, "until": until_text}


def _event_snapshot(event: Event) -> dict[str, object]:
    """Return the event as activities carry it, with decimals as plain text, as in every response of the API."""
    expiry = event.points_expiry
    return {
        "id": event.id,
        "type": event.type,
        "category": event.category.value,
        "amount": None if event.amount is None else plain(event.amount),
        "currency": event.currency,
        "points": plain(event.points),
        "pointsExpireAt": None if expiry is None or expiry.at_ms is None else format_instant(from_ms(expiry.at_ms)),
        "pointsExpireAfterDays": None if expiry is None else expiry.after_days,
        "fieldName": event.field_name,
        "oldValue": event.old_value,
        "newValue": event.new_value,
        "changes": dict(event.changes),
        "source": event.source,
        "externalId": event.external_id,
        "metadata": dict(event.metadata),
        "occurredAt": format_instant(event.occurred_at),
        "recordedAt": format_instant(event.recorded_at),
        "correctionOf": event.correction_of,
    }
