"""What integrators and partners do while everything dies: blind retries, and followers that resume."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import httpx

RECORD = """mutation Record($input: RecordEventsInput!) {
  recordEvents(input: $input) {
    results { status event { id } userErrors { code message } } receipt { token } userErrors { code message }
  }
}"""
FOLLOW = """query Follow($after: String) {
  activity(first: 250, after: $after, filter: { includeSilent: true }) {
    pageInfo { endCursor } nodes { sequence }
  }
}"""
DELETE = """mutation Delete($filter: EventFilter!) {
  deleteEvents(input: { filter: $filter }) { job { id } userErrors { code message } }
}"""
ERASE = """mutation Erase($externalId: String!) {
  erasePass(input: { externalId: $externalId }) { receipt { state } userErrors { code message } }
}"""
FIND = "query Find($externalId: String!) { pass(externalId: $externalId) { id } }"
MERGE = """mutation Merge($survivorId: ID!, $mergedId: ID!) {
  mergePasses(input: { survivorId: $survivorId, mergedId: $mergedId }) { pass { id } userErrors { code message } }
}"""
PASSES = 40
JOINING = 8
"""Of those, how many are merged with each other now and then; nothing is removed of them."""


@dataclass
class Load:
    """A workspace's integrators and followers, over several API addresses. Everything sent and answered is noted."""

    addresses: list[str]
    secret: str
    random: Random
    sent: dict[str, dict[str, Any]] = field(default_factory=dict)
    acknowledged: set[str] = field(default_factory=set)
    retries: int = 0
    removed: set[str] = field(default_factory=set)
    thinned: set[str] = field(default_factory=set)
    erased: set[str] = field(default_factory=set)
    faults: list[str] = field(default_factory=list)
    stopping: bool = False

    def __post_init__(self) -> None:
        self._http = httpx.AsyncClient(headers={"authorization": f"Bearer {self.secret}"}, timeout=4)
        self._numbers = itertools.count()

    async def aclose(self) -> None:
        """Closes the connections."""
        await self._http.aclose()

    async def integrate(self, name: str) -> None:
        """Sends batches until told to stop; each until it is acknowledged, some of it twice on purpose.

        Some events are known by their own name, some by the key of the call and their place in it.
        """
        while not self.stopping:
            batch = [self._event(name) for _ in range(self.random.randint(1, 25))]
            key = f"{name}-call-{next(self._numbers)}" if self.random.random() < 0.4 else None
            if key is None:
                known = [event for event in self.sent.values() if not {"place", "door"} & event.keys()]
                batch += self.random.sample(known, min(len(known), self.random.randint(0, 4)))
            else:
                batch = [{**e, "externalId": f"{key}/{n}", "place": (key, n)} for n, e in enumerate(batch)]
            for event in batch:
                self.sent[event["externalId"]] = event
            token = await self.record(batch, key)
            if key is not None and self.random.random() < 0.4:
                again = await self.record(batch, key)
                # Where everything was removed in between, nothing is recorded, and the key is free again.
                if again != token and not any(map(self.may_be_gone, batch)):
                    self.faults.append(f"{key} was answered with another receipt")

    async def record(self, batch: list[dict[str, Any]], key: str | None = None) -> str:
        """Sends one batch blindly until somebody acknowledges it; the token of its receipt."""
        own = ("place",) if key is None else ("place", "externalId")
        events = [{name: value for name, value in event.items() if name not in own} for event in batch]
        asked = {"events": events, "createMissingPasses": True, "idempotencyKey": key}
        answer = (await self.ask(RECORD, {"input": asked}))["recordEvents"]
        for event, result in zip(batch, answer["results"], strict=True):
            if result["status"] in ("CREATED", "DUPLICATE"):
                self.acknowledged.add(event["externalId"])
            elif not self.may_be_gone(event):
                self.faults.append(f"{event} was answered {result}")
        return str(answer["receipt"]["token"])

    async def curate(self) -> None:
        """Now and then has the visits of a pass removed, or the pass erased; notes what has to be gone then."""
        while not self.stopping:
            await asyncio.sleep(self.random.uniform(0.1, 0.6))
            name = f"p{self.random.randrange(1, PASSES - JOINING)}"
            if whole := self.random.random() < 0.4:
                self.erased.add(name)
            else:
                self.thinned.add(name)
            gone = {
                key for key in self.acknowledged if self.sent[key]["passExternalId"] == name
                and (whole or self.sent[key]["type"] == "visit")
            }  # fmt: skip
            if whole:
                [answer] = (await self.ask(ERASE, {"externalId": name})).values()
            else:
                visits = {"passExternalId": name, "types": ["visit"]}
                [answer] = (await self.ask(DELETE, {"filter": visits})).values()
            # A pass that was erased already, or never was, has nothing that could be left.
            if {error["code"] for error in answer["userErrors"]} - {"UNKNOWN"}:
                self.faults.append(f"{name} could not be removed: {answer}")
            self.removed |= gone

    async def join(self) -> None:
        """Now and then merges two passes; each answers for itself, for others, or is answered for by then."""
        while not self.stopping:
            await asyncio.sleep(self.random.uniform(0.5, 2.0))
            names = [f"p{number}" for number in self.random.sample(range(PASSES - JOINING, PASSES), 2)]
            found = [(await self.ask(FIND, {"externalId": name}))["pass"] for name in names]
            if None in found:
                continue
            survivor, merged = (card["id"] for card in found)
            [answer] = (await self.ask(MERGE, {"survivorId": survivor, "mergedId": merged})).values()
            # The two may be one already, or about to become one the other way round.
            if {error["code"] for error in answer["userErrors"]} - {"CONFLICT", "INVALID"}:
                self.faults.append(f"{names} could not be merged: {answer}")

    def may_be_gone(self, event: dict[str, Any]) -> bool:
        """Whether somebody asked for its removal, or for that of its pass."""
        name = event["passExternalId"]
        return name in self.erased or (name in self.thinned and event["type"] == "visit")

    async def follow(self) -> int:
        """Reads the feed from its beginning and on, always from the last cursor; how many activities it saw in order."""
        cursor, seen = None, 0
        while not self.stopping:
            page = (await self.ask(FOLLOW, {"after": cursor}))["activity"]
            for node in page["nodes"]:
                seen += 1
                if node["sequence"] != seen:
                    self.faults.append(f"a follower saw {node['sequence']} where {seen} comes next")
                    return seen
            cursor = page["pageInfo"]["endCursor"] or cursor
            await asyncio.sleep(0.02)
        return seen

    async def ask(self, query: str, variables: dict[str, Any]) -> Any:
        """The data of an operation, asked of one API after the other until one answers."""
        while True:
            response = await self.post("/graphql", json={"query": query, "variables": variables})
            if response is None:
                await self.later()
                continue
            body = response.json()
            codes = [error["extensions"]["code"] for error in body.get("errors", ())]
            if not codes:
                return body["data"]
            if set(codes) - {"UNAVAILABLE"}:
                self.faults.append(f"{codes}: {body}")
                raise AssertionError(body)
            await self.later()

    async def post(self, path: str, **request: Any) -> httpx.Response | None:
        """What one API answers, whichever; None where it does not, or not in JSON."""
        address = httpx.URL(self.random.choice(self.addresses)).copy_with(path=path)
        try:
            response = await self._http.post(address, **request)
            response.json()
        except (httpx.TransportError, ValueError):
            return None
        return response

    async def later(self) -> None:
        """A moment, before the same is tried again."""
        self.retries += 1
        await asyncio.sleep(0.05)

    def _event(self, name: str) -> dict[str, Any]:
        number = next(self._numbers)
        return {
            "passExternalId": f"p{self.random.randrange(PASSES)}",
            "type": self.random.choice(["purchase", "purchase", "visit"]),
            "amount": f"{self.random.randrange(1, 5000) / 100:.2f}",
            "externalId": f"{name}-{number}",
            **self._points(),
        }

    def _points(self) -> dict[str, Any]:
        """What an event gives or takes: some of it ends while everything dies, some of it later."""
        points = self.random.choice(("0", "-7", "4", "2.5"))
        if points[0] in "0-" or self.random.random() < 0.3:
            return {"points": points}
        end = datetime.now(UTC) + timedelta(seconds=self.random.randrange(1, 120))
        return {"points": points, "pointsExpireAt": end.isoformat()}
