"""API keys at the edge: made, used, revoked, and only by who may."""

from __future__ import annotations

from .serving import Api, codes

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


async def test_a_key_needs_a_name_and_a_scope(api: Api) -> None:
    for given, field in (({"name": " ", "scopes": ["read"]}, "name"), ({"name": "x", "scopes": []}, "scopes")):
        payload = (await api.data(CREATE, input=given))["createApiKey"]
        assert payload["secret"] is None
        assert payload["userErrors"][0]["field"] == [field]
