"""API keys at the edge: made, used, revoked, and only by who may."""

from __future__ import annotations

import pytest

from app import auth
from app.graphql.types.ids import to_global_id
from app.store.mongo.paging import PageRequest
from tests.business import another_business
from tests.graphql.serving import Api, codes

CREATE = """mutation Create($input: CreateApiKeyInput!) { createApiKey(input: $input) {
  apiKey { id name scopes createdAt lastUsedAt } secret userErrors { code field } } }"""
REVOKE = (
    "mutation Revoke($id: ID!) { revokeApiKey(input: {id: $id}) { apiKey { revokedAt } userErrors { code field } } }"
)


async def test_a_key_is_made_used_and_revoked(api: Api) -> None:
    payload = (await api.data(CREATE, input={"name": "till", "scopes": ["read", "write"]}))["createApiKey"]
    key, admin = payload["apiKey"], api.secret
    assert (key["name"], key["scopes"], key["lastUsedAt"]) == ("till", ["read", "write"], None)
    api.secret = payload["secret"]
    viewer = (await api.data("{ viewer { workspace { name currency timezone } apiKey { id name scopes } } }"))["viewer"]
    assert viewer["workspace"] == {"name": "Kiosk", "currency": "USD", "timezone": "UTC"}
    assert viewer["apiKey"] == {"id": key["id"], "name": "till", "scopes": ["read", "write"]}
    api.secret = admin
    revoked = (await api.data(REVOKE, id=key["id"]))["revokeApiKey"]
    assert revoked["apiKey"]["revokedAt"] is not None
    assert codes((await api.data(REVOKE, id="key_none"))["revokeApiKey"]["userErrors"]) == [("UNKNOWN", ["id"])]


async def test_keys_are_for_admins(api: Api) -> None:
    mine = (await api.data("{ viewer { apiKey { id } } }"))["viewer"]["apiKey"]["id"]
    api.secret = await api.key("read", "write")
    for query, variables in (
        (CREATE, {"input": {"name": "x", "scopes": ["admin"]}}),
        (REVOKE, {"id": mine}),
        ("query ($id: ID!) { node(id: $id) { id } }", {"id": mine}),
    ):
        assert (await api.refusal(query, **variables))["extensions"]["code"] == "FORBIDDEN"


async def test_who_may_only_write_or_follow_is_not_told_what_else_is_known(api: Api) -> None:
    """The lists and sums of an object need the scope `read` wherever it stands: in what a mutation answers, too."""
    api.secret = await api.key("write")
    lists = ("events { totalCount }", "activity { totalCount }", "memberships { totalCount }")
    parts = (*lists, "statistics { eventCount }", "pointsExpiring { points }")
    asked = " ".join(
        f'p{index}: createPass(input: {{externalId: "ann"}}) {{ pass {{ externalId {part} }} userErrors {{ code }} }}'
        for index, part in enumerate(parts)
    )
    visitors = 'key: "a", name: "A", criteria: {event: {types: ["visit"], metric: COUNT, operator: GTE, value: 1}}'
    asked += f" s: createSegment(input: {{{visitors}}}) {{ segment {{ key members {{ totalCount }} }} }}"
    answer = await api.answer(f"mutation {{ {asked} }}")
    assert [error["extensions"]["code"] for error in answer["errors"]] == ["FORBIDDEN"] * (len(parts) + 1)
    assert all(payload.get("pass", payload.get("segment")) is None for payload in answer["data"].values())
    written = await api.data('mutation { createPass(input: {externalId: "ann"}) { pass { externalId } } }')
    assert written["createPass"]["pass"] == {"externalId": "ann"}
    api.secret = await api.key("subscribe")
    async with api.socket() as socket:
        await socket.subscribe(
            "subscription ($after: String) { activity(after: $after) { ... on ActivityEdge { node {"
            " pass { externalId events { totalCount } } } } } }"
        )
        await api.business.record({"pass_external_id": "ann"})
        await api.business.settle()
        while "errors" not in (message := (await socket.receive())["payload"]):
            pass
        assert message["errors"][0]["extensions"]["code"] == "FORBIDDEN"


async def test_a_stream_ends_with_its_key(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever it was taken from is told nothing more, not even on a socket that was open before."""
    monkeypatch.setattr(auth, "KEY_TTL_SECONDS", 0.0)
    made = (await api.data(CREATE, input={"name": "partner", "scopes": ["subscribe"]}))["createApiKey"]
    admin, api.secret = api.secret, made["secret"]
    async with api.socket() as socket:
        await socket.subscribe("subscription { activity { __typename } }")
        assert await socket.next() == {"activity": {"__typename": "Heartbeat"}}
        api.secret = admin
        await api.data(REVOKE, id=made["apiKey"]["id"])
        await api.business.record({"amount": 1})
        await api.business.settle()
        while "errors" not in (message := (await socket.receive())["payload"]):
            assert message["data"]["activity"]["__typename"] == "Heartbeat"
        assert (message["data"], message["errors"][0]["extensions"]["code"]) == (None, "UNAUTHENTICATED")
        assert (await socket.receive())["type"] == "complete"


async def test_a_key_needs_a_name_and_a_scope(api: Api) -> None:
    for given, field in (({"name": " ", "scopes": ["read"]}, "name"), ({"name": "x", "scopes": []}, "scopes")):
        payload = (await api.data(CREATE, input=given))["createApiKey"]
        assert payload["secret"] is None
        assert payload["userErrors"][0]["field"] == [field]


ROTATE = """mutation Rotate($id: ID!, $grace: Int! = 0) { rotateApiKey(input: {id: $id, graceSeconds: $grace}) {
  apiKey { id name scopes } secret userErrors { code field } } }"""


async def test_a_key_is_rotated_and_the_old_secret_works_as_long_as_wanted(api: Api) -> None:
    admin = api.secret
    made = (await api.data(CREATE, input={"name": "till", "scopes": ["read"]}))["createApiKey"]
    later = (await api.data(ROTATE, id=made["apiKey"]["id"], grace=3_600))["rotateApiKey"]
    assert (later["apiKey"]["name"], later["apiKey"]["scopes"]) == ("till", ["read"])
    assert later["apiKey"]["id"] != made["apiKey"]["id"]
    for secret in (made["secret"], later["secret"]):
        api.secret = secret
        await api.data("{ __typename }")
    api.secret = admin
    unused = (await api.data(CREATE, input={"name": "other", "scopes": ["read"]}))["createApiKey"]
    assert (await api.data(ROTATE, id=unused["apiKey"]["id"]))["rotateApiKey"]["secret"]
    again = (await api.data(ROTATE, id=unused["apiKey"]["id"]))["rotateApiKey"]
    assert codes(again["userErrors"]) == [("CONFLICT", ["id"])]
    wrong = (await api.data(ROTATE, id=made["apiKey"]["id"], grace=-1))["rotateApiKey"]
    assert codes(wrong["userErrors"]) == [("OUT_OF_RANGE", ["graceSeconds"])]
    api.secret = unused["secret"]
    assert (await api.refusal("{ __typename }"))["extensions"]["code"] == "UNAUTHENTICATED"


async def test_a_key_may_expire(api: Api) -> None:
    given = {"name": "guest", "scopes": ["read"]}
    made = (await api.data(CREATE, input={**given, "expiresAt": "2199-01-01T00:00:00Z"}))["createApiKey"]
    listed = (await api.data("{ apiKeys(first: 1) { totalCount nodes { id expiresAt revokedAt } } }"))["apiKeys"]
    assert listed["nodes"] == [{"id": made["apiKey"]["id"], "expiresAt": "2199-01-01T00:00:00.000Z", "revokedAt": None}]
    assert listed["totalCount"] == 3
    for expiry, code in (("2020-01-01T00:00:00Z", "OUT_OF_RANGE"), ("soon", "INVALID")):
        refused = (await api.data(CREATE, input={**given, "expiresAt": expiry}))["createApiKey"]
        assert codes(refused["userErrors"]) == [(code, ["expiresAt"])]


async def test_administrative_acts_are_written_down(api: Api) -> None:
    made = (await api.data(CREATE, input={"name": "till", "scopes": ["read", "write"]}))["createApiKey"]["apiKey"]
    await api.data(REVOKE, id=made["id"])
    await api.data(REVOKE, id=made["id"])
    await api.business.segment("buyers", {"event": {"types": ["purchase"], "value": 1}})
    log = (
        await api.data(
            "{ auditLog { totalCount nodes { id action subject details ipAddress occurredAt apiKey { name } } } }"
        )
    )["auditLog"]
    assert log["totalCount"] == 3
    newest, revoked, created = log["nodes"]
    assert (newest["action"], newest["details"]) == ("createSegment", {"key": "buyers"})
    assert (revoked["action"], created["action"]) == ("revokeApiKey", "createApiKey")
    assert created["subject"] == revoked["subject"] == made["id"]
    assert created["details"] == {"name": "till", "scopes": "read write"}
    assert (created["ipAddress"], created["apiKey"]) == ("127.0.0.1", {"name": "test"})
    ask = "query ($id: ID!) { node(id: $id) { ... on AuditEntry { id action } } }"
    assert (await api.data(ask, id=revoked["id"]))["node"] == {"id": revoked["id"], "action": "revokeApiKey"}
    stranger = await another_business(api.business.ctx.resources, api.business.clock, "Other")
    await stranger.segment("theirs", {"event": {"types": ["purchase"], "value": 1}})
    [theirs] = (await stranger.ctx.workspace.audit.page(PageRequest(1))).items
    assert (await api.data(ask, id=to_global_id("AuditEntry", theirs.id)))["node"] is None
    api.secret = await api.key("read")
    assert (await api.refusal(ask, id=revoked["id"]))["extensions"]["code"] == "FORBIDDEN"
