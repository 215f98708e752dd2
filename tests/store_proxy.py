"""A proxy between a process and its store: it answers commands with errors, late, never, or with an old answer.

It speaks the wire protocol of MongoDB (OP_MSG without compression). A test adds faults; each fault matches commands by
name and collection. All other messages pass unchanged. `sent` lists the commands, so a test can count and await them.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from tests.wire.framing import Command, Doc
from tests.wire.proxy import CloseConnection, Forward, Listener, Rule

_OPTIONS = "directConnection=true&serverMonitoringMode=poll"


@dataclass(eq=False)
class Fault:
    """What happens to the next `times` commands that match, after `skips` of them; to all later ones if `times` is None.

    The answer is `reply`, or that of the store if `reply` is None. With `takes_effect`, the store executes the command
    first. With `closes`, the connection closes in place of an answer. The command goes on only when `released` is set.
    """

    name: str
    collection: str | None = None
    times: int | None = 1
    skips: int = 0
    reply: Callable[[Command], Doc] | None = None
    takes_effect: bool = True
    closes: bool = False
    released: asyncio.Event = field(default_factory=asyncio.Event)
    met: int = 0

    def matches(self, command: Command) -> bool:
        """Return whether the fault applies to a command."""
        return (
            command.name == self.name
            and self.collection in (None, command.collection)
            and (self.times is None or self.met < self.skips + self.times)
        )


class StoreProxy:
    """A running proxy. `url` is its address; the database and the options of the store's address stay."""

    def __init__(self, upstream: tuple[str, int]) -> None:
        self.sent: list[Command] = []
        self.url = ""
        self.listener = Listener(upstream, [Rule(None, self._apply)])
        self._faults: list[Fault] = []
        self._old_replies: dict[tuple[str, str], Doc] = {}
        self._watched: set[tuple[str, str]] = set()
        self._something_sent = asyncio.Event()

    @property
    def is_reachable(self) -> bool:
        """Whether the proxy takes new connections. While false, it closes each at once: the store is away."""
        return self.listener.is_reachable

    @is_reachable.setter
    def is_reachable(self, value: bool) -> None:
        self.listener.is_reachable = value

    def fail(
        self,
        name: str,
        collection: str | None = None,
        *,
        code: int,
        code_name: str = "",
        message: str = "refused by the test",
        labels: tuple[str, ...] = (),
        after_effect: bool = False,
        times: int | None = 1,
        skips: int = 0,
    ) -> Fault:
        """Answer commands with an error of the store, before or after they take effect."""
        error: Doc = {"ok": 0.0, "code": code, "codeName": code_name, "errmsg": message, "errorLabels": list(labels)}
        if not code_name:
            del error["codeName"]
        return self.add(Fault(name, collection, times, skips, reply=lambda _: error, takes_effect=after_effect))

    def fail_write_concern(self, name: str, collection: str | None = None, *, code: int = 64, times: int = 1) -> Fault:
        """Let commands take effect, and answer that the write concern was not met."""
        reply: Doc = {"ok": 1.0, "n": 1, "writeConcernError": {"code": code, "errmsg": "waiting timed out"}}
        return self.add(Fault(name, collection, times, reply=lambda _: reply))

    def fail_writes(self, name: str, collection: str, *, code: int, times: int | None = 1) -> Fault:
        """Answer that each single write of the commands failed. None of them takes effect."""

        def reply(command: Command) -> Doc:
            count = sum(len(command.items(name)) for name in ("updates", "documents", "deletes"))
            failures = [{"index": i, "code": code, "errmsg": 'value "secret" refused'} for i in range(count)]
            return {"ok": 1.0, "n": 0, "nModified": 0, "writeErrors": failures}

        return self.add(Fault(name, collection, times, reply=reply, takes_effect=False))

    def close(self, name: str, collection: str | None = None, *, after_effect: bool = False, times: int = 1) -> Fault:
        """Close the connection in place of an answer, before or after the command takes effect."""
        return self.add(Fault(name, collection, times, takes_effect=after_effect, closes=True))

    def hold(self, name: str, collection: str | None = None, times: int | None = 1) -> Fault:
        """Hold commands until the test sets `released` of the fault."""
        fault = self.add(Fault(name, collection, times))
        fault.released.clear()
        return fault

    def keep_answers(self, name: str, collection: str) -> None:
        """Keep the next answer to such a command, for `answer_as_before`."""
        self._old_replies.pop((name, collection), None)
        self._watched.add((name, collection))

    def answer_as_before(self, name: str, collection: str, times: int = 1) -> Fault:
        """Answer commands with the kept answer, as a member of the replica set that lags behind does."""
        reply = self._old_replies[name, collection]
        return self.add(Fault(name, collection, times, reply=lambda _: reply, takes_effect=False))

    def add(self, fault: Fault) -> Fault:
        """Add a fault and return it. Faults that were added first match first."""
        fault.released.set()
        self._faults.append(fault)
        return fault

    def clear(self) -> None:
        """Remove all faults, and release the commands that are held."""
        for fault in self._faults:
            fault.times = 0
            fault.released.set()
        self._faults.clear()

    def disconnect(self) -> None:
        """Close all connections, as a primary that steps down does."""
        self.listener.disconnect()

    async def wait_for(self, condition: Callable[[], bool]) -> None:
        """Return when the condition holds. It is checked whenever a client sends a command."""
        while not condition():
            self._something_sent.clear()
            await self._something_sent.wait()

    def count(self, name: str, collection: str) -> int:
        """Return how many such commands clients have sent."""
        return sum((each.name, each.collection) == (name, collection) for each in self.sent)

    async def _apply(self, command: Command, forward: Forward) -> Doc:
        """Let the first fault that matches decide what happens to a command of a client."""
        self.sent.append(command)
        self._something_sent.set()
        fault = next((each for each in self._faults if each.matches(command)), None)
        if fault is not None:
            fault.met += 1
        if fault is None or fault.met <= fault.skips:
            return await self._forward(command, forward)
        await fault.released.wait()
        reply = None if fault.reply is None else fault.reply(command)
        answer: Doc = await self._forward(command, forward) if fault.takes_effect else {"ok": 1.0}
        if fault.closes:
            raise CloseConnection
        return answer if reply is None else reply

    async def _forward(self, command: Command, forward: Forward) -> Doc:
        """Send a command to the store, and keep the answer if a test asked for it."""
        answer, key = await forward(command), (command.name, command.collection)
        if key in self._watched:
            self._watched.discard(key)
            self._old_replies[key] = answer
        return answer


@asynccontextmanager
async def running_proxy(uri: str) -> AsyncIterator[StoreProxy]:
    """Run a proxy in front of the store at `uri` while the block runs.

    Its address says `directConnection`, since the store names its own address to clients, which would go there. After an
    error of an election, the driver asks the store for its state at once only if it polls.
    """
    found = re.search(r"(?<=[/@])([\w.]+):(\d+)", uri)
    assert found is not None, uri
    proxy = StoreProxy((found[1], int(found[2])))
    await proxy.listener.start()
    address = f"{uri[: found.start()]}127.0.0.1:{proxy.listener.port}{uri[found.end() :]}"
    path, _, options = address.partition("?")
    path = path if path.count("/") > 2 else f"{path}/"
    proxy.url = f"{path}?{'&'.join(filter(None, (options, _OPTIONS)))}"
    try:
        yield proxy
    finally:
        proxy.clear()
        await proxy.listener.stop()
