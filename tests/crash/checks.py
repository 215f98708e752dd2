"""Everything recomputed from what is stored, by plain arithmetic that shares no code with the fold."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from typing import Any

from app.domain.activities import CUSTOM_EVENT, EMPTIED, POINTS_ADDED, POINTS_EXPIRED
from app.domain.events.tombstones import is_tombstone
from app.domain.ids import event_id, keyed_event_id
from app.domain.values.instants import to_ms
from app.store.mongo.queries import Database

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
        ("passes to move", "passes", {"merging": {"$gte": 0}}),
        ("passes to empty", "passes", {"erasing": {"$gte": 0}}),
        ("jobs to do", "jobs", {"open": {"$gte": 0}}),
        ("workspaces to backfill", "workspaces", {"stale": {"$gte": 0}}),
        ("webhook endpoints to tell", "webhook_lanes", {"at": {"$gte": 0}}),
    ):
        if waiting := await db[collection].count_documents(query):
            return f"{waiting} {name}"
    return None


async def problems(db: Database, load: Load, segments: dict[str, str], now: datetime) -> list[str]:
    """Every contradiction between what was sent, acknowledged, stored, folded and told. `segments` is key -> id."""
    found = list(load.faults)
    [workspace] = await db["workspaces"].find({}, {"_id": 1}).to_list(None)
    sent = {_identity(workspace["_id"], event): event for event in load.sent.values()}
    events = [doc for doc in await db["events"].find({}).to_list(None) if not is_tombstone(doc["_id"])]
    live = [event for event in events if "removed" not in event]
    stored = {event["_id"] for event in events}
    if lost := {key for key, event in sent.items() if event["externalId"] in load.acknowledged} - stored:
        found.append(f"{len(lost)} acknowledged events are lost: {sorted(lost)[:3]}")
    if strange := stored - set(sent):
        found.append(f"{len(strange)} events were never sent: {sorted(strange)[:3]}")
    if left := {sent[event["_id"]]["externalId"] for event in live if event["_id"] in sent} & load.removed:
        found.append(f"{len(left)} removed events are still there: {sorted(left)[:3]}")
    if eaten := [key for key in stored - {e["_id"] for e in live} if not load.may_be_gone(sent[key])]:
        found.append(f"{len(eaten)} events were removed that nobody had asked for: {sorted(eaten)[:3]}")
    activities = await db["activities"].find({}).sort("pos", 1).to_list(None)
    if [a["pos"] for a in activities] != list(range(1, len(activities) + 1)):
        found.append("the positions of the feed are not dense")
    passes = await db["passes"].find({}).to_list(None)
    now_ms = int(now.timestamp() * 1000)
    heirs = {card["_id"]: card["alias_of"] for card in passes if "alias_of" in card}
    for card in passes:
        lines = [a for a in activities if a["pass"] == card["_id"]]
        if card["_id"] in heirs:
            found += _wrong_feed({**card, "memberships": []}, lines)
            continue
        # What a merged pass told is not told again by the one that answers for it.
        whole = [a for a in activities if _answering(a["pass"], heirs) == card["_id"]]
        told = [a["cause"]["event"] for a in whole if a["type"] in (CUSTOM_EVENT, POINTS_ADDED)]
        if sorted(told) != sorted(event["_id"] for event in events if event["pass"] == card["_id"]):
            found.append(f"{card['external_id']}: the feed does not tell every event once")
        mine = [event for event in live if event["pass"] == card["_id"]]
        found += _wrong_aggregates(card, mine)
        found += _wrong_points(card, mine, whole)
        found += _wrong_feed(card, lines)
        found += _wrong_memberships(card, mine, segments, now_ms)
    for erasure in await db["erasures"].find({}).to_list(None):
        lines = [a for a in activities if a["pass"] == erasure["_id"]]
        found += _wrong_feed({**erasure, "external_id": erasure["_id"], "memberships": []}, lines)
        if any(event["pass"] == erasure["_id"] for event in live) or any(a["data"] != EMPTIED for a in lines):
            found.append(f"{erasure['_id']} is erased, and something is left of it")
    return found


def _answering(pass_id: str, heirs: dict[str, str]) -> str:
    while pass_id in heirs:
        pass_id = heirs[pass_id]
    return pass_id


def _identity(workspace_id: str, event: dict[str, Any]) -> str:
    if "place" in event:
        return keyed_event_id(workspace_id, *event["place"])
    return event_id(workspace_id, event.get("source", "api"), event["externalId"])


def _wrong_aggregates(card: dict[str, Any], events: list[dict[str, Any]]) -> Iterator[str]:
    counted: dict[str, list[Decimal]] = defaultdict(list)
    for event in events:
        counted[event["type"]].append(event["amount"].to_decimal())
    folded = {row["t"]: (row["n"], row["sum"].to_decimal()) for row in card["aggregates"].values()}
    expected = {kind: (len(amounts), sum(amounts, Decimal(0))) for kind, amounts in counted.items()}
    if folded != expected:
        yield f"{card['external_id']} has {folded}, its events give {expected}"


def _wrong_points(
    card: dict[str, Any], events: list[dict[str, Any]], activities: list[dict[str, Any]]
) -> Iterator[str]:
    """The balance as of the last instant that was judged; what ends next ends after it, or something would be due."""
    endless = Decimal(0)
    ending: list[tuple[int, int, str, Decimal]] = []
    for event in sorted(events, key=lambda event: (event["occurred_at"], event["_id"])):
        at = to_ms(event["occurred_at"])
        points = event["points"].to_decimal() if "points" in event else Decimal(0)
        ending = [lot for lot in ending if lot[0] > at]
        if "points_end" in event:
            if event["points_end"]["at"] > at:
                repaid = min(points, max(-endless, Decimal(0)))
                endless += repaid
                ending.append((event["points_end"]["at"], at, event["_id"], points - repaid))
            continue
        if points < 0:
            left = []
            for end, since, name, held in sorted(ending):
                spent = min(held, -points)
                points += spent
                left.append((end, since, name, held - spent))
            ending = [lot for lot in left if lot[3]]
        endless += points
    expected = endless + sum((held for end, _, _, held in ending if end > card["at"]), Decimal(0))
    if card["points"].to_decimal() != expected:
        yield f"{card['external_id']} has {card['points']} points, its events give {expected}"
    ended = [a["data"]["event"]["id"] for a in activities if a["type"] == POINTS_EXPIRED]
    if len(ended) != len(set(ended)):
        yield f"{card['external_id']}: points ended twice"


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
