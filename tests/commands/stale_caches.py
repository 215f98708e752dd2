"""Several processes over one store, each with a cache of its own that may be outdated, and checks of their answers.

Each answer is compared with the store at that moment, computed without the code of the commands. The simulation also
keeps what was acknowledged, and compares the totals at the end.
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
from app.domain.events.event_queries import EventQuery
from app.domain.events.events import EventInput
from app.domain.events.receipts import RecordStatus
from app.domain.ids import event_id, keyed_event_id
from app.domain.passes.inputs import PassInput
from app.store.cache import EPOCH_TTL_SECONDS, PASS_TTL_SECONDS, WorkspaceCache
from tests.business import Business
from workers.main import STAGES
from workers.stages.run_job import jobs
from workers.sweep import Sweep

from .expected_outcomes import CONFLICT, CREATED, DUPLICATE, REJECTED, AcknowledgedEvent, Call, StoreSnapshot

NAMES = ("ann", "bob", "cas")


@dataclass
class StaleProcesses:
    """A workspace, its processes, and everything that was acknowledged.

    `pass_ids` gives the pass last seen under each external id. `receipts` gives (status, event id) of each item, by
    idempotency key. `deletions` are jobs that the worker has not run yet.
    """

    business: Business
    processes: list[Context] = field(default_factory=list)
    elapsed: list[float] = field(default_factory=list)
    acknowledged: dict[str, AcknowledgedEvent] = field(default_factory=dict)
    pass_ids: dict[str, str] = field(default_factory=dict)
    inputs: dict[Call, list[EventInput]] = field(default_factory=dict)
    receipts: dict[str, list[tuple[RecordStatus, str | None]]] = field(default_factory=dict)
    deletions: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        ctx = self.business.ctx
        self.elapsed = [0.0, 0.0, 0.0]
        for number in range(3):
            cache = WorkspaceCache(now=lambda number=number: self.elapsed[number])  # type: ignore[misc]
            self.processes.append(dataclasses.replace(ctx, resources=dataclasses.replace(ctx.resources, cache=cache)))
        self.sweep = Sweep(self.business.worker, STAGES)

    # These methods are the steps of a script.

    async def call(self, process: int, call: Call) -> None:
        """Send a call for the first time or again, and compare every outcome with the store."""
        inputs, store = self._inputs(call), await self.read_store()
        expected = store.expected_outcomes(inputs, self._event_ids(call), self.acknowledged)
        answer = await self._answer(process, call, inputs)
        await self._check(store, call, inputs, expected, answer)

    async def call_twice_at_once(self, call: Call) -> None:
        """Send the same call by two processes at once: only one of them records an item."""
        inputs = self._inputs(call)
        store = await self.read_store()
        event_ids = self._event_ids(call)
        expected = store.expected_outcomes(inputs, event_ids, self.acknowledged)
        # The outcomes of copies in one call may depend on what the other process recorded.
        expected = [
            set(RecordStatus) if event_ids.count(each) > 1 else outcomes
            for each, outcomes in zip(event_ids, expected, strict=True)
        ]
        answers = await asyncio.gather(*(self._answer(each, call, inputs) for each in (0, 1)))
        first, second = answers
        if first is not None and second is not None:
            for one, other, allowed in zip(first, second, expected, strict=True):
                assert (one.status, other.status) != (CREATED, CREATED), "recorded twice"
                is_recorded = {each.status in (CREATED, DUPLICATE) for each in (one, other)}
                may_differ = allowed & {CREATED, DUPLICATE} and allowed & {CONFLICT, REJECTED}
                assert len(is_recorded) == 1 or may_differ, (one, other)
            results = [one if one.status is CREATED else other for one, other in zip(first, second, strict=True)]
            await self._check(store, call, inputs, expected, results)
        elif first or second:
            await self._check(store, call, inputs, expected, first or second)

    async def call_during(self, process: int, call: Call, step: str, *args: Any) -> None:
        """Send a call while another step runs: its outcomes may be those before the step or those after it."""
        inputs, before = self._inputs(call), await self.read_store()
        acknowledged = dict(self.acknowledged)
        answer, _ = await asyncio.gather(self._answer(process, call, inputs), getattr(self, step)(*args))
        after = await self.read_store()
        both = [store.expected_outcomes(inputs, self._event_ids(call), acknowledged) for store in (before, after)]
        expected = [one | other for one, other in zip(*both, strict=True)]
        await self._check(before, call, inputs, expected, answer, after=after)

    async def create_pass(self, process: int, name: str) -> None:
        """Call createPass, which is safe to repeat."""
        store = await self.read_store()
        try:
            [created] = await create_passes(self.processes[process], [PassInput(name)])
        except Unavailable:
            assert self._is_erasing(store, name)
            return
        assert created.card is not None
        assert created.card.external_id == name or store.survivor_of(store.pass_ids[name]) == created.card.id
        self.pass_ids[name] = created.card.id

    async def merge_passes(self, process: int, survivor: str, merged: str) -> None:
        """Call mergePasses with the passes last seen under two external ids."""
        if survivor in self.pass_ids and merged in self.pass_ids:
            store = await self.read_store()
            try:
                await merge_passes(self.processes[process], self.pass_ids[survivor], self.pass_ids[merged])
            except NotFound:
                assert None in (store.survivor_of(self.pass_ids[survivor]), store.survivor_of(self.pass_ids[merged]))
            except (Conflict, InvalidInput):
                pass

    async def erase_pass(self, process: int, name: str) -> None:
        """Call erasePass by external id. Events of the pass may disappear from now on, and must at the end."""
        store = await self.read_store()
        survivor = store.survivor_of(store.pass_ids[name]) if name in store.pass_ids else None
        try:
            await erase_pass(self.processes[process], external_id=name)
        except NotFound:
            assert survivor is None
        except Conflict:
            pass

    async def remove_event(self, process: int, external_id: str) -> None:
        """Remove one event, if it exists."""
        store, removed_id = await self.read_store(), self._event_id(external_id)
        if removed_id in store.live:
            await remove_events(self.processes[process], [(store.live[removed_id], removed_id)])
            self.acknowledged[removed_id].may_go = self.acknowledged[removed_id].must_go = True

    async def delete_events(self, process: int, name: str) -> None:
        """Call deleteEvents for a pass: all its events so far must disappear, whenever the job runs."""
        store = await self.read_store()
        pass_id = store.survivor_of(store.pass_ids[name]) if name in store.pass_ids else None
        if pass_id is not None:
            job, _ = await delete_events(self.processes[process], EventQuery(pass_id=pass_id))
            assert job is not None
            self.deletions.append(job.id)
            for event in self.acknowledged.values():
                if store.survivor_of(event.pass_id) == pass_id:
                    event.may_go = event.must_go = True

    async def expire_cache(self, process: int) -> None:
        """Let time pass for one process, so that its cached passes expire."""
        self.elapsed[process] += PASS_TTL_SECONDS

    async def fold(self) -> None:
        """Run the fold alone: it begins merges and erasures, and finishes none."""
        await self.sweep.fold()

    async def finish(self) -> None:
        """Run every stage until nothing changes, for so long that each process reads the erasure epoch again."""
        for job_id in self.deletions:
            await jobs(self.business.worker, job_id)
        self.deletions.clear()
        await self.business.run_worker()
        self.elapsed[:] = [each + EPOCH_TTL_SECONDS for each in self.elapsed]

    # These methods read the store and check the answers.

    async def read_store(self) -> StoreSnapshot:
        """Read the store, and mark the events of passes that are being erased: they may disappear from now on."""
        db, workspace = self.business.ctx.resources.db, {"workspace": self.business.ctx.workspace.id}
        passes = [doc for doc in await db["passes"].find(workspace).to_list(None) if "gone" not in doc]
        events = await db["events"].find(workspace).to_list(None)
        to_be_erased = {doc["pass"] for doc in events if doc.get("type") == "pass_erased"}
        store = StoreSnapshot(
            {doc["external_id"]: doc["_id"] for doc in passes},
            {doc["_id"]: doc["alias_of"] for doc in passes if "alias_of" in doc},
            frozenset(doc["_id"] for doc in passes if "erased" in doc),
            live={
                doc["_id"]: doc["pass"] for doc in events if doc["_id"] in self.acknowledged and "removed" not in doc
            },
            stubs=frozenset(doc["_id"] for doc in events if "removed" in doc),
        )
        for event in self.acknowledged.values():
            survivor = store.survivor_of(event.pass_id)
            # A process with an old cache still records on a pass whose erasure was only requested. The erasure removes
            # these events too.
            event.may_go |= survivor is None or survivor in to_be_erased
        return store

    def _is_erasing(self, store: StoreSnapshot, name: str) -> bool:
        return name in store.pass_ids and store.survivor_of(store.pass_ids[name]) is None

    def _event_id(self, external_id: str) -> str:
        return event_id(self.business.ctx.workspace.id, "api", external_id)

    def _event_ids(self, call: Call) -> list[str]:
        return [
            keyed_event_id(self.business.ctx.workspace.id, call.key or "", index)
            if item.external_id is None
            else self._event_id(item.external_id)
            for index, item in enumerate(call.items)
        ]

    def _inputs(self, call: Call) -> list[EventInput]:
        if call not in self.inputs:
            self.inputs[call] = [
                EventInput(
                    "purchase" if item.corrects is None else "refund",
                    pass_id=self.pass_ids.get(item.name, "pass_missing") if item.by_id else None,
                    pass_external_id=None if item.by_id else item.name,
                    amount=item.amount if item.corrects is None else 1,
                    external_id=item.external_id,
                    correction_of=None if item.corrects is None else self._event_id(item.corrects),
                )
                for item in call.items
            ]
        return self.inputs[call]

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
        self,
        store: StoreSnapshot,
        call: Call,
        inputs: Sequence[EventInput],
        expected: list[set[RecordStatus]],
        results: list[ItemResult] | None,
        after: StoreSnapshot | None = None,
    ) -> None:
        if results is None:
            erasing = [
                i for i in inputs if i.pass_external_id is not None and self._is_erasing(store, str(i.pass_external_id))
            ]
            assert erasing or after is not None, "Unavailable without a reason"
            return
        statuses = [result.status for result in results]
        message = f"{call} by {[i.pass_id or i.pass_external_id for i in inputs]}: {statuses}, expected {expected}"
        if call.key in self.receipts:
            self._check_repeat(self.receipts[call.key], statuses, message)
            return
        self._check_statuses(call, statuses, expected, message)
        for sent, sent_id, result in zip(inputs, self._event_ids(call), results, strict=True):
            if result.status in (CREATED, DUPLICATE):
                assert result.event is not None
                assert result.event.id == sent_id or call.mode == "dry"
            if result.status is CREATED and call.mode != "dry":
                assert result.event is not None
                pass_id = result.event.pass_id
                if sent.pass_external_id is not None and str(sent.pass_external_id) not in store.pass_ids:
                    self.pass_ids[str(sent.pass_external_id)] = pass_id
                self.acknowledged[sent_id] = AcknowledgedEvent.from_input(sent, pass_id)
                now = await self.read_store()
                exists = now.survivor_of(pass_id) is not None or now.is_being_erased(pass_id)
                assert after is not None or (exists and sent_id in now.live), f"recorded on a missing pass: {message}"
        if call.mode == "keyed" and {CREATED, DUPLICATE} & set(statuses):
            assert call.key is not None
            self.receipts[call.key] = [(r.status, None if r.event is None else r.event.id) for r in results]

    def _check_repeat(
        self, receipt: Sequence[tuple[RecordStatus, str | None]], statuses: Sequence[RecordStatus], message: str
    ) -> None:
        """Check a repeated call with a key: events created by the first call are duplicates now, or removed."""
        for (first, sent_id), status in zip(receipt, statuses, strict=True):
            if first in (CREATED, DUPLICATE):
                allowed = {DUPLICATE, REJECTED} if self.acknowledged[str(sent_id)].may_go else {DUPLICATE}
                assert status in allowed, message
            else:
                assert status is first, message

    def _check_statuses(
        self, call: Call, statuses: Sequence[RecordStatus], expected: Sequence[set[RecordStatus]], message: str
    ) -> None:
        recorded = {CREATED, DUPLICATE}
        for status, outcomes in zip(statuses, expected, strict=True):
            allowed = set(outcomes)
            if call.mode == "atomic" and not all(each <= recorded for each in expected):
                allowed |= {REJECTED}
                if not all(each & recorded for each in expected):
                    allowed -= recorded
            assert status in allowed, message

    async def check_totals(self) -> None:
        """Finish all work, then check that every acknowledged event is stored and counted once, and no other event."""
        await self.finish()
        store = await self.read_store()
        db, workspace = self.business.ctx.resources.db, {"workspace": self.business.ctx.workspace.id}
        docs = await db["events"].find(workspace).to_list(None)
        ids = [doc["_id"] for doc in docs if doc["_id"].startswith("event_")]
        assert set(ids) == set(self.acknowledged), "recorded without an acknowledgement, or lost"
        totals: dict[str, dict[str, Decimal]] = {}
        for sent_id, event in self.acknowledged.items():
            survivor = store.survivor_of(event.pass_id)
            assert sent_id in store.live or event.may_go, f"{sent_id} was removed without a request"
            assert sent_id not in store.live or (survivor is not None and not event.must_go), f"{sent_id} still exists"
            if sent_id in store.live:
                assert store.live[sent_id] == survivor
                sums = totals.setdefault(str(survivor), {})
                sums[event.kind] = sums.get(event.kind, Decimal(0)) + event.amount
        for doc in await db["passes"].find(workspace).to_list(None):
            if "gone" in doc:
                continue
            assert "erased" not in doc, "an erasure that does not end"
            if "alias_of" not in doc:
                counted = {row["t"]: row["sum"].to_decimal() for row in doc["aggregates"].values()}
                assert counted == totals.get(doc["_id"], {}), (doc["external_id"], counted, totals.get(doc["_id"]))
        log = await self.business.read_log(include_silent=True)
        published = [a.cause["event"] for a in log if a.type == CUSTOM_EVENT]
        assert len(published) == len(set(published)), "an event was published twice"
        assert {sent_id for sent_id, event in self.acknowledged.items() if not event.may_go} <= set(published)
