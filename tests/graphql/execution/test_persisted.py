"""Persisted operations: automatic ones by hash, trusted ones by id, on every transport."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.config.settings import ConfigError, Settings
from app.graphql.execution.trusted_documents import TrustedDocuments, load_trusted
from tests.business import Business
from tests.graphql.serving import Api, serving

QUERY = "query Who { viewer { __typename } }"
OTHER = "query Other { __typename }"
VIEWER = {"viewer": {"__typename": "Viewer"}}
GRAPHQL = "application/graphql-response+json"


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def extensions(text: str = QUERY, **more: Any) -> dict[str, Any]:
    return {"extensions": {"persistedQuery": {"version": 1, "sha256Hash": sha256(text), **more}}}


async def sent(api: Api, body: dict[str, Any], **headers: str) -> httpx.Response:
    return await api.post(json.dumps(body), **headers)


def code(response: httpx.Response) -> str:
    found: str = response.json()["errors"][0]["extensions"]["code"]
    return found


@asynccontextmanager
async def configured(business: Business, **settings: Any) -> AsyncIterator[Api]:
    """The API of the business under other settings, as another process would be."""
    resources = business.ctx.resources
    ctx = replace(business.ctx, resources=replace(resources, settings=replace(resources.settings, **settings)))
    async with serving(replace(business, ctx=ctx)) as api:
        yield api


async def test_a_document_is_sent_once_and_then_named_by_its_hash(api: Api) -> None:
    for accept in ("application/json", GRAPHQL):
        miss = await sent(api, extensions(), accept=accept)
        assert (miss.status_code, code(miss)) == (200, "PERSISTED_QUERY_NOT_FOUND")
        assert miss.json()["errors"][0]["message"] == "PersistedQueryNotFound"
        assert miss.headers["cache-control"] == "no-store"
    assert (await sent(api, {"query": QUERY, **extensions()})).json()["data"] == VIEWER
    assert (await sent(api, extensions())).json()["data"] == VIEWER
    parameters = {"extensions": json.dumps(extensions()["extensions"])}
    assert (await api.http.get(api.address, params=parameters, headers=api.headers)).json()["data"] == VIEWER


async def test_every_process_knows_a_document_as_long_as_redis_does(api: Api) -> None:
    await sent(api, {"query": QUERY, **extensions()})
    async with configured(api.business) as other:
        assert (await sent(other, extensions())).json()["data"] == VIEWER
    redis = api.business.ctx.resources.redis
    [key] = await redis.keys("*:document:*")
    await redis.set(key, b"query Poison { __typename }")
    async with configured(api.business) as other:
        assert code(await sent(other, extensions())) == "PERSISTED_QUERY_NOT_FOUND"
    await redis.flushall()
    assert (await sent(api, extensions())).json()["data"] == VIEWER, "this process still remembers"
    async with configured(api.business) as other:
        assert code(await sent(other, extensions())) == "PERSISTED_QUERY_NOT_FOUND"


async def test_a_wrong_hash_and_a_wrong_document_are_not_kept(api: Api) -> None:
    mismatch = await sent(api, {"query": OTHER, **extensions()})
    assert (mismatch.status_code, code(mismatch)) == (400, "BAD_REQUEST")
    assert code(await sent(api, {"query": "{ nope }", **extensions("{ nope }")})) == "GRAPHQL_VALIDATION_FAILED"
    for text in (QUERY, "{ nope }"):
        assert code(await sent(api, extensions(text))) == "PERSISTED_QUERY_NOT_FOUND"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (extensions(version=2), "PERSISTED_QUERY_NOT_SUPPORTED"),
        (extensions(sha256Hash=1), "BAD_REQUEST"),
        ({"extensions": {"persistedQuery": "x"}}, "BAD_REQUEST"),
        ({"documentId": ""}, "BAD_REQUEST"),
        ({"documentId": 1}, "BAD_REQUEST"),
        ({"documentId": "x", "query": QUERY}, "BAD_REQUEST"),
        ({"documentId": "nobody"}, "PERSISTED_QUERY_NOT_IN_LIST"),
        (extensions(sha256Hash="../x"), "PERSISTED_QUERY_NOT_FOUND"),
    ],
)
async def test_whatever_is_wrong_with_a_name_is_a_coded_error(api: Api, body: dict[str, Any], expected: str) -> None:
    assert code(await sent(api, body)) == expected


async def test_sockets_and_event_streams_know_hashes_too(api: Api) -> None:
    async with api.socket() as socket:
        await socket.send(id="1", type="subscribe", payload=extensions())
        refused = await socket.receive()
        assert (refused["type"], refused["payload"][0]["message"]) == ("error", "PersistedQueryNotFound")
        await socket.send(id="1", type="subscribe", payload={"query": QUERY, **extensions()})
        assert await socket.next() == VIEWER
        await socket.receive()
        await socket.send(id="1", type="subscribe", payload=extensions())
        assert await socket.next() == VIEWER
    assert '"data":{"viewer"' in (await sent(api, extensions(), accept="text/event-stream")).text
    missed = await sent(api, extensions(OTHER), accept="text/event-stream")
    assert missed.headers["content-type"] == "text/event-stream"
    assert "PersistedQueryNotFound" in missed.text


def written(path: Path, manifest: object) -> Path:
    path.write_text(json.dumps(manifest))
    return path


def apollo(**documents: str) -> dict[str, object]:
    operations = [{"id": name, "name": "Q", "type": "query", "body": text} for name, text in documents.items()]
    return {"format": "apollo-persisted-query-manifest", "version": 1, "operations": operations}


def loaded(path: Path) -> TrustedDocuments:
    return load_trusted(Settings(trusted_documents=path))


def test_manifests_of_each_tool_are_read_from_a_file_or_a_folder(tmp_path: Path) -> None:
    assert loaded(written(tmp_path / "a.json", apollo(one=QUERY))).find("one") == QUERY
    written(tmp_path / "relay.json", {"two": OTHER, "one": QUERY})
    trusted = loaded(tmp_path)
    assert (trusted.find("one"), trusted.find("two"), trusted.find("three")) == (QUERY, OTHER, None)
    assert trusted.find(f"sha256:{sha256(OTHER)}") == OTHER
    assert load_trusted(Settings()) == TrustedDocuments()


@pytest.mark.parametrize(
    "manifest",
    [[], "x", {"a": 1}, {"a": " "}, {"": QUERY}, {"format": "apollo-persisted-query-manifest"}, apollo(a="")],
)
def test_what_is_no_manifest_is_refused_at_the_start(tmp_path: Path, manifest: object) -> None:
    with pytest.raises(ConfigError, match="PUNCHCARD_TRUSTED_DOCUMENTS"):
        loaded(written(tmp_path / "a.json", manifest))


def test_a_path_that_cannot_be_used_is_refused_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    written(tmp_path / "one.json", {"a": QUERY})
    written(tmp_path / "two.json", {"a": OTHER})
    (tmp_path / "text").write_text("{")
    for path in (tmp_path / "absent.json", tmp_path / "empty", tmp_path, tmp_path / "text"):
        with pytest.raises(ConfigError, match="PUNCHCARD_TRUSTED_DOCUMENTS"):
            loaded(path)
    with pytest.raises(ConfigError, match="PUNCHCARD_TRUSTED_DOCUMENTS"):
        load_trusted(Settings(documents="trusted"))


async def test_a_trusted_document_is_named_by_its_id(business: Business, tmp_path: Path) -> None:
    manifest = written(tmp_path / "a.json", {"who": QUERY})
    async with configured(business, trusted_documents=manifest) as api:
        assert (await sent(api, {"documentId": "who"})).json()["data"] == VIEWER
        assert (await sent(api, {"documentId": f"sha256:{sha256(QUERY)}"})).json()["data"] == VIEWER
        assert (await sent(api, extensions())).json()["data"] == VIEWER, "Apollo names trusted documents like this"
        answer = await api.http.get(api.address, params={"documentId": "who"}, headers=api.headers)
        assert answer.json()["data"] == VIEWER
        assert (await sent(api, {"query": OTHER})).json()["data"] == {"__typename": "Query"}


async def test_where_only_trusted_documents_are_run_others_need_the_scope_admin(
    business: Business, tmp_path: Path
) -> None:
    manifest = written(tmp_path / "a.json", {"who": QUERY})
    async with configured(business, trusted_documents=manifest, documents="trusted") as api:
        assert (await sent(api, {"query": OTHER})).json()["data"] == {"__typename": "Query"}
        await sent(api, {"query": OTHER, **extensions(OTHER)})
        api.secret = await api.key("read")
        assert (await sent(api, {"documentId": "who"})).json()["data"] == VIEWER
        assert (await sent(api, {"query": QUERY})).json()["data"] == VIEWER, "the very text is as good as its id"
        assert code(await sent(api, {"query": OTHER})) == "QUERY_NOT_IN_SAFELIST"
        assert code(await sent(api, {"query": OTHER, **extensions(OTHER)})) == "QUERY_NOT_IN_SAFELIST"
        assert code(await sent(api, extensions(OTHER))) == "PERSISTED_QUERY_NOT_IN_LIST"
        assert code(await sent(api, {"query": "{ __schema { __typename } }"})) == "QUERY_NOT_IN_SAFELIST"
