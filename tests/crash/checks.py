"""Checks of a crash run: they recompute everything from the stored events, without the code of the fold."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from typing import Any

from app.domain.activities import (
    CUSTOM_EVENT,
    ERASED_DATA,
    EVENT_DECLINED,
    POINTS_ADDED,
    POINTS_EXPIRED,
    REWARDED_POINTS,
)
from app.domain.events.tombstones import is_tombstone
from app.domain.ids import event_id, keyed_event_id
from app.store.mongo.queries import Database
from tests.oracle import points_until

from .effects import BANKS
from .load import Load
from .mail import READERS
from .program_checks import OWN_TYPES, PassRecord, ProgramChecks, find_differences_of_rebuilds, is_own, to_points

MINUTE_MS = 60_000
SEGMENTS: dict[str, dict[str, Any]] = {
    "busy": {"metric": "COUNT", "operator": "GTE", "value": 3, "within": {"minutes": 3}},
    "spender": {"metric": "SUM", "operator": "GTE", "value": 60, "within": {"minutes": 5}},
    "regular": {"metric": "COUNT", "operator": "GTE", "value": 5},
}


def matches(key: str, purchases: list[tuple[int, Decimal]], now_ms: int) -> bool:
    """Return whether a pass with these purchases (ms, amount) matches one of the segments above now."""
    if key == "busy":
        return sum(at > now_ms - 3 * MINUTE_MS for at, _ in purchases) >= 3
    if key == "spender":
        return sum((amount for at, amount in purchases if at > now_ms - 5 * MINUTE_MS), Decimal(0)) >= 60
    return len(purchases) >= 5


async def find_problems(db: Database, load: Load, ids: dict[str, str], now: datetime) -> list[str]:
    """Return every contradiction between the events sent, acknowledged, stored, folded and published.

    `ids` gives the id of each segment and rule by its key.
    """
    found = list(load.errors)
    segments = {key: ids[key] for key in SEGMENTS}
    [workspace] = await db["workspaces"].find({}, {"_id": 1}).to_list(None)
    sent = {_event_id(workspace["_id"], event): event for event in load.sent.values()}
    events = [doc for doc in await db["events"].find({}).to_list(None) if not is_tombstone(doc["_id"])]
    # `effects.py` and `mail.py` check what happened on these passes.
    names = {"external_id": {"$in": [*BANKS, *READERS]}}
    others = {doc["_id"] async for doc in db["passes"].find(names, {"_id": 1})}
    events = [doc for doc in events if doc["pass"] not in others]
    erased = {erasure["_id"] for erasure in await db["erasures"].find({}, {"_id": 1}).to_list(None)}
    # What Punchcard recorded itself, or its stub if the pass was erased.
    made = [
        doc for doc in events
        if is_own(doc) or ("removed" in doc and doc["pass"] in erased and doc["_id"] not in sent)
    ]  # fmt: skip
    made_ids = {doc["_id"] for doc in made}
    made = [doc for doc in made if "origin" in doc]
    events = [doc for doc in events if doc["_id"] not in made_ids]
    live = [event for event in events if "removed" not in event]
    # A refund after a reject takes more than is left of the checkout.
    declined = {event["_id"] for event in live if event.get("outcome", {}).get("status") == "DECLINED"}
    stored = {event["_id"] for event in events}
    if lost := {key for key, event in sent.items() if event["externalId"] in load.acknowledged} - stored:
        found.append(f"{len(lost)} acknowledged events are lost: {sorted(lost)[:3]}")
    if unsent := stored - set(sent):
        found.append(f"{len(unsent)} events were never sent: {sorted(unsent)[:3]}")
    if left := {sent[event["_id"]]["externalId"] for event in live if event["_id"] in sent} & load.removed:
        found.append(f"{len(left)} removed events still exist: {sorted(left)[:3]}")
    if vanished := [key for key in stored - {e["_id"] for e in live} if not load.may_be_removed(sent[key])]:
        found.append(f"{len(vanished)} events were removed without a request: {sorted(vanished)[:3]}")
    activities = await db["activities"].find({}).sort("pos", 1).to_list(None)
    if [a["pos"] for a in activities] != list(range(1, len(activities) + 1)):
        found.append("the positions of the feed are not dense")
    passes = await db["passes"].find({"gone": {"$exists": False}}).to_list(None)
    passes = [card for card in passes if card["_id"] not in others]
    now_ms = int(now.timestamp() * 1000)
    survivors = {card["_id"]: card["alias_of"] for card in passes if "alias_of" in card}
    versions = await db["definitions"].find({}).to_list(None)
    past = {event_id for event_id, event in sent.items() if "occurredAt" in event}
    programs = ProgramChecks(ids, versions, {event_id: event["type"] for event_id, event in sent.items()}, past)
    for card in passes:
        own_activities = [a for a in activities if a["pass"] == card["_id"]]
        if card["_id"] in survivors:
            found += _check_feed({**card, "memberships": []}, own_activities)
            continue
        # Activities published by a merged pass are not published again by its survivor.
        family_activities = [a for a in activities if _survivor_of(a["pass"], survivors) == card["_id"]]
        all_ids = sorted(event["_id"] for event in events if event["pass"] == card["_id"])
        own_ids = [each for each in all_ids if each not in declined]
        declined_ids = [each for each in all_ids if each in declined]
        adding_ids = [each for each in own_ids if each in sent and Decimal(sent[each].get("points", "0")) > 0]
        for kind, expected in (
            (CUSTOM_EVENT, own_ids), (POINTS_ADDED, adding_ids), (EVENT_DECLINED, declined_ids),
        ):  # fmt: skip
            reported = [a["cause"].get("event", "") for a in family_activities if a["type"] == kind]
            if sorted(each for each in reported if each and each not in made_ids) != expected:
                found.append(f"{card['external_id']}: the feed does not contain every {kind} once")
        counted = [event for event in live if event["pass"] == card["_id"] and event["_id"] not in declined]
        found += _check_aggregates(card, counted)
        own_made = [event for event in made if event["pass"] == card["_id"]]
        found += _check_points(card, [*counted, *own_made], family_activities)
        found += _check_made(card, own_made, family_activities)
        is_mixed = card["_id"] in survivors.values()
        record = PassRecord(card, [*counted, *own_made], own_activities, is_mixed=is_mixed)
        found += programs.find_problems(record)
        found += _check_feed(card, own_activities)
        found += _check_memberships(card, counted, segments, now_ms)
    found += await find_differences_of_rebuilds(db)
    for erasure in await db["erasures"].find({}).to_list(None):
        own_activities = [a for a in activities if a["pass"] == erasure["_id"]]
        found += _check_feed({**erasure, "external_id": erasure["_id"], "memberships": []}, own_activities)
        has_events = any(event["pass"] == erasure["_id"] for event in live)
        if has_events or any(a["data"] != ERASED_DATA for a in own_activities):
            found.append(f"{erasure['_id']} is erased, but data of it is left")
    return found


def _survivor_of(pass_id: str, survivors: dict[str, str]) -> str:
    while pass_id in survivors:
        pass_id = survivors[pass_id]
    return pass_id


def _event_id(workspace_id: str, event: dict[str, Any]) -> str:
    if "key_and_index" in event:
        return keyed_event_id(workspace_id, *event["key_and_index"])
    return event_id(workspace_id, event.get("source", "api"), event["externalId"])


def _check_aggregates(card: dict[str, Any], events: list[dict[str, Any]]) -> Iterator[str]:
    amounts_by_type: dict[str, list[Decimal]] = defaultdict(list)
    for event in events:
        amount = event["amount"].to_decimal() if "amount" in event else Decimal(0)
        amounts_by_type[event["type"]].append(amount)
    folded = {row["t"]: (row["n"], row["sum"].to_decimal()) for row in card["aggregates"].values()}
    folded = {kind: row for kind, row in folded.items() if kind not in OWN_TYPES}
    expected = {kind: (len(amounts), sum(amounts, Decimal(0))) for kind, amounts in amounts_by_type.items()}
    if folded != expected:
        yield f"{card['external_id']} has {folded}, its events give {expected}"


def _check_points(
    card: dict[str, Any], events: list[dict[str, Any]], activities: list[dict[str, Any]]
) -> Iterator[str]:
    """Compare the balance with the oracle, up to the last instant that was evaluated.

    The next lot expires after that instant, because the pass would be due otherwise.
    """
    expected = points_until(map(to_points, events), card["at"]).balance
    if card["points"].to_decimal() != expected:
        yield f"{card['external_id']} has {card['points']} points, its events give {expected}"
    # Awards with one end expire together, and name no event.
    expired = [a["data"]["event"]["id"] for a in activities if a["type"] == POINTS_EXPIRED and a["data"].get("event")]
    if len(expired) != len(set(expired)):
        yield f"{card['external_id']}: points expired twice"


def _check_made(card: dict[str, Any], made: list[dict[str, Any]], activities: list[dict[str, Any]]) -> Iterator[str]:
    """Check that the feed contains everything that the walk made once."""
    # What an event caused names it, too.
    # Points that a rule awards have a second activity.
    further = ("customer.loyalty.", REWARDED_POINTS)
    own = [a for a in activities if "segment" not in a and not a["type"].startswith(further)]
    reported = Counter(a["cause"].get("event") for a in own)
    if any(reported[event["_id"]] != 1 for event in made if "step" in event):
        yield f"{card['external_id']}: the feed does not contain everything that rules made once"


def _check_feed(card: dict[str, Any], activities: list[dict[str, Any]]) -> Iterator[str]:
    if [a["n"] for a in activities] != list(range(1, card["n"] + 1)):
        yield f"{card['external_id']}: its activities are not 1 to {card['n']}"
    members: dict[str, bool] = {}
    for activity in activities:
        if segment := activity.get("segment"):
            entered = activity["type"].endswith(".entered")
            if members.get(segment, False) == entered:
                yield f"{card['external_id']} enters or leaves {segment} twice in a row"
            members[segment] = entered
    if {s for s, is_member in members.items() if is_member} != {m["s"] for m in card["memberships"]}:
        yield f"{card['external_id']}: the feed and its memberships disagree"


def _check_memberships(
    card: dict[str, Any], events: list[dict[str, Any]], segments: dict[str, str], now_ms: int
) -> Iterator[str]:
    purchases = [
        (int(e["occurred_at"].timestamp() * 1000), e["amount"].to_decimal()) for e in events if e["type"] == "purchase"
    ]
    expected = {segment_id for key, segment_id in segments.items() if matches(key, purchases, now_ms)}
    if expected != {m["s"] for m in card["memberships"]} & set(segments.values()):
        yield f"{card['external_id']} should be in {len(expected)} segments, not {len(card['memberships'])}"
