"""Faults of the store during a crash run: errors before and after a command, delays, elections, old reads, refusals.

Each process reaches the store by a proxy of its own, which looks like a replica set of two members. A copy of the store
answers an old read. So the read shows a state that the store really had, and all old reads of one fault show the same state.
Two faults cause old reads:

- An *election*. All connections close. The other member, the new primary, first reads what the majority of the replica set
  had a moment ago. It acknowledges no write before its reads are current again, as MongoDB does.
- An *isolated primary*, to which one process is still connected while the others have gone to the new primary. That process
  reads the state of the beginning of the isolation, and none of its writes takes effect.

No read of one member is older than an earlier one. A round that began with the old primary may go on with the new one.
"""

from __future__ import annotations

import asyncio
import shutil
import signal
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

from bson import Int64

from app.local.processes import Child
from tests.servers import child_of_store
from tests.wire.framing import Command, Doc
from tests.wire.proxy import CloseConnection, Forward

from .gates import READS, RETRYABLE, SECRET, TRANSIENT, WRITES, Gate, Refusal, ask, error, mark_cursor

CHANCE_OF_DELAY, CHANCE_OF_READ_ERROR, CHANCE_OF_WRITE_ERROR = 0.004, 0.005, 0.03
"""Chances of a fault for each command of a process."""
REFUSED_COMMANDS = (
    ("update", "passes"),
    ("find", "passes"),
    ("insert", "events"),
    ("update", "events"),
    ("find", "events"),
    ("insert", "activities"),
    ("find", "activities"),
    ("find", "definitions"),
    ("update", "webhook_lanes"),
    ("findAndModify", "webhook_lanes"),
    ("insert", "webhook_deliveries"),
    ("update", "jobs"),
    ("findAndModify", "jobs"),
    ("find", "jobs"),
    ("insert", "jobs"),
    ("insert", "receipts"),
    ("insert", "request_keys"),
    ("find", "workspaces"),
)
"""Commands that the user of the database may not run for a while, by an error of an operator."""


class StoreFaults:
    """The gates of all processes before one store, and the faults that happen at them. `chosen_pass` is never removed."""

    def __init__(self, store: Child, port: int, folder: Path, seed: int, say: Callable[[str], None]) -> None:
        self.port = port
        self.gates: list[Gate] = []
        self.counts: Counter[str] = Counter()
        self.refusals: list[Refusal] = []
        self.now_refused: Refusal | None = None
        self.chosen_pass = ""
        self.is_active = False
        self.term = 2
        self._store, self._folder, self._say = store, folder, say
        self._random = Random(seed)
        self._copies = 0

    async def open_gate(self, name: str) -> Gate:
        """Return a new gate that listens."""
        gate = Gate(name, self.port, self.term, self.answer)
        for member in gate.members:
            await member.start()
        self.gates.append(gate)
        return gate

    async def close(self) -> None:
        """Close all gates."""
        for gate in self.gates:
            for member in gate.members:
                await member.stop()

    async def run(self) -> None:
        """Let faults happen until cancelled; then the store is well again."""
        self.is_active = True
        episodes = (self.elect, self.elect, self.elect_with_old_reads, self.isolate, self.refuse, self.refuse_pass)
        try:
            while True:
                for episode in self._random.sample(episodes, len(episodes)):
                    await asyncio.sleep(self._random.uniform(1, 6))
                    self._say(f"{episode.__name__} begins")
                    await episode()
                    self._say(f"{episode.__name__} ends")
        finally:
            self.is_active, self.now_refused = False, None
            for gate in self.gates:
                self._heal(gate)

    def _heal(self, gate: Gate) -> None:
        gate.old_port, gate.is_isolated = None, False
        gate.mend(self.term)
        gate.reads_pass.set()
        gate.writes_pass.set()

    async def elect(self) -> None:
        """Close all connections, and refuse new ones for 2 to 8 s."""
        self.counts["election"] += 1
        await self._cut(self._random.uniform(2, 8))

    async def elect_with_old_reads(self) -> None:
        """Elect a primary whose first reads do not show the last writes."""
        async with self._copy() as port:
            await asyncio.sleep(self._random.uniform(0, 1))
            for gate in self.gates:
                gate.old_port = port
                gate.writes_pass.clear()
            try:
                await self._cut(self._random.uniform(0.5, 8))
                await asyncio.sleep(self._random.uniform(0.5, 4))
            finally:
                for gate in self.gates:
                    self._heal(gate)
            self.counts["election with old reads"] += 1

    async def _cut(self, seconds: float) -> None:
        self.term += 1
        for gate in self.gates:
            gate.cut()
        await asyncio.sleep(seconds)
        for gate in self.gates:
            gate.mend(self.term)

    async def isolate(self) -> None:
        """Leave one process with a primary that the others have left: it reads what was, and cannot write."""
        gate = self._random.choice(self.gates)
        gate.reads_pass.clear()
        try:
            while gate.under_way:
                await asyncio.sleep(0.005)
            gate.is_isolated = True
            gate.writes_pass.clear()
            async with self._copy() as port:
                gate.old_port = port
                gate.reads_pass.set()
                self.term += 1
                others = [each for each in self.gates if each is not gate]
                for other in others:
                    other.cut()
                await asyncio.sleep(self._random.uniform(0.5, 2))
                for other in others:
                    other.mend(self.term)
                await asyncio.sleep(self._random.uniform(1, 5))
                gate.cut()
                await asyncio.sleep(self._random.uniform(0, 2))
        finally:
            self._heal(gate)
        self.counts["isolated primary"] += 1

    async def refuse(self) -> None:
        """Refuse one command at one collection for 18 s, as if an operator had taken a right."""
        command, collection = self._random.choice(REFUSED_COMMANDS)
        await self._refuse(Refusal(command, collection, 13, "Unauthorized"), 18)

    async def refuse_pass(self) -> None:
        """Refuse the document of one pass until it is parked."""
        code, name = self._random.choice(((10334, "BSONObjectTooLarge"), (121, "DocumentValidationFailure")))
        if self.chosen_pass:
            await self._refuse(Refusal("update", "passes", code, name, self.chosen_pass), 10)

    async def _refuse(self, refusal: Refusal, seconds: float) -> None:
        self._say(f"{refusal.code} for {refusal.command} at {refusal.collection}")
        self.refusals.append(refusal)
        self.now_refused = refusal
        await asyncio.sleep(seconds)
        self.now_refused = None
        self.counts[f"{refusal.code_name} {refusal.command} {refusal.collection}"] += 1

    async def answer(self, gate: Gate, command: Command, forward: Forward) -> Doc:
        """Return the answer to a command: that of the store, of its copy, or an error. Raises CloseConnection."""
        if not self.is_active:
            return await forward(command)
        is_write = command.name in WRITES
        if gate.is_isolated and is_write:
            await gate.writes_pass.wait()
            if self._random.random() < 0.5:
                raise CloseConnection
            return error(10107, TRANSIENT[10107], **RETRYABLE)
        old_port = gate.old_port
        if old_port is not None and command.name in READS:
            self.counts["old reads"] += 1
            return mark_cursor(await ask(old_port, command))
        if command.name == "getMore" and command.body["getMore"] < 0:
            if old_port is None:
                return error(43, "CursorNotFound")
            return mark_cursor(
                await ask(old_port, Command({**command.body, "getMore": Int64(-command.body["getMore"])}))
            )
        if old_port is not None and is_write:
            if self._random.random() < 0.5:
                reply = await forward(command)
                await gate.writes_pass.wait()
                return reply
            await gate.writes_pass.wait()
        if self.now_refused is not None:
            refused = self.now_refused.answer(command)
            if refused is not None:
                self.now_refused.met[gate.name] += 1
                return refused
            if self.now_refused.pass_id is not None and command.name == "update":
                return await self._refuse_saves(gate, self.now_refused, command, forward)
        return await self._answer_at_random(command, forward)

    async def _refuse_saves(self, gate: Gate, refusal: Refusal, command: Command, forward: Forward) -> Doc:
        """Refuse the compare-and-set of the chosen pass in a bulk write, and let the store do the others."""
        updates = command.items("updates")
        if command.collection != "passes":
            return await forward(command)
        bad = [i for i, each in enumerate(updates) if each["q"].get("_id") == refusal.pass_id and "fid" in each["q"]]
        if not bad:
            return await forward(command)
        refusal.met[gate.name] += 1
        good = [i for i in range(len(updates)) if i not in bad]
        reply: Doc = {"ok": 1.0, "n": 0, "nModified": 0}
        if good:
            reply = await forward(command.with_items("updates", [updates[i] for i in good]))
        failures = [{**each, "index": good[each["index"]]} for each in reply.get("writeErrors", ())]
        failures += [{"index": i, "code": refusal.code, "errmsg": f'refused "{SECRET}"'} for i in bad]
        return {**reply, "writeErrors": sorted(failures, key=lambda each: each["index"])}

    async def _answer_at_random(self, command: Command, forward: Forward) -> Doc:
        number = self._random.random()
        if number < CHANCE_OF_DELAY:
            self.counts["delay"] += 1
            is_before, seconds = self._random.random() < 0.5, self._random.uniform(0.1, 3)
            if is_before:
                await asyncio.sleep(seconds)
            reply = await forward(command)
            if not is_before:
                await asyncio.sleep(seconds)
            return reply
        statements = WRITES.get(command.name)
        if number > CHANCE_OF_DELAY + (CHANCE_OF_READ_ERROR if statements is None else CHANCE_OF_WRITE_ERROR):
            return await forward(command)
        code, name = self._random.choice(list(TRANSIENT.items()))
        failure = error(code, name, **({} if code in (262, 112) else RETRYABLE))
        kinds = ["before", "close before", "close after"]
        if statements is not None:
            kinds += ["after", "after", "write concern"] + (["half", "half"] if statements else [])
        kind = self._random.choice(kinds)
        self.counts[f"{'write' if statements is not None else 'read'} error: {kind}"] += 1
        if kind == "half":
            items = command.items(statements or "")
            keep = items[: self._random.randrange(len(items) + 1)]
            if keep:
                await forward(command.with_items(statements or "", keep))
        elif kind in ("after", "close after", "write concern"):
            reply = await forward(command)
            if kind == "write concern":
                text = f'waiting timed out "{SECRET}"'
                return {**reply, "writeConcernError": {"code": 64, "codeName": "WriteConcernFailed", "errmsg": text}}
        if kind.startswith("close"):
            raise CloseConnection
        return failure

    @asynccontextmanager
    async def _copy(self) -> AsyncIterator[int]:
        """Copy the store as it is at one moment, and run the copy while the block runs. Yields the port of the copy."""
        self._copies += 1
        folder = self._folder / f"copy-{self._copies}"
        while self._store.pid is None:
            await asyncio.sleep(0.05)
        # A stopped process writes nothing, so the files are as after a crash. The store flushes at every commit.
        self._store.signal(signal.SIGSTOP)
        try:
            await asyncio.to_thread(shutil.copytree, self._folder / self._engine, folder / self._engine)
        finally:
            self._store.signal(signal.SIGCONT)
        copy, port = child_of_store(folder)
        try:
            await copy.start()
            yield port
        finally:
            await copy.kill()
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)

    @property
    def _engine(self) -> str:
        [engine] = {each.name for each in self._folder.iterdir() if each.name.startswith("secantusd-")}
        return engine
