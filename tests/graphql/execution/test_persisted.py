"""Persisted documents on each transport: automatic ones, named by hash, and trusted ones, named by id."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import httpx
import pytest

from app.config.settings import ConfigError, Settings
from app.graphql.execution.trusted_documents import TrustedDocuments, load_trusted
from tests.business import Business, create_business
from tests.graphql.serving import Api, run_api

QUERY = "query Who { viewer { __typename } }"
OTHER = "query Other { __typename }"
VIEWER = {"viewer": {"__typename": "Viewer"}}
GRAPHQL = "application/graphql-response+json"


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def build_extensions(text: str = QUERY, **more: Any) -> dict[str, Any]:
    return {"extensions": {"persistedQuery": {"version": 1, "sha256Hash": sha256(text), **more}}}


async def send(api: Api, body: dict[str, Any], **headers: str) -> httpx.Response:
    return await api.post(json.dumps(body), **headers)


def error_code(response: httpx.Response) -> str:
    found: str = response.json()["errors"][0]["extensions"]["code"]
    return found


@asynccontextmanager
async def run_api_with(business: Business, **settings: Any) -> AsyncIterator[Api]:
    """Run another API of the business with other settings, as another process would."""
    resources = business.ctx.resources
    ctx = replace(business.ctx, resources=replace(resources, settings=replace(resources.settings, **settings)))
    async with run_api(replace(business, ctx=ctx)) as api:
        yield api


async def test_document_that_was_sent_once_is_found_by_its_hash(api: Api) -> None:
    for accept in ("application/json", GRAPHQL):
        miss = await send(api, build_extensions(), accept=accept)
        assert (miss.status_code, error_code(miss)) == (200, "PERSISTED_QUERY_NOT_FOUND")
        assert miss.json()["errors"][0]["message"] == "PersistedQueryNotFound"
        assert miss.headers["cache-control"] == "no-store"
    assert (await send(api, {"query": QUERY, **build_extensions()})).json()["data"] == VIEWER
    assert (await send(api, build_extensions())).json()["data"] == VIEWER
    parameters = {"extensions": json.dumps(build_extensions()["extensions"])}
    assert (await api.http.get(api.url, params=parameters, headers=api.headers)).json()["data"] == VIEWER


async def test_processes_share_documents_through_redis_and_check_their_hash(api: Api) -> None:
    await send(api, {"query": QUERY, **build_extensions()})
    async with run_api_with(api.business) as other:
        assert (await send(other, build_extensions())).json()["data"] == VIEWER
    redis, settings = api.business.ctx.resources.redis, api.business.ctx.resources.settings
    key = f"{settings.database}:documents:{api.business.ctx.workspace.id}"
    await cast(Awaitable[int], redis.hset(key, sha256(QUERY), "query Poison { __typename }"))
    async with run_api_with(api.business) as other:
        assert error_code(await send(other, build_extensions())) == "PERSISTED_QUERY_NOT_FOUND"
    await redis.flushall()
    assert (await send(api, build_extensions())).json()["data"] == VIEWER, "this process has the document in memory"
    async with run_api_with(api.business) as other:
        assert error_code(await send(other, build_extensions())) == "PERSISTED_QUERY_NOT_FOUND"


async def test_each_workspace_has_its_own_documents(api: Api) -> None:
    await send(api, {"query": QUERY, **build_extensions()})
    other = await create_business(api.business.ctx.resources, api.business.clock, "Other")
    async with run_api(other) as other_api:
        assert error_code(await send(other_api, build_extensions())) == "PERSISTED_QUERY_NOT_FOUND"
        api.secret = other_api.secret
    assert error_code(await send(api, build_extensions())) == "PERSISTED_QUERY_NOT_FOUND", "of the same process"


async def test_document_with_a_wrong_hash_or_a_validation_error_is_not_stored(api: Api) -> None:
    mismatch = await send(api, {"query": OTHER, **build_extensions()})
    assert (mismatch.status_code, error_code(mismatch)) == (400, "BAD_REQUEST")
    assert (
        error_code(await send(api, {"query": "{ nope }", **build_extensions("{ nope }")}))
        == "GRAPHQL_VALIDATION_FAILED"
    )
    for text in (QUERY, "{ nope }"):
        assert error_code(await send(api, build_extensions(text))) == "PERSISTED_QUERY_NOT_FOUND"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (build_extensions(version=2), "PERSISTED_QUERY_NOT_SUPPORTED"),
        (build_extensions(sha256Hash=1), "BAD_REQUEST"),
        ({"extensions": {"persistedQuery": "x"}}, "BAD_REQUEST"),
        ({"documentId": ""}, "BAD_REQUEST"),
        ({"documentId": 1}, "BAD_REQUEST"),
        ({"documentId": "x", "query": QUERY}, "BAD_REQUEST"),
        ({"documentId": "unknown"}, "PERSISTED_QUERY_NOT_IN_LIST"),
        (build_extensions(sha256Hash="../x"), "PERSISTED_QUERY_NOT_FOUND"),
    ],
)
async def test_invalid_hash_or_document_id_gets_a_coded_error(api: Api, body: dict[str, Any], expected: str) -> None:
    assert error_code(await send(api, body)) == expected


async def test_hashes_are_accepted_on_sockets_and_event_streams(api: Api) -> None:
    async with api.open_socket() as socket:
        await socket.send(id="1", type="subscribe", payload=build_extensions())
        refused = await socket.receive()
        assert (refused["type"], refused["payload"][0]["message"]) == ("error", "PersistedQueryNotFound")
        await socket.send(id="1", type="subscribe", payload={"query": QUERY, **build_extensions()})
        assert await socket.receive_data() == VIEWER
        await socket.receive()
        await socket.send(id="1", type="subscribe", payload=build_extensions())
        assert await socket.receive_data() == VIEWER
    assert '"data":{"viewer"' in (await send(api, build_extensions(), accept="text/event-stream")).text
    missed = await send(api, build_extensions(OTHER), accept="text/event-stream")
    assert missed.headers["content-type"] == "text/event-stream"
    assert "PersistedQueryNotFound" in missed.text


def write_manifest(path: Path, manifest: object) -> Path:
    path.write_text(json.dumps(manifest))
    return path


def apollo_manifest(**documents: str) -> dict[str, object]:
    operations = [{"id": name, "name": "Q", "type": "query", "body": text} for name, text in documents.items()]
    return {"format": "apollo-persisted-query-manifest", "version": 1, "operations": operations}


def load(path: Path) -> TrustedDocuments:
    return load_trusted(Settings(trusted_documents=path))


def test_apollo_and_relay_manifests_are_read_from_a_file_or_a_folder(tmp_path: Path) -> None:
    assert load(write_manifest(tmp_path / "a.json", apollo_manifest(one=QUERY))).find("one") == QUERY
    write_manifest(tmp_path / "relay.json", {"two": OTHER, "one": QUERY})
    trusted = load(tmp_path)
    assert (trusted.find("one"), trusted.find("two"), trusted.find("three")) == (QUERY, OTHER, None)
    assert trusted.find(f"sha256:{sha256(OTHER)}") == OTHER
    assert load_trusted(Settings()) == TrustedDocuments()


@pytest.mark.parametrize(
    "manifest",
    [[], "x", {"a": 1}, {"a": " "}, {"": QUERY}, {"format": "apollo-persisted-query-manifest"}, apollo_manifest(a="")],
)
def test_invalid_manifest_is_a_configuration_error(tmp_path: Path, manifest: object) -> None:
    with pytest.raises(ConfigError, match="PUNCHCARD_TRUSTED_DOCUMENTS"):
        load(write_manifest(tmp_path / "a.json", manifest))


def test_path_without_usable_manifests_is_a_configuration_error(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    write_manifest(tmp_path / "one.json", {"a": QUERY})
    write_manifest(tmp_path / "two.json", {"a": OTHER})
    (tmp_path / "text").write_text("{")
    for path in (tmp_path / "absent.json", tmp_path / "empty", tmp_path, tmp_path / "text"):
        with pytest.raises(ConfigError, match="PUNCHCARD_TRUSTED_DOCUMENTS"):
            load(path)
    with pytest.raises(ConfigError, match="PUNCHCARD_TRUSTED_DOCUMENTS"):
        load_trusted(Settings(documents="trusted"))


async def test_trusted_document_is_found_by_its_id_or_its_hash(business: Business, tmp_path: Path) -> None:
    manifest = write_manifest(tmp_path / "a.json", {"who": QUERY})
    async with run_api_with(business, trusted_documents=manifest) as api:
        assert (await send(api, {"documentId": "who"})).json()["data"] == VIEWER
        assert (await send(api, {"documentId": f"sha256:{sha256(QUERY)}"})).json()["data"] == VIEWER
        assert (await send(api, build_extensions())).json()["data"] == VIEWER, (
            "Apollo Client names trusted documents by their hash"
        )
        answer = await api.http.get(api.url, params={"documentId": "who"}, headers=api.headers)
        assert answer.json()["data"] == VIEWER
        assert (await send(api, {"query": OTHER})).json()["data"] == {"__typename": "Query"}


async def test_other_documents_need_the_scope_admin_if_only_trusted_ones_are_run(
    business: Business, tmp_path: Path
) -> None:
    manifest = write_manifest(tmp_path / "a.json", {"who": QUERY})
    async with run_api_with(business, trusted_documents=manifest, documents="trusted") as api:
        assert (await send(api, {"query": OTHER})).json()["data"] == {"__typename": "Query"}
        await send(api, {"query": OTHER, **build_extensions(OTHER)})
        api.secret = await api.create_key("read")
        assert (await send(api, {"documentId": "who"})).json()["data"] == VIEWER
        assert (await send(api, {"query": QUERY})).json()["data"] == VIEWER, (
            "the text of a trusted document is accepted too"
        )
        assert error_code(await send(api, {"query": OTHER})) == "QUERY_NOT_IN_SAFELIST"
        assert error_code(await send(api, {"query": OTHER, **build_extensions(OTHER)})) == "QUERY_NOT_IN_SAFELIST"
        assert error_code(await send(api, build_extensions(OTHER))) == "PERSISTED_QUERY_NOT_IN_LIST"
        assert error_code(await send(api, {"query": "{ __schema { __typename } }"})) == "QUERY_NOT_IN_SAFELIST"
