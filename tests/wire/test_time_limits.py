"""Every read tells the store how long it may take, whether an API process, a worker or a command reads."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from urllib.parse import urlsplit

import pytest

from app.clock import FixedClock
from app.commands.workspaces.workspaces import create_workspace
from app.config.settings import Settings
from app.domain.errors import Unavailable
from app.resources import READ_SECONDS, open_resources
from app.store.mongo.queries import Database, Doc
from app.store.operations.backlog import BacklogQueries
from tests.business import open_business
from tests.contracts.test_queries import call_all_queries
from tests.wire.framing import Command
from tests.wire.proxy import Forward, Rule, rule, wire_proxy

pytestmark = pytest.mark.embedded_only("the proxy stands before a store on this machine")

READS = ("find", "aggregate", "count", "distinct")


def behind(settings: Settings, port: int) -> Settings:
    """Return the settings of a process whose store is the proxy at this port, with all other options of the product."""
    return replace(settings, mongodb_uri=f"mongodb://127.0.0.1:{port}/?directConnection=true")


def port_of(settings: Settings) -> int:
    """Return the port of the store."""
    port = urlsplit(settings.mongodb_uri or "").port
    assert port is not None
    return port


async def test_every_read_of_all_named_queries_has_a_limit(settings: Settings, db: Database) -> None:
    limits: list[float] = []
    unlimited = Counter[str]()

    @rule(*READS)
    async def note(command: Command, forward: Forward) -> Doc:
        if "maxTimeMS" in command.body:
            limits.append(command.body["maxTimeMS"])
        else:
            unlimited[f"{command.name} {command.collection}"] += 1
        return await forward(command)

    clock = FixedClock(datetime(2026, 1, 1, tzinfo=UTC))
    async with wire_proxy(port_of(settings), [note]) as port, open_resources(behind(settings, port)) as opened:
        resources = replace(opened, clock=clock, settings=replace(opened.settings, egress_allow=("127.0.0.1",)))
        await call_all_queries(await open_business(resources, clock))
    assert unlimited == {}
    assert len(limits) > 500
    assert 0 < min(limits) <= max(limits) <= READ_SECONDS * 1_000


async def test_read_that_takes_longer_is_ended_by_the_store_and_unavailable(settings: Settings, db: Database) -> None:
    """The rule lowers the limit, as if the read had taken nearly all of its time."""

    @rule("aggregate")
    async def hurry(command: Command, forward: Forward) -> Doc:
        return await forward(replace(command, body={**command.body, "maxTimeMS": 1}))

    rules: list[Rule] = []
    async with wire_proxy(port_of(settings), rules) as port, open_resources(behind(settings, port)) as resources:
        await create_workspace(resources, "Slow")
        docs = [{"_id": f"e{number}", "pend": number % 64, "recorded_at": datetime.now(UTC)} for number in range(3_000)]
        await db["events"].insert_many(docs)
        rules.append(hurry)
        with pytest.raises(Unavailable):
            await BacklogQueries(resources.db).measure(0)
