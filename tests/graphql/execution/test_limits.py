"""Limits of requests and operations: each has a setting, an error code and a message."""

from __future__ import annotations

import asyncio
import dataclasses
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Any

import pytest

from app.domain.actors import Actor, token_holder_id
from app.domain.pass_tokens import Grant, PassToken
from app.graphql.errors import RequestRefused
from app.graphql.execution.quotas import Quota
from app.store.workspace.audit import AuditQueries
from tests.business import Business
from tests.graphql.serving import Api, run_api

NOW = datetime(2026, 1, 1, tzinfo=UTC)
STREAM = "subscription { activity { __typename } }"
PASSES = "query ($n: Int) { passes(first: $n) { nodes { id } } }"


def replace_settings(business: Business, **settings: Any) -> Business:
    """Return the business with other settings."""
    resources = business.ctx.resources
    changed = dataclasses.replace(resources, settings=dataclasses.replace(resources.settings, **settings))
    return dataclasses.replace(business, ctx=dataclasses.replace(business.ctx, resources=changed))


@pytest.mark.parametrize(
    ("limit", "maximum", "accepted", "refused"),
    [
        ("tokens", 100, "{ __typename }", "{" + " __typename" * 100 + "}"),
        ("depth", 3, "{ viewer { apiKey { id } } }", "{ passes { nodes { pass: events { totalCount } } } }"),
        ("fields", 10, "{ viewer { apiKey { id } } }", "{ viewer { apiKey { id name } } " + "__typename " * 10 + "}"),
        ("aliases", 1, "{ a: __typename }", "{ a: __typename b: __typename }"),
        ("directives", 1, "{ __typename @skip(if: false) }", "{ __typename @skip(if: true) @include(if: true) }"),
        ("cost", 1_000, "{ passes { nodes { id } } }", "{ passes { nodes { events { nodes { id } } } } }"),
    ],
)  # fmt: skip
async def test_document_beyond_a_limit_is_refused_with_the_name_of_the_limit(
    business: Business, limit: str, maximum: int, accepted: str, refused: str
) -> None:
    async with run_api(replace_settings(business, **{f"max_{limit}": maximum})) as api:
        assert "data" in await api.execute(accepted)
        answer = await api.execute(refused)
        assert list(answer) == ["errors"]
        extensions = answer["errors"][0]["extensions"]
        assert (extensions["code"], extensions["limit"], extensions["most"]) == ("LIMIT_EXCEEDED", limit, maximum)
        assert str(maximum) in answer["errors"][0]["message"]


async def test_response_has_the_cost_of_the_operation(api: Api) -> None:
    cost = (await api.execute(PASSES, n=7))["extensions"]["cost"]
    assert (cost["requested"], cost["most"]) == (8, 100_000)


async def test_body_beyond_the_limit_gets_413(business: Business) -> None:
    async with run_api(replace_settings(business, body_bytes=1_024)) as api:
        response = await api.post(b'{"query": "' + b" " * 2_000 + b'{__typename}"}')
        assert response.status_code == 413
        assert response.json()["errors"][0]["extensions"]["code"] == "LIMIT_EXCEEDED"


async def test_operation_that_exceeds_its_time_limit_is_cancelled_with_504(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    cancelled = asyncio.Event()

    async def wait_forever(*_: object, **_named: object) -> object:
        try:
            return await asyncio.Event().wait()
        finally:
            cancelled.set()

    monkeypatch.setattr(AuditQueries, "page", wait_forever)
    async with run_api(replace_settings(business, operation_seconds=0.2)) as api:
        response = await api.post('{"query": "{ auditLog { nodes { id } } }"}')
        assert response.status_code == 504
        [error] = response.json()["errors"]
        assert error["extensions"]["code"] == "OPERATION_TIMEOUT"
        assert error["message"].endswith("Ask for a shorter time or for fewer items at once, or ask again later.")
        assert cancelled.is_set()
        assert "data" in await api.execute("{ viewer { apiKey { id } } }")


async def test_subscriptions_of_one_key_are_limited(business: Business) -> None:
    limited = replace_settings(business, max_subscriptions_per_key=1)
    async with run_api(limited, heartbeat_seconds=0.1) as api, api.open_socket() as socket:
        await socket.subscribe(STREAM, "1")
        await socket.receive_data()
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


async def test_sockets_of_one_key_are_limited(business: Business) -> None:
    async with run_api(replace_settings(business, max_sockets_per_key=1)) as api:
        async with api.open_socket(), api.open_raw_socket(additional_headers=api.headers) as second:
            await second.send(type="connection_init")
            assert await second.receive_close_code() == 1013
        other = await api.create_key("read")
        async with (
            api.open_socket(),
            api.open_raw_socket(additional_headers={"authorization": f"Bearer {other}"}) as second,
        ):
            await second.send(type="connection_init")
            assert (await second.receive())["type"] == "connection_ack"


async def test_sockets_of_the_process_are_limited_for_all_keys_together(business: Business) -> None:
    async with run_api(replace_settings(business, max_sockets=1)) as api:
        other = await api.create_key("read")
        async with (
            api.open_socket(),
            api.open_raw_socket(additional_headers={"authorization": f"Bearer {other}"}) as second,
        ):
            await second.send(type="connection_init")
            assert await second.receive_close_code() == 1013


def create_actor(workspace: str, key: str) -> Actor:
    return Actor(f"ws_{workspace}", f"key_{key}", key, frozenset())


def create_holder(workspace: str, pass_id: str) -> Actor:
    """Return the holder of a token for one pass."""
    token = PassToken(pass_id, frozenset(), frozenset(), number=0, expires_at=NOW)
    grant = Grant(token, pass_id, frozenset({pass_id}))
    return dataclasses.replace(create_actor(workspace, token_holder_id(pass_id)), grant=grant)


def test_quota_has_room_again_after_a_release() -> None:
    quota = Quota("chairs", 2, 1)
    first, second, third = (create_actor(name, name) for name in "abc")
    with quota.acquire(first):
        with quota.acquire(second), pytest.raises(RequestRefused, match="in this process"), quota.acquire(third):
            pass
        with pytest.raises(RequestRefused, match="one API key"), quota.acquire(first):
            pass
    with quota.acquire(first):
        pass


def test_keys_of_one_workspace_leave_a_fifth_of_a_quota_to_other_workspaces() -> None:
    quota = Quota("chairs", 10, 5)
    with ExitStack() as stack:
        for number in range(8):
            stack.enter_context(quota.acquire(create_actor("a", str(number % 2))))
        with pytest.raises(RequestRefused, match="At most 8 chairs may be open for one workspace"):
            stack.enter_context(quota.acquire(create_actor("a", "new")))
        stack.enter_context(quota.acquire(create_actor("b", "b")))


def test_tokens_of_many_passes_leave_a_quarter_of_the_workspace_to_its_keys() -> None:
    quota = Quota("chairs", 100, 10)
    key = create_actor("a", "key")
    with ExitStack() as stack:
        for number in range(60):
            stack.enter_context(quota.acquire(create_holder("a", f"pass_{number}")))
        with pytest.raises(RequestRefused, match="At most 60 chairs may be open with all tokens of one workspace"):
            stack.enter_context(quota.acquire(create_holder("a", "pass_new")))
        stack.enter_context(quota.acquire(key))
        stack.enter_context(quota.acquire(create_holder("b", "pass_b")))
    with quota.acquire(create_holder("a", "pass_new")):
        pass


async def test_without_introspection_errors_suggest_no_names_of_the_schema(business: Business) -> None:
    async with run_api(replace_settings(business, introspection="off")) as api:
        assert "introspection" in (await api.fetch_error("{ __schema { __typename } }"))["message"]
        for mistyped, variables in (
            ("{ passs { nodes { id } } }", {}),
            ("query ($f: EventFilter) { events(filter: $f) { totalCount } }", {"f": {"categorie": 1}}),
        ):
            assert "Did you mean" not in (await api.fetch_error(mistyped, **variables))["message"]


async def test_client_without_a_valid_key_learns_no_name_of_the_schema(api: Api) -> None:
    api.secret = "invalid"
    for probe in ("{ __schema { types { name } } }", "{ passs { id } }", "{ viewer", "mutation { createPas { id } }"):
        response = await api.post(f'{{"query": "{probe}"}}')
        assert response.status_code == 401
        assert response.json()["errors"] == [
            {
                "message": "Send a valid API key or token: 'Authorization: Bearer <key>'.",
                "extensions": {"code": "UNAUTHENTICATED"},
            }
        ]
        get = await api.http.get(api.url, params={"query": probe})
        assert get.json() == response.json(), "a foreign page, which cannot send the header, learns nothing by GET"
    async with api.open_raw_socket() as socket:
        await socket.subscribe("{ passs { id } }")
        assert await socket.receive_close_code() == 4401
