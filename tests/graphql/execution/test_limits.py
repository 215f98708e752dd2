"""Limits at the edge: each has a code, a message, a setting, and leaves everything else alone."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Any

import pytest

from app.graphql.errors import RequestRefused
from app.graphql.execution.quotas import Quota
from app.store.workspace.passes import PassQueries
from tests.business import Business
from tests.graphql.serving import Api, serving

STREAM = "subscription { activity { __typename } }"
PASSES = "query ($n: Int) { passes(first: $n) { nodes { id } } }"


def within(business: Business, **settings: Any) -> Business:
    """The business under other settings."""
    resources = business.ctx.resources
    changed = dataclasses.replace(resources, settings=dataclasses.replace(resources.settings, **settings))
    return dataclasses.replace(business, ctx=dataclasses.replace(business.ctx, resources=changed))


@pytest.mark.parametrize(
    ("limit", "most", "fits", "too_much"),
    [
        ("tokens", 100, "{ __typename }", "{" + " __typename" * 100 + "}"),
        ("depth", 3, "{ viewer { apiKey { id } } }", "{ passes { nodes { pass: events { totalCount } } } }"),
        ("fields", 10, "{ viewer { apiKey { id } } }", "{ viewer { apiKey { id name } } " + "__typename " * 10 + "}"),
        ("aliases", 1, "{ a: __typename }", "{ a: __typename b: __typename }"),
        ("directives", 1, "{ __typename @skip(if: false) }", "{ __typename @skip(if: true) @include(if: true) }"),
        ("cost", 1_000, "{ passes { nodes { id } } }", "{ passes { nodes { events { nodes { id } } } } }"),
    ],
)  # fmt: skip
async def test_a_document_beyond_a_limit_is_refused_and_the_limit_is_named(
    business: Business, limit: str, most: int, fits: str, too_much: str
) -> None:
    async with serving(within(business, **{f"max_{limit}": most})) as api:
        assert "data" in await api.answer(fits)
        answer = await api.answer(too_much)
        assert list(answer) == ["errors"]
        told = answer["errors"][0]["extensions"]
        assert (told["code"], told["limit"], told["most"]) == ("LIMIT_EXCEEDED", limit, most)
        assert str(most) in answer["errors"][0]["message"]


async def test_every_answer_tells_its_cost(api: Api) -> None:
    cost = (await api.answer(PASSES, n=7))["extensions"]["cost"]
    assert (cost["requested"], cost["most"]) == (8, 100_000)


async def test_a_body_too_large_is_413(business: Business) -> None:
    async with serving(within(business, body_bytes=1_024)) as api:
        response = await api.post(b'{"query": "' + b" " * 2_000 + b'{__typename}"}')
        assert response.status_code == 413
        assert response.json()["errors"][0]["extensions"]["code"] == "LIMIT_EXCEEDED"


async def test_an_operation_that_takes_too_long_is_ended(business: Business, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = asyncio.Event()

    async def never(*_: object) -> object:
        try:
            return await asyncio.Event().wait()
        finally:
            ended.set()

    monkeypatch.setattr(PassQueries, "page", never)
    async with serving(within(business, operation_seconds=0.2)) as api:
        response = await api.post('{"query": "{ passes { nodes { id } } }"}')
        assert response.status_code == 504
        assert response.json()["errors"][0]["extensions"]["code"] == "OPERATION_TIMEOUT"
        assert ended.is_set()
        assert "data" in await api.answer("{ viewer { apiKey { id } } }")


async def test_one_key_has_only_so_many_subscriptions(business: Business) -> None:
    one = within(business, max_subscriptions_per_key=1)
    async with serving(one, heartbeat_seconds=0.1) as api, api.socket() as socket:
        await socket.subscribe(STREAM, "1")
        await socket.next()
        await socket.subscribe(STREAM, "2")
        while (message := await socket.receive())["type"] != "error":
            assert message["id"] == "1"
        assert message["id"] == "2"
        assert message["payload"][0]["extensions"]["code"] == "THROTTLED"
        await socket.send(id="1", type="complete")
        await socket.subscribe("{ __typename }", "3")
        while (await socket.receive())["id"] != "3":
            pass
        await socket.subscribe(STREAM, "4")
        while (message := await socket.receive())["id"] != "4":
            pass
        assert message["type"] == "next"


async def test_one_key_has_only_so_many_sockets(business: Business) -> None:
    async with serving(within(business, max_sockets_per_key=1)) as api:
        async with api.socket(), api.raw_socket(additional_headers=api.headers) as second:
            await second.send(type="connection_init")
            assert await second.close_code() == 1013
        other = await api.key("read")
        async with api.socket(), api.raw_socket(additional_headers={"authorization": f"Bearer {other}"}) as second:
            await second.send(type="connection_init")
            assert (await second.receive())["type"] == "connection_ack"


async def test_the_process_has_only_so_many_sockets_whoever_opens_them(business: Business) -> None:
    async with serving(within(business, max_sockets=1)) as api, api.raw_socket() as first, api.raw_socket() as second:
        assert await second.close_code() == 1013
        await first.send(type="ping")
        assert (await first.receive())["type"] == "pong"


def test_a_place_is_free_again_when_it_was_given_back() -> None:
    places = Quota("chairs", 2, 1)
    with places.acquire("a"):
        with places.acquire("b"), pytest.raises(RequestRefused, match="here"), places.acquire("c"):
            pass
        with pytest.raises(RequestRefused, match="one API key"), places.acquire("a"):
            pass
    with places.acquire("a"):
        pass


async def test_without_introspection_the_schema_is_told_to_nobody(business: Business) -> None:
    async with serving(within(business, introspection="off")) as api:
        assert "introspection" in (await api.refusal("{ __schema { __typename } }"))["message"]
        for mistyped, variables in (
            ("{ passs { nodes { id } } }", {}),
            ("query ($f: EventFilter) { events(filter: $f) { totalCount } }", {"f": {"categorie": 1}}),
        ):
            assert "Did you mean" not in (await api.refusal(mistyped, **variables))["message"]


async def test_a_caller_without_a_key_is_told_no_name(api: Api) -> None:
    api.secret = "nobody"
    for probe in ("{ __schema { types { name } } }", "{ passs { id } }", "{ viewer", "mutation { createPas { id } }"):
        response = await api.post(f'{{"query": "{probe}"}}')
        assert response.status_code == 401
        assert response.json()["errors"] == [
            {
                "message": "Send a valid API key: 'Authorization: Bearer <key>'.",
                "extensions": {"code": "UNAUTHENTICATED"},
            }
        ]
        get = await api.http.get(api.address, params={"query": probe})
        assert get.json() == response.json(), "a foreign page that can send no Authorization gets nothing by GET either"
    async with api.raw_socket() as socket:
        await socket.subscribe("{ passs { id } }")
        assert await socket.close_code() == 4401
