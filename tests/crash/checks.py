"""Everything recomputed from what is stored, by plain arithmetic that shares no code with the fold."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from typing import Any

from app.store.collection import Database

from .load import Load

MINUTE = 60_000
SEGMENTS: dict[str, dict[str, Any]] = {
    "busy": {"metric": "COUNT", "operator": "GTE", "value": 3, "within": {"minutes": 3}},
    "spender": {"metric": "SUM", "operator": "GTE", "value": 60, "within": {"minutes": 5}},
    "regular": {"metric": "COUNT", "operator": "GTE", "value": 5},
}


def belongs(key: str, purchases: list[tuple[int, Decimal]], now_ms: int) -> bool:
    """Whether a pass with these purchases (ms, amount) belongs to one of the segments above now."""
    if key == "busy":
        return sum(at > now_ms - 3 * MINUTE for at, _ in purchases) >= 3
    if key == "spender":
        return sum((amount for at, amount in purchases if at > now_ms - 5 * MINUTE), Decimal(0)) >= 60
    return len(purchases) >= 5


async def unsettled(db: Database, now_ms: int) -> str | None:
    """What still has to be done; None when nothing has."""
    for name, collection, query in (
        ("events to fold", "events", {"pend": {"$gte": 0}}),
        ("passes due", "passes", {"due": {"$gte": 0, "$lte": now_ms}}),
        ("outboxes to publish", "passes", {"pub": {"$gte": 0}}),
        ("workspaces to backfill", "workspaces", {"stale": {"$gte": 0}}),
    ):
        if waiting := await db[collection].count_documents(query):
            return f"{waiting} {name}"
    return None


async def problems(db: Database, load: Load, segments: dict[str, str], now: datetime) -> list[str]:
    """Every contradiction between what was sent, acknowledged, stored, folded and told. `segments` is key -> id."""
    found = list(load.faults)
    events = await db["events"].find({}).to_list(None)
    stored = [event["external_id"] for event in events]
    if len(stored) != len(set(stored)):
        found.append("an event is stored twice")
    if lost := load.acknowledged - set(stored):
        found.append(f"{len(lost)} acknowledged events are lost: {sorted(lost)[:3]}")
    if strange := set(stored) - set(load.sent):
        found.append(f"{len(strange)} events were never sent: {sorted(strange)[:3]}")
    activities = await db["activities"].find({}).sort("pos", 1).to_list(None)
    if [a["pos"] for a in activities] != list(range(1, len(activities) + 1)):
        found.append("the positions of the feed are not dense")
    told = [a["data"]["event"]["id"] for a in activities if a["type"] == "customer.custom_event"]
    if sorted(told) != sorted(event["_id"] for event in events):
        found.append("the feed does not tell every event once")
    passes = await db["passes"].find({}).to_list(None)
    now_ms = int(now.timestamp() * 1000)
    for card in passes:
        mine = [event for event in events if event["pass"] == card["_id"]]
        found += _wrong_aggregates(card, mine)
        found += _wrong_feed(card, [a for a in activities if a["pass"] == card["_id"]])
        found += _wrong_memberships(card, mine, segments, now_ms)
    return found


def _wrong_aggregates(card: dict[str, Any], events: list[dict[str, Any]]) -> Iterator[str]:
    counted: dict[str, list[Decimal]] = defaultdict(list)
    for event in events:
        counted[event["type"]].append(event["amount"].to_decimal())
    folded = {row["t"]: (row["n"], row["sum"].to_decimal()) for row in card["aggregates"].values()}
    expected = {kind: (len(amounts), sum(amounts, Decimal(0))) for kind, amounts in counted.items()}
    if folded != expected:
        yield f"{card['external_id']} has {folded}, its events give {expected}"


def _wrong_feed(card: dict[str, Any], activities: list[dict[str, Any]]) -> Iterator[str]:
    if [a["n"] for a in activities] != list(range(1, card["n"] + 1)):
        yield f"{card['external_id']}: its activities are not 1 to {card['n']}"
    members: dict[str, bool] = {}
    for activity in activities:
        if segment := activity.get("segment"):
            entered = activity["type"].endswith(".entered")
            if members.get(segment, False) == entered:
                yield f"{card['external_id']} enters or leaves {segment} twice running"
            members[segment] = entered
    if {s for s, member in members.items() if member} != {m["s"] for m in card["memberships"]}:
        yield f"{card['external_id']}: the feed and its memberships disagree"


def _wrong_memberships(
    card: dict[str, Any], events: list[dict[str, Any]], segments: dict[str, str], now_ms: int
) -> Iterator[str]:
    purchases = [
        (int(e["occurred_at"].timestamp() * 1000), e["amount"].to_decimal()) for e in events if e["type"] == "purchase"
    ]
    expected = {segment_id for key, segment_id in segments.items() if belongs(key, purchases, now_ms)}
    if expected != {m["s"] for m in card["memberships"]}:
        yield f"{card['external_id']} should be in {len(expected)} segments, not {len(card['memberships'])}"
