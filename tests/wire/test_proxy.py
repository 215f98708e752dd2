"""The proxy passes commands on as they are, except those that a rule changes, refuses or repeats."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from bson import Decimal128, Int64
from pymongo.errors import OperationFailure

from app.config.settings import Settings
from app.store.mongo.queries import Database, Doc
from tests.wire.framing import Command
from tests.wire.proxy import Forward, Rule, refusal, rule, through

pytestmark = pytest.mark.embedded_only("the proxy stands before a store on this machine")

VALUES: list[Doc] = [
    {
        "_id": number,
        "a.b": None,
        "n": Int64(7),
        "d": Decimal128("1.10"),
        "t": datetime(1900, 1, 1, tzinfo=UTC),
        "l": [{}],
    }
    for number in range(1_000)
]
"""Documents that a decoder may easily change."""


@rule("insert", "find", "getMore")
async def decode(command: Command, forward: Forward) -> Doc:
    """Change nothing. The proxy decodes the command and its answer, and encodes them again."""
    return await forward(command)


@pytest.mark.parametrize("rules", [[], [decode, decode]])
async def test_documents_pass_in_both_directions_unchanged(rules: list[Rule], settings: Settings, db: Database) -> None:
    async with through(rules, settings) as proxied:
        await proxied["documents"].insert_many(VALUES)
        assert await proxied["documents"].find({}).sort("_id", 1).to_list(None) == VALUES
    assert await db["documents"].find({}).sort("_id", 1).to_list(None) == VALUES


async def test_rule_refuses_a_command(settings: Settings, db: Database) -> None:
    @rule("insert")
    async def refuse(command: Command, forward: Forward) -> Doc:
        return refusal(13, "Unauthorized", f"not allowed to write to {command.collection}")

    async with through([refuse], settings) as proxied:
        with pytest.raises(OperationFailure, match="not allowed to write to documents") as raised:
            await proxied["documents"].insert_one({})
    assert raised.value.code == 13
    assert await db["documents"].count_documents({}) == 0


async def test_rule_changes_the_documents_of_a_command_and_may_repeat_it(settings: Settings, db: Database) -> None:
    @rule("update")
    async def double(command: Command, forward: Forward) -> Doc:
        changed = command.with_items(
            "updates", [{**each, "u": {"$inc": {"n": 10}}} for each in command.items("updates")]
        )
        await forward(changed)
        return await forward(changed)

    await db["documents"].insert_one({"_id": 1, "n": 0})
    async with through([double], settings) as proxied:
        await proxied["documents"].update_one({"_id": 1}, {"$inc": {"n": 1}})
    assert await db["documents"].find_one({}) == {"_id": 1, "n": 20}


async def test_first_rule_sees_the_command_first(settings: Settings, db: Database) -> None:
    seen: list[str] = []

    def see(name: str) -> Rule:
        @rule("count", "aggregate")
        async def note(command: Command, forward: Forward) -> Doc:
            seen.append(name)
            reply = await forward(command)
            seen.append(f"{name} answered")
            return reply

        return note

    async with through([see("first"), see("second")], settings) as proxied:
        await proxied["documents"].count_documents({})
    assert seen == ["first", "second", "second answered", "first answered"]
