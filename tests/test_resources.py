"""The options of the store's client: those of MONGODB_URI win, except for those that the protocol needs."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import pytest
from pymongo import MongoClient
from pymongo.client_options import ClientOptions

from app.config.settings import ConfigError, Settings
from app.resources import SELECTION_SECONDS, STANDALONE_WARNING, check_server, open_mongo, open_resources
from app.store.mongo.driver import OPERATION_THREADS
from tests.patience import PATIENCE_SECONDS
from tests.servers import Servers
from tests.store_proxy import Fault, running_proxy


@contextmanager
def options_for(query: str) -> Iterator[ClientOptions]:
    """Yield the options of a client for an address with these options."""
    client = open_mongo(Settings(mongodb_uri=f"mongodb://127.0.0.1:1/{query}"), SELECTION_SECONDS)
    yield cast("MongoClient[dict[str, object]]", client.delegate).options
    client.close()


def test_defaults_outlast_an_election() -> None:
    with options_for("") as options:
        assert options.server_selection_timeout == 15
        assert options.pool_options.socket_timeout == 20
        assert options.write_concern.document == {"w": "majority", "j": True, "wtimeout": 15_000}


def test_options_in_the_address_win() -> None:
    query = "?serverselectiontimeoutms=4000&socketTimeoutMS=60000&wtimeoutMS=9000&maxPoolSize=7&appname=till"
    with options_for(query) as options:
        assert options.server_selection_timeout == 4
        assert options.pool_options.socket_timeout == 60
        assert options.write_concern.document["wtimeout"] == 9_000
        assert (options.pool_options.max_pool_size, options.pool_options.appname) == (7, "till")


def test_each_thread_of_a_process_has_a_connection() -> None:
    settings = Settings(mongodb_uri="mongodb://127.0.0.1:1/", store_threads=5)
    client = open_mongo(settings, SELECTION_SECONDS)
    pool = cast("MongoClient[dict[str, object]]", client.delegate).options.pool_options
    assert pool.max_pool_size == 5 + OPERATION_THREADS
    client.close()


async def test_process_makes_as_many_calls_at_once_as_the_setting_says(servers: Servers) -> None:
    """The store holds the calls until so many have come. With fewer threads, the test would wait for ever."""
    async with running_proxy(servers.settings.mongodb_uri or "") as proxy:
        settings = dataclasses.replace(servers.settings, mongodb_uri=proxy.url, store_threads=30)
        async with open_resources(settings) as resources:
            held = proxy.hold("find", "things", times=None)
            calls = asyncio.gather(*(resources.db["things"].find_one({}) for _ in range(40)))
            async with asyncio.timeout(PATIENCE_SECONDS):
                await proxy.wait_for(lambda: held.met == 30)
            held.released.set()
            await calls
            assert held.met == 40


def test_options_that_the_protocol_needs_win_over_the_address() -> None:
    with options_for("?retryWrites=true&w=1&journal=false&readConcernLevel=local") as options:
        assert options.retry_writes is False
        assert options.write_concern.document == {"w": "majority", "j": True, "wtimeout": 15_000}
        assert options.read_concern.level == "majority"


async def test_mongodb_below_6_is_refused_with_its_version(servers: Servers) -> None:
    async with running_proxy(servers.settings.mongodb_uri or "") as proxy:
        old = {"ok": 1.0, "version": "5.0.31", "versionArray": [5, 0, 31, 0]}
        proxy.add(Fault("buildInfo", reply=lambda _: old))
        with pytest.raises(ConfigError, match=r"leads to MongoDB 5\.0\.31, and Punchcard needs 6\.0 or later"):
            async with open_resources(dataclasses.replace(servers.settings, mongodb_uri=proxy.url)):
                pass


def test_server_that_is_no_replica_set_gets_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    check_server([8, 0, 4, 0], ["RSPrimary", "Mongos"])
    assert STANDALONE_WARNING not in caplog.text
    check_server([6, 0, 0, 0], ["Standalone"])
    assert STANDALONE_WARNING in caplog.text
