"""The stage react under random interleavings: real reactions and real second events of transfers, over a store in memory.

Each step of a process ends at a read or write, where the schedule may stop it for a while or for good. Readers hold no
lease, so they overlap more than workers do. Reading, the queue of messages and erasure are played by the smallest code
that does what they promise.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import count
from types import SimpleNamespace
from typing import Any, cast

from app.commands.points.receipts import receive_points
from app.domain.activities import RULE_WAS_FIRED, TRANSFERRED, Activity
from app.domain.events.events import POINTS_RETURNED, Event
from app.domain.reactions.reactions import Reaction, ReceivePoints, reactions_of
from app.domain.webhooks.partitions import PARTITIONS, partition_of

from .stock import step

PASSES = tuple(f"pass_{number}" for number in range(5))
START = datetime(2026, 1, 1, tzinfo=UTC)
POINTS = 10
_numbers = count()
Process = Coroutine[Any, Any, None]
MakeId = Callable[[Reaction], str]


@dataclass
class Log:
    """The log of a workspace, the position of react in each partition, and what is stored under the ids of effects."""

    entries: list[Activity] = field(default_factory=list)
    next: list[int] = field(default_factory=lambda: [1] * PARTITIONS)
    events: dict[str, Event] = field(default_factory=dict)
    messages: dict[str, str] = field(default_factory=dict)
    """The pass of each message by id; empty for a stub."""
    erased: set[str] = field(default_factory=set)

    async def existing(self, pass_ids: Sequence[str]) -> dict[str, str]:
        """Return the passes that are not erased, as `PassQueries` does."""
        await step()
        return {each: each for each in pass_ids if each not in self.erased}

    async def insert(self, events: Sequence[tuple[Event, bytes]]) -> None:
        """Insert events; those that exist stay."""
        await step()
        for event, _ in events:
            self.events.setdefault(event.id, event)

    async def now(self) -> datetime:
        """Return the instant of all events."""
        return START

    async def queue(self, message_id: str, pass_id: str, stalled_steps: int) -> None:
        """Queue a message unless its pass is erased, as `queue_message` does. It stalls between the read and the write."""
        if await self.existing([pass_id]):
            for _ in range(stalled_steps + 1):
                await step()
            self.messages.setdefault(message_id, pass_id)


class Workspace:
    """Passes that send each other points, rules that send messages, and the processes under way.

    `saves_first`: readers save their position before the effects. `waits`: an erasure waits for react. `stubs`: it
    inserts stubs of the effects that end with the pass. `make_id` gives the ids of messages.
    """

    def __init__(
        self,
        seed: int,
        *,
        saves_first: bool = False,
        waits: bool = True,
        stubs: bool = True,
        make_id: MakeId = lambda reaction: reaction.id,
    ) -> None:
        self.random, self.log = random.Random(seed), Log()
        self.fired: dict[str, str] = {}
        self.transfers: dict[str, tuple[str, str]] = {}
        self._saves_first, self._waits, self._stubs, self._make_id = saves_first, waits, stubs, make_id
        self._resources = cast(Any, SimpleNamespace(clock=self.log, wake_fold=lambda *_: None))
        self._store = cast(Any, SimpleNamespace(id="ws_1", passes=self.log, events=self.log))

    def publish(self) -> None:
        """Append an accepted transfer or a firing of a pass that is not erased."""
        alive = [each for each in PASSES if each not in self.log.erased]
        if len(alive) < 2:
            return
        position = len(self.log.entries) + 1
        event_id, (sender, receiver) = f"event_{position}", self.random.sample(alive, 2)
        if self.random.random() < 0.5:
            self.transfers[event_id] = sender, receiver
            kind, metadata = TRANSFERRED, cast(dict[str, object], {"to": receiver})
        else:
            self.fired[event_id] = sender
            sent = {"channelKey": "mail", "templateId": "t", "rule": "rule_1", "validForHours": 1}
            kind, metadata = RULE_WAS_FIRED, {"effects": [{"index": 1, "outward": {"sendMessage": sent}}]}
        event = {"id": event_id, "points": f"-{POINTS}", "source": "rule:r", "metadata": metadata}
        entry = Activity(
            position, position, sender, type=kind, category="EFFECT", occurred_at=START, recorded_at=START,
            cause={}, data={"event": event},
        )  # fmt: skip
        self.log.entries.append(entry)

    async def react(self) -> None:
        """Read the log from the lowest position, and make what follows from the entries of each partition in order."""
        await step()
        begun = list(self.log.next)
        await step()
        for entry in self.log.entries[min(begun) - 1 :]:
            partition = partition_of(entry.pass_id)
            if entry.position < begun[partition]:
                continue
            found = reactions_of(entry)
            if self._saves_first:
                await self._save(partition, entry.position + 1)
            for reaction in found:
                await self._make(reaction)
            await self._save(partition, entry.position + 1)

    async def _save(self, partition: int, position: int) -> None:
        await step()
        self.log.next[partition] = position

    async def _make(self, reaction: Reaction) -> None:
        if isinstance(reaction.body, ReceivePoints):
            await receive_points(self._resources, self._store, reaction, reaction.body)
        else:
            stalled_steps = self.random.choice((5, 200)) if self.random.random() < 0.3 else 0
            await self.log.queue(self._make_id(reaction), reaction.pass_id, stalled_steps)

    async def erase(self, pass_id: str) -> None:
        """Erase a pass, as the stages fold and erase do: end it, wait for react, refuse late effects, empty the log."""
        self.log.erased.add(pass_id)
        await step()
        while self._waits and self._has_unmade(pass_id):
            await step()
        for message_id, owner in list(self.log.messages.items()):
            if owner == pass_id:
                self.log.messages[message_id] = ""
                await step()
        own = [(index, each) for index, each in enumerate(self.log.entries) if each.pass_id == pass_id]
        for index, entry in own:
            for reaction in reactions_of(entry):
                if self._stubs and not reaction.body.outlives_pass:
                    self.log.messages[self._make_id(reaction)] = ""
                    await step()
            self.log.entries[index] = replace(entry, data={"erased": True})
            await step()

    def _has_unmade(self, pass_id: str) -> bool:
        after = self.log.next[partition_of(pass_id)]
        return any(
            reactions_of(each) for each in self.log.entries if each.pass_id == pass_id and each.position >= after
        )

    def find_problem(self) -> str | None:
        """Return what is wrong after all work is done, or None."""
        received: dict[str, list[Event]] = {}
        for event in self.log.events.values():
            received.setdefault(str(event.metadata["transfer"]), []).append(event)
        for event_id, (sender, receiver) in self.transfers.items():
            events = received.get(event_id, [])
            if len(events) != 1 and not (not events and {sender, receiver} <= self.log.erased):
                return f"a transfer has {len(events)} second events"
            if any((event.type == POINTS_RETURNED) != (event.pass_id == sender) for event in events):
                return "points reached the wrong pass"
        kept = [owner for owner in self.log.messages.values() if owner]
        if set(kept) & self.log.erased:
            return "a message of an erased pass is stored"
        if sorted(kept) != sorted(owner for owner in self.fired.values() if owner not in self.log.erased):
            return "a message is lost or queued twice"
        return None


def run(seed: int, steps: int, **options: Any) -> str | None:
    """Run a schedule and return what is wrong at its end, or None. `options` are those of `Workspace`."""
    workspace = Workspace(seed, **options)
    chosen = workspace.random
    readers: list[Process] = []
    erasures: list[Process] = []
    for _ in range(steps):
        chance = chosen.random()
        if chance < 0.08:
            workspace.publish()
        elif chance < 0.14 and len(readers) < 6:
            readers.append(workspace.react())
        elif chance < 0.15 and len(workspace.log.erased) < 2:
            erasures.append(workspace.erase(chosen.choice([e for e in PASSES if e not in workspace.log.erased])))
        elif processes := [*readers, *erasures]:
            process = chosen.choice(processes)
            owner = readers if process in readers else erasures
            # One in 40 steps of a reader is a crash: it never goes on. Another run of an erasure begins anew.
            if (owner is readers and chosen.random() < 0.025) or _has_ended(process):
                owner.remove(process)
                process.close()
    _finish([workspace.react(), *erasures, *readers], workspace)
    return workspace.find_problem()


def _finish(processes: list[Process], workspace: Workspace) -> None:
    """Let all processes end, each by steps in turn, and react read the rest of the log."""
    while processes:
        for process in list(processes):
            if _has_ended(process):
                processes.remove(process)
        if len(processes) == 1:
            processes.append(workspace.react()) if workspace.random.random() < 0.1 else None
    last = workspace.react()
    while not _has_ended(last):
        pass


def _has_ended(process: Process) -> bool:
    """Run a process for one step, and return whether it has ended."""
    try:
        process.send(None)
    except StopIteration:
        return True
    return False


WRONG: Mapping[str, Callable[[], dict[str, Any]]] = {
    "position saved before the effect": lambda: {"saves_first": True},
    "erasure does not wait for react": lambda: {"waits": False},
    "erasure inserts no stubs": lambda: {"stubs": False},
    "id of an effect does not follow from its event": lambda: {
        "make_id": lambda reaction: f"{reaction.id}:{next(_numbers)}"
    },
}
"""Wrong variants of the protocol, as options of `Workspace`."""
