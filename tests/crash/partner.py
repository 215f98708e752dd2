"""A partner who is told by webhook of what the feed says, and is not always well: slow, refusing, or away for a moment."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Any

from app.domain.activities import EMPTIED, ActivityQuery
from app.store.mongo.queries import Database
from tests.receiver import Got, Receiver, receiving

WELL_SECONDS, ILL_SECONDS = 10.0, 2.0
"""Ill for less than it takes until a message is tried for the third time, and not soon again: nothing waits for minutes."""


@dataclass
class Partner:
    """A webhook endpoint of the partner's, and what it wants to hear of."""

    receiver: Receiver
    query: ActivityQuery
    random: Random
    ill: bool = False
    _seen: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.receiver.answers = self.answer

    def answer(self, got: Got) -> int:
        """Takes a message, unless it is ill; and not every fifteenth when it first comes."""
        first = got.id not in self._seen
        self._seen.add(got.id)
        if self.ill:
            if self.random.random() < 0.5:
                raise ConnectionResetError
            return 500
        return 503 if first and len(self.receiver.got) % 15 == 0 else 200

    async def live(self) -> None:
        """Falls ill now and then, until cancelled; then it is well."""
        try:
            while True:
                await asyncio.sleep(WELL_SECONDS * self.random.uniform(1, 1.5))
                slow = self.random.random() < 0.5
                self.ill = not slow
                if slow:
                    self.receiver.opened.clear()
                await asyncio.sleep(ILL_SECONDS * self.random.random())
                self._recover()
        finally:
            self._recover()

    def _recover(self) -> None:
        self.ill = False
        self.receiver.opened.set()

    @property
    def delivered(self) -> int:
        """How many messages it took, each counted once."""
        return len(set(self.receiver.ids))

    @property
    def repeated(self) -> int:
        """How many times it took one again."""
        return len(self.receiver.ids) - self.delivered

    async def untold(self, db: Database) -> list[str]:
        """Every contradiction between the feed and what it was sent, and took, in the order in which it took it first."""
        wanted = {"type": {"$in": list(self.query.types)}} if self.query.types else {}
        lines = {_message_id(a): a async for a in db["activities"].find(wanted)}
        delivered = dict.fromkeys(self.receiver.ids)
        found, seen = [], dict[str, int]()
        if missed := lines.keys() - delivered.keys():
            found.append(f"{len(missed)} activities were never delivered: {sorted(missed)[:3]}")
        if strange := {got.id for got in self.receiver.got} - lines.keys():
            found.append(f"{len(strange)} activities were delivered that nobody asked for: {sorted(strange)[:3]}")
        for activity in (lines[each] for each in delivered if each in lines):
            if seen.get(activity["pass"], 0) > activity["n"]:
                found.append(f"activity {activity['n']} of {activity['pass']} was delivered after a later one")
            seen[activity["pass"]] = activity["n"]
        bodies: dict[str, set[bytes]] = {}
        for got in self.receiver.got:
            bodies.setdefault(got.id, set()).add(got.body)
        # What was told of a pass is emptied when it is erased.
        kept = {each for each, line in lines.items() if line["data"] != EMPTIED}
        if changed := [each for each in kept & bodies.keys() if len(bodies[each]) > 1]:
            found.append(f"{len(changed)} activities were told in different words: {sorted(changed)[:3]}")
        return found


def _message_id(line: dict[str, Any]) -> str:
    return f"act_{line['pass'].removeprefix('pass_')}:{line['n']}"


@asynccontextmanager
async def partner(query: ActivityQuery, random: Random) -> AsyncIterator[Partner]:
    """A partner, who lives while the block runs."""
    async with receiving() as receiver:
        found = Partner(receiver, query, random)
        living = asyncio.create_task(found.live())
        try:
            yield found
        finally:
            living.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await living
