"""Checks of rules, tiers, lists and checkouts in a crash run: plain arithmetic over the stored events and the log.

They share no code with the walk.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from app.store.mongo.queries import Database
from app.store.operations.recomputation import DeepCheck
from tests.oracle import OraclePoints

from .programs import CONTROL_PERCENT, DOLLARS_A_POINT, EVERY, LEVELS, LIMIT, LIMIT_MS, VIP, spend_of

Doc = dict[str, Any]
NOT_ASKED = {"EVENT_REMOVED", "PASS_MERGED", "BACKFILL", "DEFINITION_CHANGED"}
TIER = "customer.loyalty.tier."
REWARDED = ("purchase", "checkout")


def ms_of(doc: Doc) -> int:
    """Return the instant at which an event occurred, in ms."""
    at: datetime = doc["occurred_at"]
    return round(at.timestamp() * 1000)


def to_points(event: Doc) -> OraclePoints:
    """Return a stored event as the oracle of points sees it."""
    origin, end = event.get("origin", {}), event.get("points_end", {})
    is_made = origin.get("channel") == "RULE"
    return OraclePoints(
        event["_id"],
        ms_of(event),
        event["points"].to_decimal() if "points" in event else Decimal(0),
        ends_at_ms=end.get("at"),
        corrects=event.get("correction_of"),
        step=event.get("step", 0),
        is_activity=not is_made and event["type"] not in OWN_TYPES,
        is_award=is_made and event["type"] in ("point_add", "point_sub"),
        is_reversal=event.get("metadata", {}).get("reversal") is True,
        is_difference="target" in origin,
        matures_at_ms=event.get("points_from"),
    )


OWN_TYPES = frozenset({
    "rule_fired", "rule_retried", "merge_finished", "list_added", "list_removed", "pass_updated", "checkout_increased",
    "checkout_decreased",
})  # fmt: skip
"""Types of events that Punchcard records itself."""


def is_own(event: Doc) -> bool:
    """Return whether Punchcard recorded an event itself. It may be a stub: then the answer is False."""
    return event.get("origin", {}).get("channel") == "RULE" or event.get("type") in OWN_TYPES


@dataclass
class PassRecord:
    """What is stored of one pass: the document, the events that count, and the activities in order.

    `is_mixed` is true if the pass takes part in a merge: what counted on the other pass is not in its own activities.
    """

    card: Doc
    events: list[Doc]
    activities: list[Doc]
    is_mixed: bool

    @property
    def name(self) -> str:
        """The external id of the pass."""
        return str(self.card["external_id"])


class ProgramChecks:
    """Checks of all that rules did. `ids` are those of segments and rules by key, `versions` all versions of rules."""

    def __init__(
        self, ids: dict[str, str], versions: Sequence[Doc], sent_types: dict[str, str], past: set[str]
    ) -> None:
        # Events that occurred before the rules are counted by `nth`, and no rule fires for them.
        self._ids, self._sent_types, self._past = ids, sent_types, past
        self._versions: dict[str, list[Doc]] = defaultdict(list)
        for each in sorted(versions, key=lambda each: int(each["rev"])):
            self._versions[each.get("subject", "")].append(each)

    def versions_at(self, key: str, at_ms: int) -> range:
        """Return the numbers of the versions of a rule that may be in force at an instant.

        What counts at the instant of a version counts before or after the version.
        """
        starts = [round(each["at"].timestamp() * 1000) for each in self._versions[self._ids[key]]]
        return range(sum(at < at_ms for at in starts), sum(at <= at_ms for at in starts) + 1)

    def find_problems(self, record: PassRecord) -> Iterator[str]:
        """Yield what is wrong with one pass."""
        made = [event for event in record.events if event["origin"]["channel"] == "RULE"]
        fired: dict[str, dict[str, Doc]] = defaultdict(dict)
        for event in made:
            if event["type"] == "rule_fired":
                key, cause = event["source"].removeprefix("rule:"), event["origin"]["cause"]
                if cause in fired[key]:
                    yield f"{record.name}: the rule {key} fired twice for {cause}"
                fired[key][cause] = event
        for check in (
            self._check_events, self._check_versions, self._check_limit, self._check_numbers, self._check_activities,
        ):  # fmt: skip
            for problem in check(record, fired):
                yield f"{record.name}: {problem}"
        for problem in (*self._check_awards(record, fired, made), *self._check_state(record), *check_checkouts(record)):
            yield f"{record.name}: {problem}"

    def _check_events(self, record: PassRecord, fired: dict[str, dict[str, Doc]]) -> Iterator[str]:
        """Check that rules without limits fired for each event of their types."""
        for key, types in (("points", REWARDED), ("sorry", ("refund", "checkout_reject")), ("streaks", ("streak",))):
            asked = {e["_id"] for e in record.events if e["type"] in types and not e.get("historical")}
            if missed := asked - fired[key].keys():
                yield f"the rule {key} did not fire for {len(missed)} events, such as {sorted(missed)[0]}"
            # Purchases are only removed with their pass.
            if wrong := fired[key].keys() - asked:
                yield f"the rule {key} fired for {sorted(wrong)[:3]}"

    def _check_versions(self, record: PassRecord, fired: dict[str, dict[str, Doc]]) -> Iterator[str]:
        """Check that the version in force at the instant fired, and that a paused rule did not."""
        for cause, event in fired["points"].items():
            version, possible = event["origin"]["rule_version"], self.versions_at("points", ms_of(event))
            if version not in possible:
                yield f"version {version} of points fired for {cause}, {possible} was in force"
            # The rule "ends" is made active, then paused and resumed in turn.
            is_active = {number % 2 == 1 for number in self.versions_at("ends", ms_of(event))}
            if (cause in fired["ends"]) not in is_active:
                yield f"the rule ends is active: {is_active}, for {cause}"

    def _check_limit(self, record: PassRecord, fired: dict[str, dict[str, Doc]]) -> Iterator[str]:
        """Check the limit of firings in a time, and the control group."""
        if record.is_mixed:
            return
        some = sorted((ms_of(event), event["step"]) for event in fired["some"].values())
        for at_ms, step in some:
            if (
                sum(at_ms - LIMIT_MS < other <= at_ms and (other, number) < (at_ms, step) for other, number in some)
                >= LIMIT
            ):
                yield f"the rule some fired more than {LIMIT} times until {at_ms}"
        for cause, event in fired["points"].items():
            at_ms = ms_of(event)
            if cause not in fired["some"] and sum(at_ms - LIMIT_MS < other <= at_ms for other, _ in some) < LIMIT:
                yield f"the rule some did not fire for {cause}"
        digest = hashlib.blake2b(f"{self._ids['some']}:{record.card['_id']}".encode(), digest_size=8).digest()
        is_control = int.from_bytes(digest) % 100 < CONTROL_PERCENT
        if any(event["metadata"].get("control", False) is not is_control for event in fired["some"].values()):
            yield "the pass is in the other group of the rule some"

    def _check_numbers(self, record: PassRecord, fired: dict[str, dict[str, Doc]]) -> Iterator[str]:
        """Check the firings for each third visit, in the order of the log, in which removals count back."""
        if record.is_mixed:
            return
        number = highest = 0
        expected = set()
        for each in record.activities:
            event_id = each["cause"].get("event", "")
            if self._sent_types.get(event_id) != "visit":
                continue
            if each["type"] == "customer.custom_event":
                number += 1
                if number % EVERY == 0 and number > highest and event_id not in self._past:
                    highest = number
                    expected.add(event_id)
            elif each["cause"]["kind"] == "EVENT_REMOVED" and each["type"] == "customer.updated":
                number -= 1
        if expected != fired["third"].keys():
            yield f"the rule third fired for {len(fired['third'])} visits, not for {len(expected)}"

    def _check_activities(self, record: PassRecord, fired: dict[str, dict[str, Doc]]) -> Iterator[str]:
        """Check that rules fired for each transition and each change of the tier in the log."""
        causes: dict[str, set[str]] = defaultdict(set)
        for each in record.activities:
            if each["cause"].get("kind") in NOT_ASKED or each.get("historical"):
                continue
            if each.get("segment") == self._ids["busy"]:
                causes["entered" if each["type"].endswith(".entered") else "left"].add(each["_id"])
            elif each["type"].startswith(TIER):
                causes["level"].add(each["_id"])
        for key in ("entered", "left", "level"):
            own = {cause for cause in fired[key] if cause in {each["_id"] for each in record.activities}}
            if wrong := own - causes[key]:
                yield f"the rule {key} fired for {sorted(wrong)[:3]}"
            if (missed := causes[key] - own) and not record.is_mixed:
                yield f"the rule {key} did not fire for {sorted(missed)[:3]}"

    def _check_awards(self, record: PassRecord, fired: dict[str, dict[str, Doc]], made: Sequence[Doc]) -> Iterator[str]:
        """Check that each effect gave what its version gives for the amount that is left of the event."""
        given: dict[tuple[str, str, int], Decimal] = defaultdict(Decimal)
        for event in made:
            origin = event["origin"]
            if event["type"] in ("point_add", "point_sub"):
                cause = origin.get("target", origin["cause"])
                given[event["source"].removeprefix("rule:"), cause, origin["effect"]] += event["points"].to_decimal()
        by_id = {event["_id"]: event for event in record.events}
        nets = net_amounts(record.events)
        for key in ("points", "ends", "some"):
            for cause, event in fired[key].items():
                expected = [Decimal(0), Decimal(0)]
                net = nets[cause] if cause in by_id else Decimal(0)
                if net > 0 and not event["metadata"].get("control"):
                    expected = _due(key, event["origin"]["rule_version"], net)
                for index, points in enumerate(expected):
                    if given[key, cause, index] != points:
                        yield f"{key} gave {given[key, cause, index]} for {cause} of {net}, not {points}"

    def _check_state(self, record: PassRecord) -> Iterator[str]:
        """Check the tier, the list and the membership that the pass ends with."""
        spend = spend_of(record.events)
        tier = next((key for key, reach in reversed(LEVELS) if spend >= reach), None)
        stored = record.card.get("tier")
        if tier != stored:
            yield f"its tier is {stored}, its spend of {spend} gives {tier}"
        changes = [
            event for event in record.events
            if event["type"] in ("list_added", "list_removed") and event["metadata"]["segment"] == self._ids[VIP]
        ]  # fmt: skip
        place = None
        for event in sorted(changes, key=lambda event: (ms_of(event), event.get("step", 0), event["_id"])):
            name = event["metadata"]["list"]
            place = name if event["type"] == "list_added" else (None if place == name else place)
        is_member = self._ids[VIP] in {each["s"] for each in record.card["memberships"]}
        if is_member is not (place == "INCLUDE"):
            yield f"it is {'' if is_member else 'not '}a member of the list, its events say {place}"


def _due(key: str, version: int, net: Decimal) -> list[Decimal]:
    if key == "points":
        return [net // DOLLARS_A_POINT[(version - 1) % len(DOLLARS_A_POINT)], Decimal(1)]
    if key == "ends":
        return [2 * (net // 5), net // 4 + (1 if net % 4 else 0)]
    return [Decimal(5)]


def net_amounts(events: Sequence[Doc]) -> dict[str, Decimal]:
    """Return what is left of the amount of each purchase and checkout, by id."""
    nets: dict[str, Decimal] = defaultdict(Decimal)
    for event in events:
        if event["type"] in REWARDED:
            nets[event["_id"]] += event["amount"].to_decimal()
        elif event["type"] in ("refund", "checkout_decreased"):
            nets[event["correction_of"]] -= event["amount"].to_decimal()
        elif event["type"] == "checkout_increased":
            nets[event["correction_of"]] += event["amount"].to_decimal()
    return nets


def check_checkouts(record: PassRecord) -> Iterator[str]:
    """Check that the differences of each checkout come to the total of its last correction."""
    of: dict[str, list[Doc]] = defaultdict(list)
    for event in record.events:
        if "correction_of" in event:
            of[event["correction_of"]].append(event)
    for checkout in record.events:
        if checkout["type"] != "checkout":
            continue
        total = present = checkout["amount"].to_decimal()
        floor = ms_of(checkout)
        corrections = [each for each in of[checkout["_id"]] if each["type"] in ("checkout_update", "checkout_reject")]
        for each in of[checkout["_id"]]:
            if each["type"] in ("checkout_increased", "checkout_decreased"):
                present += each["amount"].to_decimal() * (1 if each["type"] == "checkout_increased" else -1)
        if corrections:
            last = max(corrections, key=lambda each: (max(ms_of(each), floor), each["_id"]))
            if last["type"] == "checkout_update":
                total = last["amount"].to_decimal()
            elif any(each["type"] == "refund" for each in of[checkout["_id"]]):
                # What a reject takes depends on the refunds that counted before it.
                continue
            else:
                total = Decimal(0)
        if total != present:
            yield f"the checkout {checkout['_id']} comes to {present}, not to {total}"


async def find_differences_of_rebuilds(db: Database) -> list[str]:
    """Return what is stored in passes otherwise than their events give in a rebuild from zero."""
    found: list[str] = []
    await DeepCheck(db, 100).check(lambda each: found.append(f"{each}"), lambda _: None)
    return found
