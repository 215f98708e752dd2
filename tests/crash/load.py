"""Clients of the API during a crash run: integrations that retry blindly, and followers that resume."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import httpx

from app.domain.activities import (
    CREATED,
    CUSTOM_EVENT,
    DELETED,
    ENTERED,
    EVENT_DECLINED,
    LEFT,
    POINTS_ADDED,
    POINTS_EXPIRED,
    POINTS_PENDING,
    REDEEMED,
    REDEMPTION_FAILED,
    REWARDED,
    REWARDED_POINTS,
    RULE_WAS_FIRED,
    TIER_TYPES,
    TRANSFERRED,
    UPDATED,
    message_activity,
)

RECORD = """mutation Record($input: RecordEventsInput!) {
  recordEvents(input: $input) {
    results { status event { id } userErrors { code message } } receipt { token } userErrors { code message }
  }
}"""
FOLLOW = """query Follow($after: String, $types: [String!]!) {
  activity(first: 250, after: $after, filter: { types: $types, includeSilent: true }) {
    pageInfo { endCursor } nodes { sequence }
  }
}"""
DELETE = """mutation Delete($filter: EventFilter!) {
  deleteEvents(input: { filter: $filter }) { job { id } userErrors { code message } }
}"""
ERASE = """mutation Erase($externalId: String!) {
  erasePass(input: { externalId: $externalId }) { receipt { state } userErrors { code message } }
}"""
JOB = "query Job($id: ID!) { job(id: $id) { status error progress { done failed } finishedAt downloadUrl result } }"
FIND = "query Find($externalId: String!) { pass(externalId: $externalId) { id } }"
MERGE = """mutation Merge($survivorId: ID!, $mergedId: ID!) {
  mergePasses(input: { survivorId: $survivorId, mergedId: $mergedId }) { pass { id } userErrors { code message } }
}"""
EMAIL = tuple(message_activity("email", was_sent=was_sent) for was_sent in (True, False))
EVERY_TYPE = (
    CREATED, UPDATED, DELETED, CUSTOM_EVENT, ENTERED, LEFT, POINTS_ADDED, POINTS_EXPIRED, POINTS_PENDING, RULE_WAS_FIRED,
    REWARDED_POINTS, *sorted(TIER_TYPES),
    TRANSFERRED, EVENT_DECLINED, REDEEMED, REWARDED, REDEMPTION_FAILED, *EMAIL,
)  # fmt: skip
"""Types of activities that a run makes. Firings of rules are shown only to a filter that names them."""
START = datetime(2026, 1, 1, tzinfo=UTC)
"""First instant of the business clock, which goes on by half an hour or more during a run."""
PASSES = 40
MERGING = 8
"""The last of the passes. They are merged with each other at times, and nothing is removed of them."""
MAX_PAUSE_SECONDS = 1.0
"""Clients that retry more often would take the processors from the workers."""
MAX_TIMEOUT_SECONDS = 60.0
"""Twice the time that an API gives to an operation."""


async def _wait_for_nothing() -> None:
    pass


@dataclass
class Load:
    """The clients of a workspace, over several API addresses; stores what was sent and what was acknowledged."""

    addresses: list[str]
    secret: str
    random: Random
    sent: dict[str, dict[str, Any]] = field(default_factory=dict)
    acknowledged: set[str] = field(default_factory=set)
    retries: int = 0
    removed: set[str] = field(default_factory=set)
    without_visits: set[str] = field(default_factory=set)
    erased: set[str] = field(default_factory=set)
    errors: list[str] = field(default_factory=list)
    job_ends: Counter[str] = field(default_factory=Counter)
    stopping: bool = False
    meets_refusals: bool = False
    """Whether the store refuses commands for good at times. Clients then retry what failed, and jobs may fail."""
    timeout_seconds: float = 4.0

    def __post_init__(self) -> None:
        self._http = httpx.AsyncClient(headers={"authorization": f"Bearer {self.secret}"})
        self._numbers = itertools.count()
        self.wait_for_room: Callable[[], Awaitable[None]] = _wait_for_nothing
        """Wait until the workers have caught up so far that another batch may be sent."""

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def send_batches(self, name: str) -> None:
        """Send batches until the load stops; repeat each until it is acknowledged, and send some events twice.

        Some events are identified by their external id, some by the idempotency key of the call and their index in it.
        """
        while not self.stopping:
            await self.wait_for_room()
            batch = [self._event(name) for _ in range(self.random.randint(1, 25))]
            key = f"{name}-call-{next(self._numbers)}" if self.random.random() < 0.4 else None
            if key is None:
                sent = [event for event in self.sent.values() if not {"key_and_index", "channel"} & event.keys()]
                batch += self.random.sample(sent, min(len(sent), self.random.randint(0, 4)))
            else:
                batch = [{**e, "externalId": f"{key}/{n}", "key_and_index": (key, n)} for n, e in enumerate(batch)]
            for event in batch:
                self.sent[event["externalId"]] = event
            token = await self.record(batch, key)
            if key is not None and self.random.random() < 0.4:
                second_token = await self.record(batch, key)
                # If all events were removed in between, the second call records nothing and releases the key.
                if second_token != token and not any(map(self.may_be_removed, batch)):
                    self.errors.append(f"{key} was answered with another receipt")

    async def record(self, batch: list[dict[str, Any]], key: str | None = None) -> str:
        """Send one batch until an API acknowledges it, and return the token of its receipt."""
        unsent = ("key_and_index",) if key is None else ("key_and_index", "externalId")
        events = [{name: value for name, value in event.items() if name not in unsent} for event in batch]
        record_input = {"events": events, "createMissingPasses": True, "idempotencyKey": key}
        answer = (await self.execute(RECORD, {"input": record_input}))["recordEvents"]
        for event, result in zip(batch, answer["results"], strict=True):
            if result["status"] in ("CREATED", "DUPLICATE"):
                self.acknowledged.add(event["externalId"])
            elif not self.may_be_removed(event):
                self.errors.append(f"{event} was answered {result}")
        return str(answer["receipt"]["token"])

    async def remove(self) -> None:
        """Erase a pass or delete its visits at random times, and store which events must not exist afterwards."""
        while not self.stopping:
            await asyncio.sleep(self.random.uniform(0.1, 0.6))
            name = f"p{self.random.randrange(1, PASSES - MERGING)}"
            if erases := self.random.random() < 0.4:
                self.erased.add(name)
            else:
                self.without_visits.add(name)
            removed = {
                key for key in self.acknowledged if self.sent[key]["passExternalId"] == name
                and (erases or self.sent[key]["type"] == "visit")
            }  # fmt: skip
            if erases:
                [answer] = (await self.execute(ERASE, {"externalId": name})).values()
            else:
                visits = {"passExternalId": name, "types": ["visit"]}
                [answer] = (await self.execute(DELETE, {"filter": visits})).values()
                if answer["job"] and self.meets_refusals:
                    job = await self.wait_for_job(answer["job"]["id"])
                    if job["status"] != "SUCCEEDED":
                        continue
            codes = {error["code"] for error in answer["userErrors"]}
            if codes == {"LIMIT"}:
                # Workers that crash all the time leave many jobs unfinished.
                continue
            # A pass that does not exist, or not any more, is answered UNKNOWN and has no events.
            if codes - {"UNKNOWN"}:
                self.errors.append(f"{name} could not be removed: {answer}")
            self.removed |= removed

    async def merge_passes(self) -> None:
        """Merge two passes at random times; each of them may be an alias or a survivor by then."""
        while not self.stopping:
            await asyncio.sleep(self.random.uniform(0.5, 2.0))
            names = [f"p{number}" for number in self.random.sample(range(PASSES - MERGING, PASSES), 2)]
            found = [(await self.execute(FIND, {"externalId": name}))["pass"] for name in names]
            if None in found:
                continue
            survivor, merged = (card["id"] for card in found)
            [answer] = (await self.execute(MERGE, {"survivorId": survivor, "mergedId": merged})).values()
            # The two may be one pass already, or another call may merge them the other way round.
            if {error["code"] for error in answer["userErrors"]} - {"CONFLICT", "INVALID"}:
                self.errors.append(f"{names} could not be merged: {answer}")

    async def wait_for_job(self, job_id: str) -> dict[str, Any]:
        """Return a job when it has ended."""
        while True:
            job = (await self.execute(JOB, {"id": job_id}))["job"]
            # After an election, the first reads may not show a job that was just created.
            if job is not None and job["finishedAt"] is not None:
                self.job_ends[job["status"]] += 1
                return dict(job)
            await asyncio.sleep(0.3)

    def may_retry(self, codes: set[str]) -> bool:
        """Return whether a client retries a call that failed with these codes."""
        refused = {"INTERNAL_SERVER_ERROR"} if self.meets_refusals else set()
        # On a busy machine, or if it meets several elections, an operation may take longer than an API gives it.
        return not codes - {"UNAVAILABLE", "OPERATION_TIMEOUT"} - refused

    def may_be_removed(self, event: dict[str, Any]) -> bool:
        """Return whether a client asked for the removal of the event or of its pass."""
        name = event["passExternalId"]
        return name in self.erased or (name in self.without_visits and event["type"] == "visit")

    async def follow_feed(self) -> int:
        """Read the feed page by page from the last cursor, and return how many activities came in order."""
        cursor, seen = None, 0
        while not self.stopping:
            page = (await self.execute(FOLLOW, {"after": cursor, "types": EVERY_TYPE}))["activity"]
            for node in page["nodes"]:
                seen += 1
                if node["sequence"] != seen:
                    self.errors.append(f"a follower saw {node['sequence']} where {seen} comes next")
                    return seen
            cursor = page["pageInfo"]["endCursor"] or cursor
            await asyncio.sleep(0.1)
        return seen

    async def execute(self, query: str, variables: dict[str, Any]) -> Any:
        """Send an operation to random APIs until one answers, and return its data."""
        attempt = 0
        while True:
            attempt += 1
            response = await self.post("/graphql", json={"query": query, "variables": variables})
            if response is None:
                await self.pause(attempt)
                continue
            body = response.json()
            codes = [error["extensions"]["code"] for error in body.get("errors", ())]
            if not codes:
                return body["data"]
            if not self.may_retry(set(codes)):
                self.errors.append(f"{codes}: {body}")
                raise AssertionError(body)
            await self.pause(attempt)

    async def post(self, path: str, **request: Any) -> httpx.Response | None:
        """Return the response of a random API, or None if there is none or its body is not JSON."""
        address = httpx.URL(self.random.choice(self.addresses)).copy_with(path=path)
        try:
            response = await self._http.post(address, timeout=self.timeout_seconds, **request)
            response.json()
        except httpx.TimeoutException:
            # On a busy machine, a client that gives up after the same time again could never get a response.
            self.timeout_seconds = min(2 * self.timeout_seconds, MAX_TIMEOUT_SECONDS)
            return None
        except (httpx.TransportError, ValueError):
            return None
        return response

    async def pause(self, attempt: int = 1) -> None:
        """Wait before a retry, twice as long after each attempt: an erased pass refuses calls until its erasure is done."""
        self.retries += 1
        await asyncio.sleep(min(0.05 * 2 ** min(attempt, 5), MAX_PAUSE_SECONDS))

    def _event(self, name: str) -> dict[str, Any]:
        number = next(self._numbers)
        return {
            "passExternalId": f"p{self.random.randrange(PASSES)}",
            "type": self.random.choice(["purchase", "purchase", "visit"]),
            "amount": f"{self.random.randrange(1, 5000) / 100:.2f}",
            "externalId": f"{name}-{number}",
            **self.choose_points(),
        }

    def choose_points(self) -> dict[str, Any]:
        """Return points that an event adds or spends. Some added points expire during the run, some later."""
        points = self.random.choice(("0", "-7", "4", "2.5"))
        if points[0] in "0-" or self.random.random() < 0.3:
            return {"points": points}
        return {"points": points, "pointsExpireAt": self.choose_end()}

    def choose_end(self) -> str:
        """Return an instant at which points end, during the run or later."""
        return (START + timedelta(seconds=self.random.randrange(1, 4_000))).isoformat()
