"""Messages of the MongoDB wire protocol: reading them from a stream, and their commands and answers as documents."""

from __future__ import annotations

import asyncio
import struct
from dataclasses import dataclass, field, replace
from typing import Any

import bson
from bson.codec_options import CodecOptions, DatetimeConversion

Doc = dict[str, Any]

OP_REPLY, OP_QUERY, OP_MSG = 1, 2004, 2013
CHECKSUM_PRESENT, MORE_TO_COME = 1, 2
HEADER = struct.Struct("<iiii")
# Documents are changed and encoded again, so instants keep their exact value.
LOSSLESS: CodecOptions[Doc] = CodecOptions(datetime_conversion=DatetimeConversion.DATETIME_MS)


@dataclass(frozen=True, slots=True)
class Message:
    """One message: what follows its header is the payload, in bytes."""

    request_id: int
    response_to: int
    opcode: int
    payload: bytes

    @property
    def flags(self) -> int:
        """The flags with which an OP_MSG begins."""
        return int.from_bytes(self.payload[:4], "little")

    @property
    def has_more_to_come(self) -> bool:
        """Whether the sender waits for no answer: the other side sends none, or sends the next message at once."""
        return self.opcode == OP_MSG and bool(self.flags & MORE_TO_COME)

    def encode(self) -> bytes:
        """Return the message with its header."""
        return (
            HEADER.pack(HEADER.size + len(self.payload), self.request_id, self.response_to, self.opcode) + self.payload
        )


@dataclass(frozen=True, slots=True)
class Command:
    """A command: its document, and its long lists of documents, which the driver sends beside the document."""

    body: Doc
    sequences: dict[str, list[Doc]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The first key of the document."""
        return next(iter(self.body))

    @property
    def database(self) -> str:
        """The database to which the command is sent."""
        return str(self.body.get("$db", ""))

    @property
    def collection(self) -> str:
        """The collection, or "$cmd" for a command that has none."""
        target = self.body.get("collection") if self.name == "getMore" else self.body[self.name]
        return target if isinstance(target, str) else "$cmd"

    def items(self, name: str) -> list[Doc]:
        """Return a list of documents, such as the `updates` of an update, however it was sent."""
        return self.sequences[name] if name in self.sequences else list(self.body.get(name, ()))

    def with_items(self, name: str, items: list[Doc]) -> Command:
        """Return the command with another list of documents."""
        if name in self.sequences:
            return replace(self, sequences={**self.sequences, name: items})
        return replace(self, body={**self.body, name: items})


async def read_message(reader: asyncio.StreamReader) -> Message:
    """Read the next message. Raises IncompleteReadError if the stream ends."""
    length, request_id, response_to, opcode = HEADER.unpack(await reader.readexactly(HEADER.size))
    return Message(request_id, response_to, opcode, await reader.readexactly(length - HEADER.size))


def name_of_command(message: Message) -> str | None:
    """Return the name of a command without decoding it. None if its document does not come first, as drivers send it."""
    if message.opcode == OP_MSG and message.payload[4] == 0:
        start = 9  # Flags, kind of section, and length of the document come first.
    elif message.opcode == OP_QUERY:
        start = message.payload.index(0, 4) + 13  # Flags, collection, two numbers and the length come first.
    else:
        return None
    return message.payload[start + 1 : message.payload.index(0, start + 1)].decode()


def decode_command(message: Message) -> Command:
    """Return the command of an OP_MSG or an OP_QUERY."""
    payload = message.payload
    if message.opcode == OP_QUERY:
        return Command(bson.decode(payload[payload.index(0, 4) + 9 :], LOSSLESS))
    position, end = 4, len(payload) - (4 if message.flags & CHECKSUM_PRESENT else 0)
    body: Doc = {}
    sequences: dict[str, list[Doc]] = {}
    while position < end:
        kind, start = payload[position], position + 1
        position = start + int.from_bytes(payload[start : start + 4], "little")
        if kind == 0:
            body = bson.decode(payload[start:position], LOSSLESS)
        else:
            name_end = payload.index(0, start + 4)
            name = payload[start + 4 : name_end].decode()
            sequences[name] = bson.decode_all(payload[name_end + 1 : position], LOSSLESS)
    return Command(body, sequences)


def encode_command(command: Command, like: Message) -> Message:
    """Return the message of a command that takes the part of the message `like`."""
    if like.opcode == OP_QUERY:
        start = like.payload.index(0, 4) + 9
        return replace(like, payload=like.payload[:start] + bson.encode(command.body, codec_options=LOSSLESS))
    payload = (
        (like.flags & ~CHECKSUM_PRESENT).to_bytes(4, "little")
        + b"\0"
        + bson.encode(command.body, codec_options=LOSSLESS)
    )
    for name, docs in command.sequences.items():
        section = name.encode() + b"\0" + b"".join(bson.encode(doc, codec_options=LOSSLESS) for doc in docs)
        payload += b"\1" + (len(section) + 4).to_bytes(4, "little") + section
    return replace(like, payload=payload)


def decode_reply(message: Message) -> Doc:
    """Return the document of an answer."""
    return decode_command(message).body if message.opcode == OP_MSG else bson.decode(message.payload[20:], LOSSLESS)


def encode_reply(reply: Doc, request: Message) -> Message:
    """Return the message that answers a request with a document."""
    document = bson.encode(reply, codec_options=LOSSLESS)
    if request.opcode == OP_MSG:
        return Message(0, request.request_id, OP_MSG, bytes(5) + document)
    return Message(0, request.request_id, OP_REPLY, struct.pack("<iqii", 0, 0, 0, 1) + document)
