"""The ways of the processes of a crash run to the store: a proxy for each, and the errors that it may answer."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial

from bson import Int64, ObjectId

from tests.wire.framing import OP_MSG, Command, Doc, Message, decode_reply, encode_command, read_message
from tests.wire.proxy import CloseConnection, Forward, Listener, Rule

SECRET = "value-of-a-tenant"
"""Part of each message of an injected error. Messages of the store quote values, so it must not reach a log."""
WRITES = {"insert": "documents", "update": "updates", "delete": "deletes", "findAndModify": ""}
"""The commands that write, each with its list of statements."""
READS = frozenset({"find", "aggregate", "count", "distinct"})
HELLO = frozenset({"hello", "isMaster", "ismaster"})
COMMANDS = frozenset({*WRITES, *READS, "getMore"})
TRANSIENT = {
    10107: "NotWritablePrimary",
    189: "PrimarySteppedDown",
    11602: "InterruptedDueToReplStateChange",
    91: "ShutdownInProgress",
    89: "NetworkTimeout",
    262: "ExceededTimeLimit",
    112: "WriteConflict",
}
RETRYABLE = {"errorLabels": ["RetryableWriteError"]}


@dataclass
class Refusal:
    """A permanent error: commands of this name at this collection, or only the saves of one pass."""

    command: str
    collection: str
    code: int
    code_name: str
    pass_id: str | None = None
    met: Counter[str] = field(default_factory=Counter)
    """How many commands it has refused, by process."""

    def answer(self, command: Command) -> Doc | None:
        """Return the answer to a command that it refuses as a whole, or None."""
        if self.pass_id is not None or (command.name, command.collection) != (self.command, self.collection):
            return None
        return error(self.code, self.code_name)


def error(code: int, code_name: str, **fields: object) -> Doc:
    """Return the answer of a command that failed, with a text that must not be logged."""
    return {"ok": 0.0, "code": code, "codeName": code_name, "errmsg": f'refused "{SECRET}"', **fields}


class Gate:
    """The way of one process to the store: a proxy and what it does now."""

    def __init__(
        self, name: str, port: int, term: int, answer: Callable[[Gate, Command, Forward], Awaitable[Doc]]
    ) -> None:
        self.name = name
        self.old_port: int | None = None
        """The copy of the store that answers the reads of this process, if any."""
        self.writes_pass = asyncio.Event()
        self.writes_pass.set()
        self.reads_pass = asyncio.Event()
        self.reads_pass.set()
        self.is_isolated = False
        self.under_way = 0
        self.sent: Counter[tuple[str, str]] = Counter()
        self._answer = answer
        self.term = term
        """The number of the last election of which this process can learn. Odd terms have the second member as primary."""
        rules = Rule(COMMANDS, self._apply)
        self.members = [
            Listener(("127.0.0.1", port), [Rule(HELLO, partial(self._greet, number)), rules]) for number in (0, 1)
        ]

    @property
    def hosts(self) -> list[str]:
        """The addresses of the members."""
        return [f"127.0.0.1:{each.port}" for each in self.members]

    @property
    def url(self) -> str:
        """The address of the store for this process."""
        return f"mongodb://{','.join(self.hosts)}/?replicaSet=campaign&serverMonitoringMode=poll"

    def cut(self) -> None:
        """Close all connections, and refuse new ones until `mend` is called."""
        for member in self.members:
            member.is_reachable = False
            member.disconnect()

    def mend(self, term: int) -> None:
        """Let the process reach the members again, as they are in a term."""
        self.term = term
        for member in self.members:
            member.is_reachable = True

    async def _greet(self, number: int, command: Command, forward: Forward) -> Doc:
        """Answer what a driver asks a member about the replica set."""
        is_primary = self.term % 2 == number
        return {
            **await forward(command),
            "setName": "campaign",
            "setVersion": 1,
            "hosts": self.hosts,
            "me": self.hosts[number],
            "primary": self.hosts[self.term % 2],
            "isWritablePrimary": is_primary,
            "ismaster": is_primary,
            "secondary": not is_primary,
            "electionId": ObjectId(f"7fffffff{self.term:016x}"),
        }

    async def _apply(self, command: Command, forward: Forward) -> Doc:
        self.sent[command.name, command.collection] += 1
        if not self.reads_pass.is_set():
            await self.reads_pass.wait()
        self.under_way += 1
        try:
            return await self._answer(self, command, forward)
        finally:
            self.under_way -= 1


async def ask(port: int, command: Command) -> Doc:
    """Send a read to a store over a connection of its own, and return the answer. Raises CloseConnection."""
    body = {name: value for name, value in command.body.items() if name not in ("lsid", "$clusterTime")}
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            like = Message(1, 0, OP_MSG, bytes(4))
            writer.write(encode_command(Command(body, command.sequences), like).encode())
            return decode_reply(await read_message(reader))
        finally:
            writer.close()
    except (OSError, asyncio.IncompleteReadError):
        raise CloseConnection from None


def mark_cursor(reply: Doc) -> Doc:
    """Make the id of a cursor of an old read negative, so that a later `getMore` reaches the same copy."""
    cursor = reply.get("cursor")
    if not cursor or not cursor.get("id"):
        return reply
    return {**reply, "cursor": {**cursor, "id": Int64(-cursor["id"])}}
