"""GraphQL over HTTP: the rules of the specification that clients rely on."""

from __future__ import annotations

import json
from urllib.parse import quote

import httpx
import pytest
from graphql import get_introspection_query

from app.graphql.protocol.negotiation import MediaType, parse_accept
from tests.graphql.serving import Api, run_api
from tests.patience import PATIENCE_SECONDS

GRAPHQL = "application/graphql-response+json"
INVALID = json.dumps({"query": "{ nope }"})
MUTATION = 'mutation { createPass(input: {externalId: "a"}) { pass { externalId } userErrors { code } } }'


def request_body(text: str) -> str:
    return json.dumps({"query": text})


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (None, [MediaType.JSON]),
        ("*/*", [MediaType.JSON, MediaType.GRAPHQL, MediaType.EVENTS]),
        ("application/json", [MediaType.JSON]),
        (f"{GRAPHQL}, application/json;q=0.9", [MediaType.GRAPHQL, MediaType.JSON]),
        (f"{GRAPHQL};q=0.1, application/json", [MediaType.JSON, MediaType.GRAPHQL]),
        (
            "application/graphql-response+json, application/json, text/event-stream, multipart/mixed",
            [MediaType.GRAPHQL, MediaType.JSON, MediaType.EVENTS],
        ),
        ("text/event-stream", [MediaType.EVENTS]),
        (
            'multipart/mixed;boundary="graphql";subscriptionSpec="1.0", text/event-stream, application/json',
            [MediaType.JSON, MediaType.PARTS, MediaType.EVENTS],
        ),
        ("application/json;q=0", []),
        ("text/html", []),
    ],
)
def test_response_types_are_in_the_order_that_the_client_prefers(accept: str | None, expected: list[MediaType]) -> None:
    assert parse_accept(accept) == expected


async def test_response_has_the_content_type_of_the_accept_header(api: Api) -> None:
    for accept in ("application/json", GRAPHQL):
        response = await api.post(request_body("{ __typename }"), accept=accept)
        assert response.status_code == 200
        assert response.headers["content-type"] == f"{accept}; charset=utf-8"
        assert response.json()["data"] == {"__typename": "Query"}


async def test_invalid_document_gets_a_status_by_content_type_and_no_data(api: Api) -> None:
    """The status is 400 for application/graphql-response+json, and 200 for application/json."""
    for accept, status in (("application/json", 200), (GRAPHQL, 400)):
        response = await api.post(INVALID, accept=accept)
        assert response.status_code == status
        assert list(response.json()) == ["errors"]
        assert response.json()["errors"][0]["extensions"]["code"] == "GRAPHQL_VALIDATION_FAILED"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("{", "BAD_REQUEST"),
        ("[]", "BAD_REQUEST"),
        ('"x"', "BAD_REQUEST"),
        ("{}", "BAD_REQUEST"),
        ('{"query": 1}', "BAD_REQUEST"),
        ('{"query": "{__typename}", "variables": []}', "BAD_REQUEST"),
        ('{"query": "{__typename}", "operationName": 1}', "BAD_REQUEST"),
        ("[" * 100_000 + "]" * 100_000, "BAD_REQUEST"),
        ('{"query": "{__typename}", "variables": {"a": %s}}' % ("9" * 5_000), "BAD_REQUEST"),
        ('{"query": "{"}', "GRAPHQL_PARSE_FAILED"),
        ('{"query": "{ a(x: \\"\\ud800\\") }"}', "GRAPHQL_PARSE_FAILED"),
        ('{"query": "query A { __typename } query B { __typename }"}', "OPERATION_RESOLUTION_FAILURE"),
        ('{"query": "{__typename}", "operationName": "Z"}', "OPERATION_RESOLUTION_FAILURE"),
        ('{"query": "query($n: Int!) { passes(first: $n) { nodes { id } } }"}', "BAD_USER_INPUT"),
    ],
)
async def test_malformed_request_gets_400_with_a_coded_error_in_json(api: Api, body: str, code: str) -> None:
    response = await api.post(body, accept=GRAPHQL)
    assert response.status_code == 400
    assert response.json()["errors"][0]["extensions"]["code"] == code
    assert "data" not in response.json()


async def test_body_that_is_not_utf_8_is_refused(api: Api) -> None:
    assert (await api.post(b'{"query": "{__typename} # \xff"}')).status_code == 400


async def test_query_by_get_is_executed_and_mutation_by_get_is_refused(api: Api) -> None:
    response = await api.http.get(f"{api.url}?query={quote('{ __typename }')}&variables=%7B%7D", headers=api.headers)
    assert response.json()["data"] == {"__typename": "Query"}
    refused = await api.http.get(f"{api.url}?query={quote(MUTATION)}", headers=api.headers)
    assert (refused.status_code, refused.headers["allow"]) == (405, "POST")
    assert refused.json()["errors"][0]["extensions"]["code"] == "BAD_REQUEST"
    invalid = await api.http.get(f"{api.url}?query=x&variables=x", headers=api.headers)
    assert invalid.status_code == 400


async def test_other_methods_and_content_types_are_refused_with_their_status(api: Api) -> None:
    allowed = "GET, HEAD, POST, PUT, DELETE, OPTIONS"
    patch = await api.http.patch(api.url, headers=api.headers)
    assert (patch.status_code, patch.headers["allow"]) == (405, allowed)
    assert (await api.http.options(api.url)).headers["allow"] == allowed
    assert (await api.post("{}", content_type="text/plain")).status_code == 415
    assert (await api.post("{}", content_type="application/json; charset=latin-1")).status_code == 415
    assert (await api.post("{}", accept="text/html")).status_code == 406


async def test_request_without_a_valid_key_gets_401_and_no_validation_error(api: Api) -> None:
    for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": f"Basic {api.secret}"}):
        response = await api.http.post(api.url, json={"query": "{ nope }"}, headers=headers)
        assert response.status_code == 401
        assert response.headers["www-authenticate"] == "Bearer"
        [error] = response.json()["errors"]
        assert error["extensions"] == {"code": "UNAUTHENTICATED"}


async def test_operation_is_forbidden_without_the_scope_of_its_kind(api: Api) -> None:
    api.secret = await api.create_key("write")
    refused = await api.post(request_body("{ __typename }"))
    assert refused.status_code == 403
    assert refused.json()["errors"][0]["extensions"]["code"] == "FORBIDDEN"
    assert (await api.fetch_data(MUTATION))["createPass"]["pass"] == {"externalId": "a"}
    api.secret = await api.create_key("read")
    assert (await api.fetch_data("{ __typename }")) == {"__typename": "Query"}
    assert (await api.fetch_error(MUTATION))["extensions"]["code"] == "FORBIDDEN"


async def test_body_beyond_the_limit_is_refused_with_and_without_its_length(api: Api) -> None:
    settings = api.business.ctx.resources.settings
    large = request_body("{ __typename }") + " " * settings.body_bytes
    response = await api.post(large)
    assert response.status_code == 413

    async def chunks() -> object:
        for _ in range(settings.body_bytes // 65_536 + 2):
            yield b" " * 65_536

    streamed = await api.http.post(
        api.url,
        content=chunks(),  # type: ignore[arg-type]
        headers={**api.headers, "content-type": "application/json"},
    )
    assert streamed.status_code == 413


async def test_upload_without_a_preflight_header_or_with_a_wrong_map_is_refused(api: Api) -> None:
    # A form of a foreign web page cannot send a header of its own, so the header keeps such pages out.
    parts = {"operations": (None, request_body("{ __typename }")), "map": (None, "{}")}
    refused = await api.http.post(api.url, files=parts, headers=api.headers)
    assert refused.status_code == 400
    headers = {**api.headers, "apollo-require-preflight": "1"}
    assert (await api.http.post(api.url, files=parts, headers=headers)).json()["data"] == {"__typename": "Query"}
    parts["operations"] = (None, json.dumps({"query": "{ __typename }", "variables": {"files": [None]}}))
    for path in ("variables.file", "variables.files.1", f"variables.files.{'9' * 5_000}", "variables.files.²"):
        parts["map"] = (None, json.dumps({"0": [path]}))
        files = [*parts.items(), ("0", ("a.csv", "x"))]
        assert (await api.http.post(api.url, files=files, headers=headers)).status_code == 400, path


async def test_upload_whose_body_is_not_multipart_gets_400(api: Api) -> None:
    for boundary in ("", "; boundary=x", "; boundary=x; charset=none"):
        headers = {**api.headers, "graphql-require-preflight": "1", "content-type": f"multipart/form-data{boundary}"}
        for body in (b"", b'{"query": "{ __typename }"}', b"--x\r\nnothing", b"--x\r\n\r\n--x--\r\n"):
            assert (await api.http.post(api.url, content=body, headers=headers)).status_code == 400


async def test_introspection_returns_the_schema(api: Api) -> None:
    data = await api.fetch_data(get_introspection_query(descriptions=True))
    assert data["__schema"]["queryType"]["name"] == "Query"


async def test_response_carries_the_security_headers(api: Api) -> None:
    response = await api.post(request_body("{ __typename }"))
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["cache-control"] == "no-store"


async def test_only_configured_origins_are_allowed_by_cors(api: Api) -> None:
    from dataclasses import replace

    ctx = api.business.ctx
    settings = replace(ctx.resources.settings, cors_origins=("https://shop.example",))
    api.business.ctx = replace(ctx, resources=replace(ctx.resources, settings=settings))
    async with run_api(api.business) as cors_api, httpx.AsyncClient(timeout=PATIENCE_SECONDS) as http:
        preflight = {"access-control-request-method": "POST", "access-control-request-headers": "authorization"}
        for origin, allowed in (("https://shop.example", True), ("https://evil.example", False)):
            response = await http.options(cors_api.url, headers={**preflight, "origin": origin})
            assert ("access-control-allow-origin" in response.headers) is allowed
