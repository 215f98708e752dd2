"""A receiver of webhooks during a crash run. At times it is slow, fails, or drops connections."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Any

from app.domain.activities import ERASED_DATA
from app.domain.activity_queries import ActivityQuery
from app.store.mongo.queries import Database
from tests.receiver import ReceivedRequest, Receiver, run_receiver

HEALTHY_SECONDS, FAILING_SECONDS = 10.0, 2.0
"""A failing time ends before the third attempt of a message. The product's own workers delay further retries for minutes."""


@dataclass
class Partner:
    """The receiver of one webhook endpoint, and the filter of that endpoint."""

    receiver: Receiver
    query: ActivityQuery
    random: Random
    is_failing: bool = False
    troubles: int = 0
    """How often the partner began to be slow or to fail."""
    _seen: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.receiver.respond = self.respond

    def respond(self, request: ReceivedRequest) -> int:
        """Accept a message unless the partner is failing; reject every fifteenth when it comes for the first time."""
        is_first = request.id not in self._seen
        self._seen.add(request.id)
        if self.is_failing:
            if self.random.random() < 0.5:
                raise ConnectionResetError
            return 500
        return 503 if is_first and len(self.receiver.requests) % 15 == 0 else 200

    async def run(self) -> None:
        """Fail or be slow at random times until cancelled, then recover."""
        try:
            while True:
                await asyncio.sleep(HEALTHY_SECONDS * self.random.uniform(1, 1.5))
                is_slow = self.random.random() < 0.5
                self.is_failing = not is_slow
                self.troubles += 1
                if is_slow:
                    self.receiver.may_respond.clear()
                await asyncio.sleep(FAILING_SECONDS * self.random.random())
                self._recover()
        finally:
            self._recover()

    def _recover(self) -> None:
        self.is_failing = False
        self.receiver.may_respond.set()

    @property
    def delivered(self) -> int:
        """The number of accepted messages, each counted once."""
        return len(set(self.receiver.ids))

    @property
    def repeated(self) -> int:
        """The number of messages accepted again."""
        return len(self.receiver.ids) - self.delivered

    async def find_problems(self, db: Database) -> list[str]:
        """Return every contradiction between the feed and the messages, in the order of their first acceptance."""
        matching = {"type": {"$in": list(self.query.types)}} if self.query.types else {}
        activities = {_message_id(a): a async for a in db["activities"].find(matching)}
        delivered = dict.fromkeys(self.receiver.ids)
        found, last_number = [], dict[str, int]()
        if missed := activities.keys() - delivered.keys():
            found.append(f"{len(missed)} activities were never delivered: {sorted(missed)[:3]}")
        if unknown := {request.id for request in self.receiver.requests} - activities.keys():
            found.append(f"{len(unknown)} activities were delivered that do not match: {sorted(unknown)[:3]}")
        for activity in (activities[each] for each in delivered if each in activities):
            if last_number.get(activity["pass"], 0) > activity["n"]:
                found.append(f"activity {activity['n']} of {activity['pass']} was delivered after a later one")
            last_number[activity["pass"]] = activity["n"]
        bodies: dict[str, set[bytes]] = {}
        for request in self.receiver.requests:
            bodies.setdefault(request.id, set()).add(request.body)
        # Activities of an erased pass are emptied, so a later attempt may have another body.
        intact = {each for each, activity in activities.items() if activity["data"] != ERASED_DATA}
        if changed := [each for each in intact & bodies.keys() if len(bodies[each]) > 1]:
            found.append(f"{len(changed)} activities were delivered with different bodies: {sorted(changed)[:3]}")
        return found


def _message_id(activity: dict[str, Any]) -> str:
    return f"act_{activity['pass'].removeprefix('pass_')}:{activity['n']}"


@asynccontextmanager
async def run_partner(query: ActivityQuery, random: Random) -> AsyncIterator[Partner]:
    """Run a partner while the block runs."""
    async with run_receiver() as receiver:
        partner = Partner(receiver, query, random)
        running = asyncio.create_task(partner.run())
        try:
            yield partner
        finally:
            running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await running
