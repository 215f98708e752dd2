"""A reader of single customers beside the stages, and what must hold for each of its answers that says it is exact.

It asks as a funnel does: a first look, the events in two parts of time, what these left out, then a second look.

- A pass that was merged or erased before the read began is no customer in the answer.
- A pass and the one into which it was merged while the read ran are not both in the answer.
- Every purchase that was stored before the read began and is an event until it ends is in the answer.
- A customer in the answer has all purchases that were stored before, apart from those that were removed one by one.

One exception is not checked: an event that was recorded on a pass that had ended, and that never counted. It shows that
pass as a customer until the fold has forwarded or emptied it. (Source: docs/decisions/0183-look-twice-at-customers.md.)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from random import Random

from app.commands.context import Context
from app.commands.insights import freshness
from app.domain.errors import Unavailable
from app.domain.events.event_queries import EventQuery
from app.domain.events.tombstones import MERGE, tombstone_id
from app.domain.insights.moments import MAX_MOMENTS, Moment
from app.domain.values.instants import LATEST, to_ms
from app.store.workspace.waiting import Waiting

from .memory import Doc, MemoryDatabase
from .reading import PURCHASE
from .script import START


@dataclass(frozen=True)
class Requested:
    """What the store had at one moment: the pass by purchase, the survivor by merged pass, and the erased passes."""

    purchases: Mapping[str, str]
    merges: Mapping[str, str]
    erased: frozenset[str]

    def survivor_of(self, pass_id: str) -> str:
        """Return the pass that has the events of a pass when all merges have ended."""
        while pass_id in self.merges:
            pass_id = self.merges[pass_id]
        return pass_id


class CustomerReader:
    """A reader that tells the customers of all purchases apart, and checks them. It counts the exact answers."""

    def __init__(self, db: MemoryDatabase, choices: Random) -> None:
        self.exact_answers = 0
        self._db, self._choices = db, choices

    async def read(self, ctx: Context) -> None:
        """Read the customers once, and check them. Raises AssertionError."""
        found, shown = set[str](), set[str]()

        def take(moments: Sequence[Moment]) -> None:
            found.update(each.id for each in moments)
            # No turn is between the read of the events and this call.
            shown.update(each.pass_id for each in moments if not self._is_stray(each.id))

        instants = sorted(doc["occurred_at"] for doc in self._purchases())
        cut, before = self._choices.choice(instants or [START]), self._requested()
        try:
            look = await freshness.look_at_customers(ctx, to_ms(LATEST))
            waiting = Waiting()
            for query in (EventQuery(occurred_before=cut), EventQuery(occurred_after=cut)):
                waiting |= (await ctx.workspace.moments.read_moments(query, take, MAX_MOMENTS)).waiting
            after = self._requested()
            is_exact = (await freshness.end_look(ctx, look, waiting)).exact
        except Unavailable:
            return
        if is_exact:
            self.exact_answers += 1
            self._check(shown, found, before, after)

    def _check(self, shown: Set[str], found: Set[str], before: Requested, after: Requested) -> None:
        assert not shown & before.merges.keys(), "an exact answer has a pass that was merged before"
        assert not shown & before.erased, "an exact answer has a pass that was erased before"
        customers = {after.survivor_of(each) for each in shown}
        assert len(customers) == len(shown), "an exact answer has one customer as two"
        missing = before.purchases.keys() - found
        assert not missing & self._requested().purchases.keys(), "an exact answer lacks a purchase"
        for each in missing:
            is_removed = tombstone_id(each) in self._db["events"].docs
            is_absent = after.survivor_of(before.purchases[each]) not in customers
            assert is_removed or is_absent, "an exact answer has a customer in part"

    def _requested(self) -> Requested:
        events = self._db["events"].docs
        decided = [doc["tombstone"] for doc in self._db["merges"].docs.values() if "tombstone" in doc]
        tombstones = [doc for key, doc in events.items() if key.startswith(MERGE) and "into" in doc]
        return Requested(
            {doc["_id"]: doc["pass"] for doc in self._purchases()},
            {doc["pass"]: doc["into"] for doc in (*decided, *tombstones)},
            frozenset(key for key in self._db["passes"].docs if tombstone_id(key) in events),
        )

    def _purchases(self) -> list[Doc]:
        return [doc for doc in self._db["events"].docs.values() if doc.get("type") == PURCHASE]

    def _is_stray(self, event_id: str) -> bool:
        """Return whether an event lies on a pass that has ended, and has never counted."""
        doc = self._db["events"].docs[event_id]
        has_ended = "created_at" not in self._db["passes"].docs.get(doc["pass"], {})
        return has_ended and "pend" in doc and not doc.get("moved", {}).get("told", False)
