"""Several processes over one store, each with knowledge of its own that may be stale, and who tells what is true.

Every answer is held against the store as it is, by arithmetic that shares no code with the commands; what was acknowledged
is remembered beside it, and the totals are reckoned from that in the end.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from app.commands.context import Context
from app.commands.events.outcomes import ItemResult
from app.commands.events.receipts import record_call
from app.commands.events.record import record_events
from app.commands.passes.merges import merge_passes
from app.commands.passes.passes import create_passes
from app.commands.passes.removals import delete_events, erase_pass, remove_events
from app.domain.activities import CUSTOM_EVENT
from app.domain.errors import Conflict, InvalidInput, NotFound, Unavailable
from app.domain.events.events import EventInput, EventQuery
from app.domain.events.receipts import RecordStatus
from app.domain.ids import event_id, keyed_event_id
from app.domain.passes.passes import PassInput
from app.store.cache import EPOCH_TTL_SECONDS, PASS_TTL_SECONDS, WorkspaceCache
from tests.business import Business
from workers.main import STAGES
from workers.stages.run_job import jobs
from workers.sweep import Sweep

from .truth import CONFLICT, CREATED, DUPLICATE, REJECTED, Call, Kept, Truth

NAMES = ("ann", "bob", "cas")


@dataclass
class World:
    """A workspace, its processes, and everything that was acknowledged."""

    business: Business
    processes: list[Context] = field(default_factory=list)
    elapsed: list[float] = field(default_factory=list)
    kept: dict[str, Kept] = field(default_factory=dict)
    ids: dict[str, str] = field(default_factory=dict)
    sent: dict[Call, list[EventInput]] = field(default_factory=dict)
    fates: dict[str, list[tuple[RecordStatus, str | None]]] = field(default_factory=dict)
    deletions: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        ctx = self.business.ctx
        self.elapsed = [0.0, 0.0, 0.0]
        for place in range(3):
            known = WorkspaceCache(now=lambda place=place: self.elapsed[place])  # type: ignore[misc]
            self.processes.append(dataclasses.replace(ctx, resources=dataclasses.replace(ctx.resources, cache=known)))
        self.sweep = Sweep(self.business.worker, STAGES)

    # What may be done

    async def call(self, process: int, call: Call) -> None:
        """Sends a call, or sends it again, and holds every answer against the store."""
        inputs, truth = self._inputs(call), await self.truth()
        expected = truth.fates(inputs, self._identities(call), self.kept)
        answer = await self._answer(process, call, inputs)
        await self._check(truth, call, inputs, expected, answer)

    async def together(self, call: Call) -> None:
        """The same call by two processes at once: one of them records."""
        inputs = self._inputs(call)
        truth = await self.truth()
        identities = self._identities(call)
        expected = truth.fates(inputs, identities, self.kept)
        # Copies in one call may be answered by what the other process recorded.
        expected = [
            set(RecordStatus) if identities.count(each) > 1 else fates
            for each, fates in zip(identities, expected, strict=True)
        ]
        answers = await asyncio.gather(*(self._answer(each, call, inputs) for each in (0, 1)))
        first, second = answers
        if first is not None and second is not None:
            for one, other, may in zip(first, second, expected, strict=True):
                assert (one.status, other.status) != (CREATED, CREATED), "recorded twice"
                recorded = {each.status in (CREATED, DUPLICATE) for each in (one, other)}
                assert len(recorded) == 1 or (may & {CREATED, DUPLICATE} and may & {CONFLICT, REJECTED}), (one, other)
            joined = [one if one.status is CREATED else other for one, other in zip(first, second, strict=True)]
            await self._check(truth, call, inputs, expected, joined)
        elif first or second:
            await self._check(truth, call, inputs, expected, first or second)

    async def during(self, process: int, call: Call, step: str, *args: Any) -> None:
        """A call while something else goes on: it may be answered as before that, or as after."""
        inputs, before = self._inputs(call), await self.truth()
        kept = dict(self.kept)
        answer, _ = await asyncio.gather(self._answer(process, call, inputs), getattr(self, step)(*args))
        after = await self.truth()
        ways = [truth.fates(inputs, self._identities(call), kept) for truth in (before, after)]
        expected = [one | other for one, other in zip(*ways, strict=True)]
        await self._check(before, call, inputs, expected, answer, after=after)

    async def create(self, process: int, name: str) -> None:
        """createPass; again is the same."""
        truth = await self.truth()
        try:
            [made] = await create_passes(self.processes[process], [PassInput(name)])
        except Unavailable:
            assert self._going(truth, name)
            return
        assert made.card is not None
        assert made.card.external_id == name or truth.answering(truth.names[name]) == made.card.id
        self.ids[name] = made.card.id

    async def merge(self, process: int, survivor: str, merged: str) -> None:
        """mergePasses, of the latest passes ever seen under two names."""
        if survivor in self.ids and merged in self.ids:
            truth = await self.truth()
            try:
                await merge_passes(self.processes[process], self.ids[survivor], self.ids[merged])
            except NotFound:
                assert None in (truth.answering(self.ids[survivor]), truth.answering(self.ids[merged]))
            except (Conflict, InvalidInput):
                pass

    async def erase(self, process: int, name: str) -> None:
        """erasePass, by name: what is on the pass may go from now on, and must in the end."""
        truth = await self.truth()
        there = truth.answering(truth.names[name]) if name in truth.names else None
        try:
            await erase_pass(self.processes[process], external_id=name)
        except NotFound:
            assert there is None
        except Conflict:
            pass

    async def remove(self, process: int, external_id: str) -> None:
        """Removes one event, if it is there."""
        truth, identity = await self.truth(), self._identity(external_id)
        if identity in truth.live:
            await remove_events(self.processes[process], [(truth.live[identity], identity)])
            self.kept[identity].may_go = self.kept[identity].must_go = True

    async def empty(self, process: int, name: str) -> None:
        """deleteEvents by filter: everything recorded on the pass so far must go, whenever the job comes to it."""
        truth = await self.truth()
        pass_id = truth.answering(truth.names[name]) if name in truth.names else None
        if pass_id is not None:
            job, _ = await delete_events(self.processes[process], EventQuery(pass_id=pass_id))
            assert job is not None
            self.deletions.append(job.id)
            for kept in self.kept.values():
                if truth.answering(kept.home) == pass_id:
                    kept.may_go = kept.must_go = True

    async def forget(self, process: int) -> None:
        """Time passes for one process: nothing that it knows is believed any longer."""
        self.elapsed[process] += PASS_TTL_SECONDS

    async def fold(self) -> None:
        """The fold alone: merges and erasures begin, and nothing of them is finished."""
        await self.sweep.folds()

    async def settle(self) -> None:
        """Every stage, until nothing moves; as long as it takes for all to hear of what is gone."""
        for job_id in self.deletions:
            await jobs(self.business.worker, job_id)
        self.deletions.clear()
        await self.business.settle()
        self.elapsed[:] = [each + EPOCH_TTL_SECONDS for each in self.elapsed]

    # What is true

    async def truth(self) -> Truth:
        """The store as it is now; what is being erased may go from now on."""
        db, mine = self.business.ctx.resources.db, {"workspace": self.business.ctx.workspace.id}
        passes = await db["passes"].find(mine).to_list(None)
        events = await db["events"].find(mine).to_list(None)
        asked = {doc["pass"] for doc in events if doc.get("type") == "pass_erased"}
        truth = Truth(
            {doc["external_id"]: doc["_id"] for doc in passes},
            {doc["_id"]: doc["alias_of"] for doc in passes if "alias_of" in doc},
            frozenset(doc["_id"] for doc in passes if "erased" in doc),
            {doc["_id"]: doc["pass"] for doc in events if doc["_id"] in self.kept and "removed" not in doc},
            frozenset(doc["_id"] for doc in events if "removed" in doc),
        )
        for kept in self.kept.values():
            heir = truth.answering(kept.home)
            # Whoever has not heard of an erasure that is only asked for still records there: it goes with the rest.
            kept.may_go |= heir is None or heir in asked
        return truth

    def _going(self, truth: Truth, name: str) -> bool:
        return name in truth.names and truth.answering(truth.names[name]) is None

    def _identity(self, external_id: str) -> str:
        return event_id(self.business.ctx.workspace.id, "api", external_id)

    def _identities(self, call: Call) -> list[str]:
        return [
            keyed_event_id(self.business.ctx.workspace.id, call.key or "", place)
            if item.external_id is None
            else self._identity(item.external_id)
            for place, item in enumerate(call.items)
        ]

    def _inputs(self, call: Call) -> list[EventInput]:
        if call not in self.sent:
            self.sent[call] = [
                EventInput(
                    "purchase" if item.corrects is None else "refund",
                    pass_id=self.ids.get(item.name, "pass_nobody") if item.by_id else None,
                    pass_external_id=None if item.by_id else item.name,
                    amount=item.amount if item.corrects is None else 1,
                    external_id=item.external_id,
                    correction_of=None if item.corrects is None else self._identity(item.corrects),
                )
                for item in call.items
            ]
        return self.sent[call]

    async def _answer(self, process: int, call: Call, inputs: Sequence[EventInput]) -> list[ItemResult] | None:
        ctx = self.processes[process]
        try:
            if call.mode == "keyed":
                done = await record_call(ctx, inputs, create_missing_passes=True, idempotency_key=call.key)
                return done.outcome.results
            outcome = await record_events(
                ctx, inputs, create_missing_passes=True, atomic=call.mode == "atomic", dry_run=call.mode == "dry"
            )
            return outcome.results
        except Unavailable:
            return None

    async def _check(
        self, truth: Truth, call: Call, inputs: Sequence[EventInput], expected: list[set[RecordStatus]],
        results: list[ItemResult] | None, after: Truth | None = None,
    ) -> None:  # fmt: skip
        if results is None:
            going = [
                i for i in inputs if i.pass_external_id is not None and self._going(truth, str(i.pass_external_id))
            ]
            assert going or after is not None, "put off for no reason"
            return
        fates = [result.status for result in results]
        told = f"{call} by {[i.pass_id or i.pass_external_id for i in inputs]}: {fates}, expected {expected}"
        if call.key in self.fates:
            # The receipt answers: what was created then is a duplicate, or removed, by now.
            for (first, identity), status in zip(self.fates[call.key], fates, strict=True):
                if first in (CREATED, DUPLICATE):
                    assert status in ({DUPLICATE, REJECTED} if self.kept[str(identity)].may_go else {DUPLICATE}), told
                else:
                    assert status is first, told
            return
        good = {CREATED, DUPLICATE}
        for status, allowed in zip(fates, expected, strict=True):
            may = set(allowed)
            if call.mode == "atomic" and not all(each <= good for each in expected):
                may |= {REJECTED}
                if not all(each & good for each in expected):
                    may -= good
            assert status in may, told
        for sent, identity, result in zip(inputs, self._identities(call), results, strict=True):
            if result.status in (CREATED, DUPLICATE):
                assert result.event is not None
                assert result.event.id == identity or call.mode == "dry"
            if result.status is CREATED and call.mode != "dry":
                assert result.event is not None
                home = result.event.pass_id
                if sent.pass_external_id is not None and str(sent.pass_external_id) not in truth.names:
                    self.ids[str(sent.pass_external_id)] = home
                self.kept[identity] = Kept.of(sent, home)
                now = await self.truth()
                there = now.answering(home) is not None or now.leaving(home)
                assert after is not None or (there and identity in now.live), f"recorded where nobody is: {told}"
        if call.mode == "keyed" and {CREATED, DUPLICATE} & set(fates):
            assert call.key is not None
            self.fates[call.key] = [(r.status, None if r.event is None else r.event.id) for r in results]

    async def reckon(self) -> None:
        """Everything that was acknowledged is there once and counts, and nothing else does."""
        await self.settle()
        truth = await self.truth()
        db, mine = self.business.ctx.resources.db, {"workspace": self.business.ctx.workspace.id}
        ids = [doc["_id"] for doc in await db["events"].find(mine).to_list(None) if doc["_id"].startswith("event_")]
        assert set(ids) == set(self.kept), "recorded without an acknowledgement, or lost"
        totals: dict[str, dict[str, Decimal]] = {}
        for identity, kept in self.kept.items():
            heir = truth.answering(kept.home)
            assert identity in truth.live or kept.may_go, f"{identity} is gone, and nobody asked for it"
            assert identity not in truth.live or (heir is not None and not kept.must_go), f"{identity} is still there"
            if identity in truth.live:
                assert truth.live[identity] == heir
                sums = totals.setdefault(str(heir), {})
                sums[kept.kind] = sums.get(kept.kind, Decimal(0)) + kept.amount
        for doc in await db["passes"].find(mine).to_list(None):
            assert "erased" not in doc, "an erasure that does not end"
            if "alias_of" not in doc:
                counted = {row["t"]: row["sum"].to_decimal() for row in doc["aggregates"].values()}
                assert counted == totals.get(doc["_id"], {}), (doc["external_id"], counted, totals.get(doc["_id"]))
        told = [a.cause["event"] for a in await self.business.feed(include_silent=True) if a.type == CUSTOM_EVENT]
        assert len(told) == len(set(told)), "an event was told twice"
        assert {identity for identity, kept in self.kept.items() if not kept.may_go} <= set(told)
