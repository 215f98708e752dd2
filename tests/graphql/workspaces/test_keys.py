"""API keys in GraphQL: creation, use, rotation, expiry and revocation, and what each scope allows."""

from __future__ import annotations

import pytest

from app import auth
from app.graphql.types.ids import to_global_id
from app.store.mongo.paging import PageRequest
from tests.business import create_business
from tests.graphql.jobs.test_imports import import_file
from tests.graphql.serving import Api, list_codes

CREATE = """mutation Create($input: CreateApiKeyInput!) { createApiKey(input: $input) {
  apiKey { id name scopes createdAt lastUsedAt } secret userErrors { code field } } }"""
REVOKE = (
    "mutation Revoke($id: ID!) { revokeApiKey(input: {id: $id}) { apiKey { revokedAt } userErrors { code field } } }"
)


async def test_key_is_created_used_and_revoked(api: Api) -> None:
    payload = (await api.fetch_data(CREATE, input={"name": "till", "scopes": ["read", "write"]}))["createApiKey"]
    key, admin = payload["apiKey"], api.secret
    assert (key["name"], key["scopes"], key["lastUsedAt"]) == ("till", ["read", "write"], None)
    api.secret = payload["secret"]
    viewer = (await api.fetch_data("{ viewer { workspace { name currency timezone } apiKey { id name scopes } } }"))[
        "viewer"
    ]
    assert viewer["workspace"] == {"name": "Kiosk", "currency": "USD", "timezone": "UTC"}
    assert viewer["apiKey"] == {"id": key["id"], "name": "till", "scopes": ["read", "write"]}
    api.secret = admin
    revoked = (await api.fetch_data(REVOKE, id=key["id"]))["revokeApiKey"]
    assert revoked["apiKey"]["revokedAt"] is not None
    assert list_codes((await api.fetch_data(REVOKE, id="key_none"))["revokeApiKey"]["userErrors"]) == [
        ("UNKNOWN", ["id"])
    ]


async def test_key_mutations_without_the_scope_admin_are_forbidden(api: Api) -> None:
    own_key = (await api.fetch_data("{ viewer { apiKey { id } } }"))["viewer"]["apiKey"]["id"]
    api.secret = await api.create_key("read", "write")
    for query, variables in (
        (CREATE, {"input": {"name": "x", "scopes": ["admin"]}}),
        (REVOKE, {"id": own_key}),
        ("query ($id: ID!) { node(id: $id) { id } }", {"id": own_key}),
    ):
        assert (await api.fetch_error(query, **variables))["extensions"]["code"] == "FORBIDDEN"


async def test_key_without_the_scope_read_gets_no_lists_from_mutations_or_subscriptions(api: Api) -> None:
    """Lists and totals of an object need the scope `read`, also where a mutation or a subscription returns it."""
    api.secret = await api.create_key("write")
    lists = ("events { totalCount }", "activity { totalCount }", "memberships { totalCount }")
    parts = (*lists, "statistics { eventCount }", "pointsExpiring { points }")
    selections = " ".join(
        f'p{index}: createPass(input: {{externalId: "ann"}}) {{ pass {{ externalId {part} }} userErrors {{ code }} }}'
        for index, part in enumerate(parts)
    )
    visitors = 'key: "a", name: "A", criteria: {event: {types: ["visit"], metric: COUNT, operator: GTE, value: 1}}'
    selections += f" s: createSegment(input: {{{visitors}}}) {{ segment {{ key members {{ totalCount }} }} }}"
    answer = await api.execute(f"mutation {{ {selections} }}")
    assert [error["extensions"]["code"] for error in answer["errors"]] == ["FORBIDDEN"] * (len(parts) + 1)
    assert all(payload.get("pass", payload.get("segment")) is None for payload in answer["data"].values())
    written = await api.fetch_data('mutation { createPass(input: {externalId: "ann"}) { pass { externalId } } }')
    assert written["createPass"]["pass"] == {"externalId": "ann"}
    api.secret = await api.create_key("subscribe")
    async with api.open_socket() as socket:
        await socket.subscribe(
            "subscription ($after: String) { activity(after: $after) { ... on ActivityEdge { node {"
            " pass { externalId events { totalCount } } } } } }"
        )
        await api.business.record({"pass_external_id": "ann"})
        await api.business.run_worker()
        while "errors" not in (message := (await socket.receive())["payload"]):
            pass
        assert message["errors"][0]["extensions"]["code"] == "FORBIDDEN"


async def test_subscription_ends_when_its_key_is_revoked(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client with a revoked key receives no more activities, not even on a socket that was open before."""
    monkeypatch.setattr(auth, "KEY_TTL_SECONDS", 0.0)
    created = (await api.fetch_data(CREATE, input={"name": "partner", "scopes": ["subscribe"]}))["createApiKey"]
    admin, api.secret = api.secret, created["secret"]
    async with api.open_socket() as socket:
        await socket.subscribe("subscription { activity { __typename } }")
        assert await socket.receive_data() == {"activity": {"__typename": "Heartbeat"}}
        api.secret = admin
        await api.fetch_data(REVOKE, id=created["apiKey"]["id"])
        await api.business.record({"amount": 1})
        await api.business.run_worker()
        while "errors" not in (message := (await socket.receive())["payload"]):
            assert message["data"]["activity"]["__typename"] == "Heartbeat"
        assert (message["data"], message["errors"][0]["extensions"]["code"]) == (None, "UNAUTHENTICATED")
        assert (await socket.receive())["type"] == "complete"


async def test_key_without_a_name_or_without_a_scope_is_refused(api: Api) -> None:
    for given, field in (({"name": " ", "scopes": ["read"]}, "name"), ({"name": "x", "scopes": []}, "scopes")):
        payload = (await api.fetch_data(CREATE, input=given))["createApiKey"]
        assert payload["secret"] is None
        assert payload["userErrors"][0]["field"] == [field]


ROTATE = """mutation Rotate($id: ID!, $grace: Int! = 0) { rotateApiKey(input: {id: $id, graceSeconds: $grace}) {
  apiKey { id name scopes } secret userErrors { code field } } }"""


async def test_old_secret_of_a_rotated_key_works_for_the_grace_period(api: Api) -> None:
    admin = api.secret
    created = (await api.fetch_data(CREATE, input={"name": "till", "scopes": ["read"]}))["createApiKey"]
    rotated = (await api.fetch_data(ROTATE, id=created["apiKey"]["id"], grace=3_600))["rotateApiKey"]
    assert (rotated["apiKey"]["name"], rotated["apiKey"]["scopes"]) == ("till", ["read"])
    assert rotated["apiKey"]["id"] != created["apiKey"]["id"]
    for secret in (created["secret"], rotated["secret"]):
        api.secret = secret
        await api.fetch_data("{ __typename }")
    api.secret = admin
    unused = (await api.fetch_data(CREATE, input={"name": "other", "scopes": ["read"]}))["createApiKey"]
    assert (await api.fetch_data(ROTATE, id=unused["apiKey"]["id"]))["rotateApiKey"]["secret"]
    repeated = (await api.fetch_data(ROTATE, id=unused["apiKey"]["id"]))["rotateApiKey"]
    assert list_codes(repeated["userErrors"]) == [("CONFLICT", ["id"])]
    refused = (await api.fetch_data(ROTATE, id=created["apiKey"]["id"], grace=-1))["rotateApiKey"]
    assert list_codes(refused["userErrors"]) == [("OUT_OF_RANGE", ["graceSeconds"])]
    api.secret = unused["secret"]
    assert (await api.fetch_error("{ __typename }"))["extensions"]["code"] == "UNAUTHENTICATED"


async def test_key_with_an_expiry_is_listed_with_it_and_a_past_expiry_is_refused(api: Api) -> None:
    fields = {"name": "guest", "scopes": ["read"]}
    created = (await api.fetch_data(CREATE, input={**fields, "expiresAt": "2199-01-01T00:00:00Z"}))["createApiKey"]
    listed = (await api.fetch_data("{ apiKeys(first: 1) { totalCount nodes { id expiresAt revokedAt } } }"))["apiKeys"]
    assert listed["nodes"] == [
        {"id": created["apiKey"]["id"], "expiresAt": "2199-01-01T00:00:00.000Z", "revokedAt": None}
    ]
    assert listed["totalCount"] == 3
    for expiry, code in (("2020-01-01T00:00:00Z", "OUT_OF_RANGE"), ("soon", "INVALID")):
        refused = (await api.fetch_data(CREATE, input={**fields, "expiresAt": expiry}))["createApiKey"]
        assert list_codes(refused["userErrors"]) == [(code, ["expiresAt"])]


async def test_changes_of_passes_and_jobs_are_audited_without_personal_values(api: Api) -> None:
    person = {"externalId": "ann@example.com", "holder": {"name": "Ann Lee"}}
    create = "mutation ($i: CreatePassInput!) { createPass(input: $i) { pass { id } } }"
    pass_id = (await api.fetch_data(create, i=person))["createPass"]["pass"]["id"]
    await api.fetch_data(
        "mutation ($p: [CreatePassInput!]!) { createPasses(input: {passes: $p}) { created } }",
        p=[{"externalId": f"{name}@example.com"} for name in ("bob", "carl")],
    )
    update = "mutation ($i: UpdatePassInput!) { updatePass(input: $i) { userErrors { code } } }"
    await api.fetch_data(update, i={"id": pass_id, "holder": {"name": "Ann Two"}, "metadata": {"note": "x"}})
    await api.fetch_data(update, i={"id": pass_id})
    job = (await import_file(api, "customer_id,date,amount\nann,2025-11-01,1.50\n"))["job"]["id"]
    cancel = "mutation ($id: ID!) { cancelJob(input: {id: $id}) { job { status } } }"
    await api.fetch_data(cancel, id=job)
    log = (await api.fetch_data("{ auditLog { nodes { action subject details } } }"))["auditLog"]["nodes"]
    assert [(node["action"], node["details"]) for node in log] == [
        ("cancelJob", {"jobKind": "IMPORT"}),
        ("importEvents", {"dryRun": "false"}),
        ("updatePass", {"changes": "holder metadata"}),
        ("createPasses", {"count": "2"}),
        ("createPass", {"count": "1"}),
    ]
    assert [node["subject"] for node in log[:2]] == [job, job]
    assert log[2]["subject"] == log[4]["subject"] == pass_id
    assert "Ann" not in str(log)
    assert "example.com" not in str(log)


async def test_audit_log_keeps_no_query_of_a_webhook_url(api: Api) -> None:
    """Some receivers expect a secret in the query of the URL."""
    url = "https://hooks.example:8443/in/punchcard?token=hush#part"
    create = "mutation ($i: CreateWebhookEndpointInput!) { createWebhookEndpoint(input: $i) { endpoint { id url } } }"
    endpoint = (await api.fetch_data(create, i={"url": url}))["createWebhookEndpoint"]["endpoint"]
    assert endpoint["url"] == url
    update = "mutation ($i: UpdateWebhookEndpointInput!) { updateWebhookEndpoint(input: $i) { userErrors { code } } }"
    await api.fetch_data(update, i={"id": endpoint["id"], "url": url.replace("hush", "hush2")})
    log = (await api.fetch_data("{ auditLog { nodes { action details } } }"))["auditLog"]["nodes"]
    assert [node["details"]["url"] for node in log] == ["https://hooks.example:8443/in/punchcard"] * 2
    assert "hush" not in str(log)


async def test_administrative_acts_are_entered_in_the_audit_log(api: Api) -> None:
    key = (await api.fetch_data(CREATE, input={"name": "till", "scopes": ["read", "write"]}))["createApiKey"]["apiKey"]
    await api.fetch_data(REVOKE, id=key["id"])
    await api.fetch_data(REVOKE, id=key["id"])
    await api.business.create_segment("buyers", {"event": {"types": ["purchase"], "value": 1}})
    log = (
        await api.fetch_data(
            "{ auditLog { totalCount nodes { id action actor subject details ipAddress occurredAt apiKey { name } } } }"
        )
    )["auditLog"]
    assert log["totalCount"] == 3
    newest, revoked, created = log["nodes"]
    assert (newest["action"], newest["details"]) == ("createSegment", {"key": "buyers"})
    assert (revoked["action"], created["action"]) == ("revokeApiKey", "createApiKey")
    assert created["subject"] == revoked["subject"] == key["id"]
    assert created["details"] == {"name": "till", "scopes": "read write"}
    assert (created["ipAddress"], created["actor"], created["apiKey"]) == ("127.0.0.1", "API_KEY", {"name": "test"})
    query = "query ($id: ID!) { node(id: $id) { ... on AuditEntry { id action } } }"
    assert (await api.fetch_data(query, id=revoked["id"]))["node"] == {"id": revoked["id"], "action": "revokeApiKey"}
    stranger = await create_business(api.business.ctx.resources, api.business.clock, "Other")
    await stranger.create_segment("theirs", {"event": {"types": ["purchase"], "value": 1}})
    [entry] = (await stranger.ctx.workspace.audit.page(PageRequest(1))).items
    assert (await api.fetch_data(query, id=to_global_id("AuditEntry", entry.id)))["node"] is None
    api.secret = await api.create_key("read")
    assert (await api.fetch_error(query, id=revoked["id"]))["extensions"]["code"] == "FORBIDDEN"
