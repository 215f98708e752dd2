"""Tokens for one pass in GraphQL: what their holders may do, and when they end."""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import jwt
import pytest

from app import auth
from app.clock import FixedClock, SystemClock
from app.commands.passes.merges import merge_passes
from app.commands.points.transfers import transfer_points
from app.commands.rules.rules import create_rule
from app.commands.segments import update_segment
from app.commands.tiers import set_tier_program
from app.domain.pass_tokens import PassToken, PassTokenScope, TokenKey
from app.graphql.types.ids import to_global_id
from app.store import cache
from app.store.operations.restored import Restoration
from app.tokens import read_token, sign_token
from tests.business import Business, create_business, purchases
from tests.commands.rewards.shop import create, give_points
from tests.graphql.protocol.test_sse import read_events
from tests.graphql.serving import Api, list_codes, run_api
from tests.patience import PATIENCE_SECONDS

CREATE = """mutation ($input: CreatePassTokenInput!) { createPassToken(input: $input) {
  token expiresAt userErrors { code field } } }"""
REVOKE = "mutation ($id: ID!) { revokePassTokens(input: {passId: $id}) { pass { externalId } userErrors { code } } }"
RECORD = """mutation ($input: RecordEventInput!) { recordEvent(input: $input) {
  status userErrors { code field } event { id type externalId metadata label occurredAt points } } }"""
REDEEM = """mutation ($input: RedeemRewardInput!) { redeemReward(input: $input) {
  redemption { id status event { externalId } } userErrors { code field } } }"""
STREAM = """subscription ($after: String) { activity(after: $after) { __typename
  ... on ActivityEdge { node { type data pass { externalId } } } ... on Heartbeat { cursor } } }"""
ALL = ["READ", "SUBSCRIBE", "RECORD", "REDEEM"]


@pytest.fixture(autouse=True)
def _read_everything_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the process read keys, epochs and merges at each request, so that no test waits for a cache."""
    for module, name in ((auth, "KEY_TTL_SECONDS"), (auth, "FAMILY_TTL_SECONDS"), (cache, "EPOCH_TTL_SECONDS")):
        monkeypatch.setattr(module, name, -1.0)


async def create_token(api: Api, name: str = "ann", *scopes: str, **sent: Any) -> str:
    """Make a token for a pass, with all scopes unless some are given."""
    chosen = list(scopes) or ALL
    types = {"recordTypes": ["scan", "visit"]} if "RECORD" in chosen else {}
    payload = (await api.fetch_data(CREATE, input={"passExternalId": name, "scopes": chosen, **types, **sent}))[
        "createPassToken"
    ]
    assert payload["userErrors"] == []
    return str(payload["token"])


@asynccontextmanager
async def holding(api: Api, token: str) -> AsyncIterator[None]:
    """Send requests with the token while the block runs."""
    before, api.secret = api.secret, token
    try:
        yield
    finally:
        api.secret = before


async def codes_of(api: Api, query: str, **variables: Any) -> list[str]:
    """Execute an operation, and return the codes of its errors."""
    return [error["extensions"]["code"] for error in (await api.execute(query, **variables)).get("errors", ())]


async def is_accepted(api: Api, token: str) -> bool:
    async with holding(api, token):
        return await codes_of(api, "{ pass { id } }") == []


async def test_token_reads_its_pass_and_no_other(api: Api) -> None:
    """A1-25: a front end shows one customer the history of the pass."""
    business = api.business
    await business.record({"amount": 5, "metadata": {"table": 7}}, {"pass_external_id": "bob"})
    await business.run_worker()
    ann, bob = await business.read_pass("ann"), await business.read_pass("bob")
    log = await business.read_log(pass_id=bob.id)
    foreign = [("Pass", bob.id), ("Event", str(log[1].cause["event"])), ("Activity", log[1].id)]
    async with holding(api, await create_token(api)):
        found = await api.fetch_data(
            "query ($id: ID!, $bob: ID!) {"
            " own: pass { id events { totalCount nodes { amount metadata pass { externalId } } }"
            " activity { nodes { type data } } statistics { eventCount } memberships { totalCount } points { balance } }"
            ' byId: pass(id: $id) { externalId } byName: pass(externalId: "ann") { externalId }'
            ' bob: pass(id: $bob) { id } bobByName: pass(externalId: "bob") { id } rateLimit { limit } }',
            id=ann.id,
            bob=bob.id,
        )
        assert (found["byId"], found["byName"]) == ({"externalId": "ann"}, {"externalId": "ann"})
        assert (found["bob"], found["bobByName"]) == (None, None)
        [event] = found["own"]["events"]["nodes"]
        assert event == {"amount": "5", "metadata": {"table": 7}, "pass": {"externalId": "ann"}}
        [created, bought] = found["own"]["activity"]["nodes"]
        assert (created["type"], bought["data"]["event"]["amount"]) == ("customer.created", "5")
        assert found["own"]["statistics"]["eventCount"] == 1
        assert found["rateLimit"]["limit"] == business.ctx.resources.settings.budget_points // 10
        for kind, database_id in foreign:
            query = "query ($id: ID!) { node(id: $id) { id } nodes(ids: [$id]) { id } }"
            assert await api.fetch_data(query, id=to_global_id(kind, database_id)) == {"node": None, "nodes": [None]}
        assert (await api.fetch_data("query ($id: ID!) { event(id: $id) { id } }", id=foreign[1][1]))["event"] is None
        own = await business.read_log(pass_id=ann.id)
        for kind, database_id in (("Pass", ann.id), ("Event", str(own[1].cause["event"])), ("Activity", own[1].id)):
            global_id = to_global_id(kind, database_id)
            assert (await api.fetch_data("query ($id: ID!) { node(id: $id) { id } }", id=global_id))["node"] == {
                "id": global_id
            }


FORBIDDEN: list[tuple[str, list[object]]] = [
    ("{ passes { totalCount } }", ["passes"]),
    ("{ segments { totalCount } }", ["segments"]),
    ('{ segment(key: "vip") { id } }', ["segment"]),
    ("{ events { totalCount } }", ["events"]),
    ("{ activity { totalCount } }", ["activity"]),
    ("{ viewer { workspace { name } } }", ["viewer"]),
    ("{ apiKeys { totalCount } }", ["apiKeys"]),
    ("{ rewards { totalCount } }", ["rewards"]),
    ('{ explainMembership(segmentKey: "vip") { text } }', ["explainMembership"]),
    ("{ pass { metadata } }", ["pass", "metadata"]),
    ("{ pass { fieldProblems { message } } }", ["pass", "fieldProblems"]),
    ("{ pass { events { nodes { origin { channel } } } } }", ["pass", "events", "nodes", 0, "origin"]),
    ("{ pass { events { nodes { effects { id } } } } }", ["pass", "events", "nodes", 0, "effects"]),
    ("{ pass { activity { nodes { cause { kind } } } } }", ["pass", "activity", "nodes", 0, "cause"]),
    ("{ pass { rewards { reward { criteria { list } } } } }", ["pass", "rewards", 0, "reward", "criteria"]),
    ("{ pass { activity(filter: {includeSilent: true}) { totalCount } } }", ["pass", "activity"]),
    ("{ pass { events(filter: {sources: [\"api\"]}) { totalCount } } }", ["pass", "events"]),
    ("{ pass(consistency: STRONG) { id } }", ["pass"]),
    ("mutation { createPass(input: {externalId: \"x\"}) { pass { id } } }", ["createPass"]),
    ("mutation { recordEvents(input: {events: []}) { created } }", ["recordEvents"]),
    ("mutation { recordPurchase(input: {amount: 5}) { status } }", ["recordPurchase"]),
    ("mutation { revokePassTokens(input: {passId: \"x\"}) { pass { id } } }", ["revokePassTokens"]),
    ("mutation { createPassToken(input: {scopes: [READ]}) { token } }", ["createPassToken"]),
]  # fmt: skip
"""Operations that no token may run, and the path at which they are refused."""


async def test_everything_else_is_forbidden_with_its_path(api: Api) -> None:
    await api.business.record({})
    await create(api.business)
    await api.business.run_worker()
    async with holding(api, await create_token(api)):
        for query, path in FORBIDDEN:
            error, *_ = (await api.execute(query))["errors"]
            assert (error["extensions"]["code"], error["path"]) == ("FORBIDDEN", path), (query, error)


async def test_segments_are_seen_where_they_allow_it(api: Api) -> None:
    """Neither memberships nor activities tell of the others, and of a visible one only id, key and name are told."""
    business = api.business
    shown = await business.create_segment("buyers", purchases(1), visible_to_passes=True)
    hidden = await business.create_segment("loyal", purchases(1))
    await business.record({})
    await business.run_worker()
    silent = await business.create_segment("silent", purchases(1), visible_to_passes=True)
    ann = await business.read_pass()
    query = """{ pass { memberships { totalCount nodes { id segment { id key name } } }
      activity(filter: {types: ["customer.segment.entered"]}) { totalCount nodes { id data } } } }"""
    async with holding(api, await create_token(api)):
        found = (await api.fetch_data(query))["pass"]
        membership, later = sorted(found["memberships"]["nodes"], key=lambda each: str(each["segment"]["key"]))
        segment = {"id": to_global_id("Segment", shown.id), "key": "buyers", "name": "buyers"}
        assert (membership["segment"], later["segment"]["key"]) == (segment, "silent")
        assert found["memberships"]["totalCount"] == 2
        [entry] = found["activity"]["nodes"]
        assert entry["data"]["segment"] == {"id": shown.id, "key": "buyers", "name": "buyers"}
        assert entry["data"].keys().isdisjoint({"before", "after", "silent"})
        assert found["activity"]["totalCount"] == 1
        log = {each.segment_id: each for each in await business.read_log(include_silent=True)}
        assert log[silent.id].silent
        unseen = [
            ("Membership", f"{ann.id}.{hidden.id}"),
            ("Activity", log[hidden.id].id),
            ("Activity", log[silent.id].id),
            ("Segment", shown.id),
        ]
        for kind, database_id in unseen:
            node = await api.fetch_data("query ($id: ID!) { node(id: $id) { id } }", id=to_global_id(kind, database_id))
            assert node["node"] is None, kind
        assert (await api.fetch_data("query ($id: ID!) { node(id: $id) { id } }", id=membership["id"]))["node"]
        for field in ("segment { criteria { list } }", "until", "cause { kind }", "explanation { text }"):
            query = f"{{ pass {{ memberships(first: 1) {{ nodes {{ {field} }} }} }} }}"
            assert await codes_of(api, query) == ["FORBIDDEN"], field
    assert hidden.id not in json.dumps(found)


async def test_what_rules_and_punchcard_write_is_not_shown(api: Api) -> None:
    """Not the keys of rules, not lists of segments, not the other pass of a transfer, not the origin of anything."""
    business = api.business
    hidden = await business.create_segment("chosen", {"list": True})
    trigger = {"event": {"types": ["purchase"]}}
    lists = {"addToSegment": {"segmentId": hidden.id}}
    thanks = {"recordEvent": {"type": "thanked", "metadata": {"campaign": "secretive"}}}
    effects = [{"awardPoints": {"points": 50}}, lists, thanks]
    await create_rule(business.ctx, {"key": "generous", "name": "G", "trigger": trigger, "effects": effects})
    # The rule holds for what happens after its instant.
    business.clock.set(await business.clock.now() + timedelta(seconds=1))
    await business.record({"metadata": {"table": 7}}, {"pass_external_id": "bob"})
    await business.run_worker()
    ann, bob = await business.read_pass("ann"), await business.read_pass("bob")
    await transfer_points(business.ctx, ann.id, bob.id, 5)
    await business.run_worker()
    async with holding(api, await create_token(api)):
        found = await api.fetch_data(
            "{ pass { events { totalCount nodes { id type label metadata points externalId } }"
            " activity { totalCount nodes { id type data } } rewards { available }"
            " statistics { byType { type count } } ... @defer { pointsBalance } } }"
        )
        every_type = '{ pass { activity(filter: {types: ["customer.rule.fired"]}) { totalCount nodes { id } } } }'
        assert (await api.fetch_data(every_type))["pass"]["activity"] == {"totalCount": 0, "nodes": []}
        on_lists = '{ pass { activity(filter: {eventTypes: ["list_added"]}) { totalCount nodes { id } } } }'
        assert (await api.fetch_data(on_lists))["pass"]["activity"] == {"totalCount": 0, "nodes": []}
        deferred = json.dumps({"query": "{ pass { id ... @defer { metadata } } }"})
        parts = (await api.post(deferred, accept="application/json, multipart/mixed")).text
        assert ('"completed"' in parts, parts.count('"FORBIDDEN"')) == (True, 1), parts
        assert "customer.updated" not in [each["type"] for each in found["pass"]["activity"]["nodes"]], "of the list"
        [listed] = await business.read_log(pass_id=ann.id, types=("customer.updated",))
        listed_id = to_global_id("Activity", listed.id)
        assert (await api.fetch_data("query ($id: ID!) { node(id: $id) { id } }", id=listed_id))["node"] is None
        fired = [each for each in await business.read_log(types=("customer.rule.fired",)) if each.pass_id == ann.id]
        for kind, database_id in (("Activity", fired[0].id), ("Event", str(fired[0].cause["event"]))):
            node = await api.fetch_data("query ($id: ID!) { node(id: $id) { id } }", id=to_global_id(kind, database_id))
            assert node["node"] is None, kind
    types = [each["type"] for each in found["pass"]["events"]["nodes"]]
    assert sorted(types) == ["point_add", "points_transferred", "purchase", "thanked"]
    assert found["pass"]["events"]["totalCount"] == 4
    text = json.dumps(found)
    for secret in ("generous", "secretive", hidden.id, bob.id, "rule_fired", "list_added", "rule:"):
        assert secret not in text, secret
    assert '{"table": 7}' in text


async def test_progress_to_a_tier_names_neither_segments_nor_metadata_of_the_pass(api: Api) -> None:
    business = api.business
    hidden = await business.create_segment("chosen", purchases(9))
    rating = {"pass": {"field": "metadata.rating", "operator": "GTE", "value": 50}}
    reach = {"all": [{"segment": {"id": hidden.id}}, rating, purchases(2)]}
    program = {"tiers": [{"key": "gold", "name": "Gold", "reach": reach}], "period": {"forever": True}}
    await set_tier_program(business.ctx, program)
    await business.record({})
    await business.run_worker()
    query = '{ pass(externalId: "ann") { tierStatus { progress { nextTier remaining { measure } } } } }'
    whole = json.dumps(await api.fetch_data(query))
    assert (hidden.id in whole, "metadata.rating" in whole) == (True, True)
    async with holding(api, await create_token(api)):
        progress = (await api.fetch_data(query))["pass"]["tierStatus"]["progress"]
    assert progress == {"nextTier": "gold", "remaining": [{"measure": "COUNT of purchase"}]}


async def test_token_records_events_of_its_types_that_happen_now(api: Api) -> None:
    business = api.business
    await business.create_passes("ann", "bob")
    ann, bob = await business.read_pass("ann"), await business.read_pass("bob")
    now = await business.clock.now()
    async with holding(api, await create_token(api)):
        sent = {"type": "scan", "metadata": {"gate": 3}, "externalId": "s-1", "label": "Scan at home"}
        first = (await api.fetch_data(RECORD, input=sent))["recordEvent"]
        assert (first["status"], first["userErrors"]) == ("CREATED", [])
        shown = first["event"]
        assert (shown["externalId"], shown["metadata"], shown["label"]) == ("s-1", {"gate": 3}, "Scan at home")
        again = (await api.fetch_data(RECORD, input={**sent, "passId": ann.id}))["recordEvent"]
        assert (again["status"], again["event"]["id"]) == ("DUPLICATE", shown["id"])
        for length, expected in ((225, "CREATED"), (226, "REJECTED")):
            long = (await api.fetch_data(RECORD, input={"type": "visit", "externalId": "x" * length}))["recordEvent"]
            assert long["status"] == expected, length
        other = (await api.fetch_data(RECORD, input={**sent, "label": "Another"}))["recordEvent"]
        assert other["status"] == "CONFLICT"
        for name, value in {
            "passId": bob.id, "passExternalId": "ann", "amount": "5", "points": "5", "currency": "EUR", "category": "CUSTOM",
            "occurredAt": "2020-01-01T00:00:00Z", "source": "till", "correctionOf": shown["id"], "staff": "Mia",
            "fieldName": "size", "newValue": "L", "oldValue": "M", "pointsExpireAfterDays": 5, "guard": {"minBalance": "0"},
            "idempotencyKey": "k", "wait": "FOLDED",
        }.items():  # fmt: skip
            error = await api.fetch_error(RECORD, input={"type": "scan", name: value})
            found = error["extensions"]["code"], error["extensions"]["field"], error["path"]
            assert found == ("FORBIDDEN", ["input", name], ["recordEvent"]), error
        error = await api.fetch_error(RECORD, input={"type": "purchase"})
        assert (error["extensions"]["code"], error["extensions"]["field"]) == ("FORBIDDEN", ["input", "type"])
    async with holding(api, await create_token(api, "bob")):
        # Ids of events belong to the pass: another customer neither takes them nor learns of them.
        assert (await api.fetch_data(RECORD, input=sent))["recordEvent"]["status"] == "CREATED"
    query = "{ events { nodes { source externalId occurredAt origin { channel } pass { externalId } } } }"
    nodes = (await api.fetch_data(query))["events"]["nodes"]
    assert {(node["origin"]["channel"], node["source"]) for node in nodes} == {("PASS", "pass")}
    assert {node["pass"]["externalId"]: node["externalId"] for node in nodes if len(node["externalId"]) < 99} == {
        "ann": f"{ann.id}:s-1",
        "bob": f"{bob.id}:s-1",
    }
    assert all(node["occurredAt"].startswith(now.isoformat()[:19]) for node in nodes)


async def test_token_redeems_for_its_pass_only(api: Api) -> None:
    business = api.business
    await create(business)
    await give_points(business, 250, "ann", "bob")
    bob = await business.read_pass("bob")
    async with holding(api, await create_token(api)):
        sent = {"rewardKey": "coffee", "externalId": "r-1", "waitSeconds": 0}
        first = (await api.fetch_data(REDEEM, input=sent))["redeemReward"]
        assert (first["userErrors"], first["redemption"]["event"]["externalId"]) == ([], "r-1")
        await business.run_worker()
        again = (await api.fetch_data(REDEEM, input={**sent, "waitSeconds": 5}))["redeemReward"]["redemption"]
        assert (again["status"], again["id"]) == ("SUCCEEDED", first["redemption"]["id"])
        error = await api.fetch_error(REDEEM, input={**sent, "passId": bob.id})
        assert (error["extensions"]["code"], error["extensions"]["field"]) == ("FORBIDDEN", ["input", "passId"])
        own = (await api.fetch_data("{ pass { pointsBalance redemptions { nodes { id code } } } }"))["pass"]
        assert (own["pointsBalance"], len(own["redemptions"]["nodes"])) == ("150", 1)
    assert ((await business.read_pass("bob")).points) == 250


async def test_repeat_after_a_merge_finds_what_a_token_of_the_merged_pass_recorded(api: Api) -> None:
    business = api.business
    await create(business)
    await give_points(business, 150, "ann", "old")
    event, redemption = {"type": "scan", "externalId": "s-1"}, {"rewardKey": "coffee", "externalId": "r-1"}
    async with holding(api, await create_token(api, "old")):
        first = await api.fetch_data(RECORD, input=event)
        redeemed = await api.fetch_data(REDEEM, input={**redemption, "waitSeconds": 0})
    await business.run_worker()
    ann, old = await business.read_pass("ann"), await business.read_pass("old")
    await merge_passes(business.ctx, ann.id, old.id)
    await business.run_worker()
    async with holding(api, await create_token(api, "ann")):
        again = await api.fetch_data(RECORD, input=event)
        assert again["recordEvent"]["status"] == "DUPLICATE"
        assert again["recordEvent"]["event"]["id"] == first["recordEvent"]["event"]["id"]
        repeated = await api.fetch_data(REDEEM, input={**redemption, "waitSeconds": 5})
        assert repeated["redeemReward"]["redemption"]["id"] == redeemed["redeemReward"]["redemption"]["id"]
    assert (await business.read_pass("ann")).points == 200


async def test_token_sends_no_files(api: Api) -> None:
    """A file is stored before the operation is decoded, so holders of tokens would fill the disk."""
    await api.business.create_passes("ann")
    async with holding(api, await create_token(api)):
        headers = {**api.headers, "graphql-require-preflight": "1"}
        response = await api.http.post(api.url, files={"0": b"x"}, headers=headers)
        assert [each["extensions"]["code"] for each in response.json()["errors"]] == ["FORBIDDEN"]


async def test_each_scope_allows_its_operations_only(api: Api) -> None:
    await api.business.create_passes("ann")
    operations = {
        "READ": ("{ pass { id } }", {}),
        "RECORD": (RECORD, {"input": {"type": "scan"}}),
        "REDEEM": (REDEEM, {"input": {"rewardKey": "none"}}),
    }
    for scope in ALL:
        async with holding(api, await create_token(api, "ann", scope)):
            for needed, (query, variables) in operations.items():
                assert await codes_of(api, query, **variables) == ([] if needed == scope else ["FORBIDDEN"]), (
                    scope,
                    needed,
                )
            async with api.open_socket() as socket:
                await socket.subscribe(STREAM)
                assert (await socket.receive())["type"] == ("next" if scope == "SUBSCRIBE" else "error")


async def test_stream_shows_only_the_pass_and_ends_with_a_revocation(api: Api) -> None:
    """The same over WebSocket and as server-sent events."""
    business = api.business
    ann, _ = await business.create_passes("ann", "bob")
    await business.run_worker()
    token = await create_token(api)
    async with holding(api, token), api.open_socket() as socket:
        headers = {**api.headers, "accept": "text/event-stream"}
        async with api.http.stream("POST", api.url, json={"query": STREAM}, headers=headers) as response:
            await read_events(response, 1)
            await socket.subscribe(STREAM)
            await socket.receive_data()
            await business.record({"pass_external_id": "bob"}, {})
            await business.run_worker()
            while (message := (await socket.receive_data())["activity"])["__typename"] != "ActivityEdge":
                pass
            assert (message["node"]["pass"], message["node"]["type"]) == (
                {"externalId": "ann"},
                "customer.custom_event",
            )
            await socket.subscribe('subscription { jobProgress(id: "x") { id } }', id="2")
            while (refused := await socket.receive())["id"] != "2":
                pass
            assert refused["payload"][0]["extensions"]["code"] == "FORBIDDEN"
    admin_revoked = await api.fetch_data(REVOKE, id=ann.id)
    assert admin_revoked["revokePassTokens"] == {"pass": {"externalId": "ann"}, "userErrors": []}
    assert not await is_accepted(api, token)


async def test_stream_shows_entries_into_segments_while_they_are_visible(api: Api) -> None:
    business = api.business
    await business.create_segment("first", purchases(1), visible_to_passes=True)
    second = await business.create_segment("second", purchases(2), visible_to_passes=True)
    await business.create_segment("hidden", purchases(1))
    await business.create_passes("ann")
    await business.run_worker()
    async with holding(api, await create_token(api)), api.open_socket() as socket:
        await socket.subscribe(STREAM)
        for visible in (True, False, False):
            await update_segment(business.ctx, second.id, visible_to_passes=visible)
            await business.record({})
            await business.run_worker()
        seen: list[str] = []
        while seen.count("customer.custom_event") < 3:
            message = (await socket.receive_data())["activity"]
            if message["__typename"] == "ActivityEdge":
                node = message["node"]
                seen.append(node["data"]["segment"]["key"] if "segment" in node["data"] else node["type"])
    assert seen == ["customer.custom_event", "first", "customer.custom_event", "customer.custom_event"]


async def test_open_streams_end_with_a_revocation(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """The epoch of tokens alone makes the process read the revocation."""
    monkeypatch.setattr(auth, "FAMILY_TTL_SECONDS", 3_600.0)
    [ann] = await api.business.create_passes("ann")
    token, admin = await create_token(api), api.secret
    async with holding(api, token), api.open_socket() as socket:
        await socket.subscribe(STREAM)
        await socket.receive_data()
        async with holding(api, admin):
            await api.fetch_data(REVOKE, id=ann.id)
        while "errors" not in (message := (await socket.receive())["payload"]):
            pass
        assert message["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED"


async def test_signature_is_checked_once_and_the_expiry_at_each_request(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked: list[str] = []

    def read(text: str, key: TokenKey, now: datetime) -> PassToken | None:
        checked.append(text)
        return read_token(text, key, now)

    monkeypatch.setattr(auth, "read_token", read)
    await api.business.create_passes("ann")
    token = await create_token(api)
    assert [await is_accepted(api, token) for _ in range(3)] == [True, True, True]
    assert checked == [token]
    later = FixedClock(await SystemClock().now() + timedelta(seconds=3_600))
    monkeypatch.setattr(auth, "SystemClock", lambda: later)
    assert not await is_accepted(api, token)


async def test_after_a_merge_the_survivor_answers_and_revoking_either_ends_both(api: Api) -> None:
    business = api.business
    await business.record({"type": "scan"}, {"type": "scan", "pass_external_id": "old"})
    await business.run_worker()
    ann, old = await business.read_pass("ann"), await business.read_pass("old")
    revoked = await create_token(api, "old")
    await api.fetch_data(REVOKE, id=old.id)
    tokens = [await create_token(api, "ann"), await create_token(api, "old")]
    merge = "mutation ($a: ID!, $b: ID!) { mergePasses(input: {survivorId: $a, mergedId: $b}) { userErrors { code } } }"
    await api.fetch_data(merge, a=ann.id, b=old.id)
    await business.run_worker()
    # A revocation before the merge still holds, and ends no token that was made after it.
    assert not await is_accepted(api, revoked)
    for token in tokens:
        async with holding(api, token):
            found = await api.fetch_data("{ pass { externalId events { totalCount } activity { totalCount } } }")
            assert (found["pass"]["externalId"], found["pass"]["events"]["totalCount"]) == ("ann", 2)
    await api.fetch_data(REVOKE, id=old.id)
    assert [await is_accepted(api, token) for token in tokens] == [False, False]


async def test_stream_of_a_merged_pass_ends_and_the_client_follows_the_survivor(api: Api) -> None:
    business = api.business
    ann, old = await business.create_passes("ann", "old")
    await business.run_worker()
    async with holding(api, await create_token(api, "old")), api.open_socket() as socket:
        await socket.subscribe(STREAM)
        cursor = (await socket.receive_data())["activity"]["cursor"]
        await merge_passes(business.ctx, ann.id, old.id)
        await business.record({"type": "scan"})
        await business.run_worker()
        while "errors" not in (message := (await socket.receive())["payload"]):
            pass
        assert message["errors"][0]["extensions"]["code"] == "UNAVAILABLE"
        await socket.receive()
        await socket.subscribe(STREAM, id="2", after=cursor)
        found = [(await socket.receive_data())["activity"] for _ in range(3)]
        assert {"customer.deleted", "customer.custom_event"} <= {each.get("node", {}).get("type") for each in found}


async def test_restored_backup_ends_all_tokens(api: Api) -> None:
    """The backup lacks later revocations."""
    await api.business.create_passes("ann")
    token = await create_token(api)
    resources = api.business.ctx.resources
    await Restoration(resources.db, resources.in_chunk).begin_epoch(await api.business.clock.now())
    assert not await is_accepted(api, token)
    assert await is_accepted(api, await create_token(api))


async def test_erasure_ends_the_tokens_of_the_pass(api: Api) -> None:
    [ann] = await api.business.create_passes("ann")
    token = await create_token(api)
    assert await is_accepted(api, token)
    await api.fetch_data("mutation ($id: ID!) { erasePass(input: {id: $id}) { userErrors { code } } }", id=ann.id)
    await api.business.run_worker()
    assert not await is_accepted(api, token)


async def test_rotation_of_the_key_ends_tokens_after_its_grace_period(api: Api) -> None:
    rotate = """mutation ($seconds: Int!) { rotatePassTokenKey(input: {graceSeconds: $seconds}) {
      formerEndAt userErrors { code field } } }"""
    await api.business.create_passes("ann")
    first = await create_token(api)
    assert (await api.fetch_data(rotate, seconds=86_400))["rotatePassTokenKey"]["userErrors"] == []
    second = await create_token(api)
    kids = [jwt.get_unverified_header(each)["kid"] for each in (first, second)]
    assert kids[0] != kids[1]
    assert [await is_accepted(api, each) for each in (first, second)] == [True, True]
    await api.fetch_data(rotate, seconds=0)
    assert [await is_accepted(api, each) for each in (first, second)] == [False, False]
    assert await is_accepted(api, await create_token(api))
    assert list_codes((await api.fetch_data(rotate, seconds=-1))["rotatePassTokenKey"]["userErrors"]) == [
        ("OUT_OF_RANGE", ["graceSeconds"])
    ]
    api.secret = await api.create_key("read", "write", "subscribe")
    assert await codes_of(api, rotate, seconds=0) == ["FORBIDDEN"]


async def test_forged_and_expired_tokens_are_refused(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    business = api.business
    ann, _ = await business.create_passes("ann", "bob")
    good = await create_token(api)
    key = await business.ctx.workspace.token_keys.newest()
    assert key is not None
    now = await SystemClock().now()
    token = PassToken(ann.id, frozenset({PassTokenScope.READ}), frozenset(), 10**6, now + timedelta(hours=1))
    assert await is_accepted(api, sign_token(token, key))
    stranger = await create_business(business.ctx.resources, business.clock, "Other")
    foreign_key = TokenKey("tk_foreign", stranger.ctx.workspace.id, b"x" * 32, now)
    await stranger.ctx.workspace.token_keys.insert(foreign_key)
    header, payload, signature = good.split(".")
    claims = jwt.decode(good, options={"verify_signature": False})
    headers = {"kid": key.id}

    def part(value: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    public = b"-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA\n-----END PUBLIC KEY-----\n"
    forged = {
        "expired": sign_token(replace(token, expires_at=now), key),
        "of a pass that does not exist": sign_token(replace(token, pass_id="pass_none"), key),
        "of another workspace's key": sign_token(token, foreign_key),
        "under an unknown kid": sign_token(token, replace(key, id="tk_none")),
        "with another secret": sign_token(token, replace(key, secret=b"y" * 32)),
        "with another workspace's secret": sign_token(token, replace(foreign_key, id=key.id)),
        "with other claims": f"{header}.{part({**claims, 'sub': 'pass_1'})}.{signature}",
        "without a signature": f"{header}.{payload}.",
        "with alg none": f"{part({'alg': 'none', 'typ': 'JWT', 'kid': key.id})}.{payload}.",
        "with alg none and a signature": f"{part({'alg': 'None', 'kid': key.id})}.{payload}.{signature}",
        "with HS512": jwt.encode(claims, key.secret * 2, "HS512", headers=headers),
        "signed with a public key": f"{part({'alg': 'HS256', 'kid': key.id})}.{payload}."
        + jwt.encode({}, b"x" * 32, "HS256").split(".")[2],
        "with a kid that is no text": f"{part({'alg': 'HS256', 'kid': {'$ne': ''}})}.{payload}.{signature}",
        "with a kid of half a surrogate pair": f"{part({'alg': 'HS256', 'kid': chr(0xD800)})}.{payload}.{signature}",
        "without claims": jwt.encode({}, key.secret, "HS256", headers=headers),
        "with claims of other kinds": jwt.encode({**claims, "sub": 5}, key.secret, "HS256", headers=headers),
        "without kid": jwt.encode(claims, key.secret, "HS256"),
        "of 10 kB": f"{header}.{payload}{'A' * 10_000}.{signature}",
        "that is no token": "a.b.c",
    }
    assert public not in (key.secret, foreign_key.secret)
    with caplog.at_level(logging.DEBUG):
        for what, text in forged.items():
            async with holding(api, text):
                response = await api.post(json.dumps({"query": "{ pass { id } }"}))
            assert response.status_code == 401, what
            assert response.json()["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED", what
        assert await is_accepted(api, good)
    texts = [*forged.values(), good]
    assert not [record for record in caplog.records if any(text in record.getMessage() for text in texts)]
    async with holding(api, good):
        report = api.url.replace("/graphql", "/jobs/job_1/report.csv")
        assert (await api.http.get(report, headers=api.headers)).status_code == 401


INVALID: list[tuple[dict[str, Any], tuple[str, list[str]]]] = [
    ({"expiresInSeconds": 0}, ("OUT_OF_RANGE", ["expiresInSeconds"])),
    ({"expiresInSeconds": 86_401}, ("OUT_OF_RANGE", ["expiresInSeconds"])),
    ({"scopes": []}, ("REQUIRED", ["scopes"])),
    ({"scopes": ["READ"], "recordTypes": ["scan"]}, ("INVALID", ["recordTypes"])),
    ({"scopes": ["RECORD"]}, ("REQUIRED", ["recordTypes"])),
    ({"scopes": ["RECORD"], "recordTypes": ["scan", "pass_updated"]}, ("INVALID", ["recordTypes", "1"])),
    ({"scopes": ["RECORD"], "recordTypes": ["point_add"]}, ("INVALID", ["recordTypes", "0"])),
    ({"scopes": ["RECORD"], "recordTypes": ["checkout"]}, ("INVALID", ["recordTypes", "0"])),
    ({"scopes": ["RECORD"], "recordTypes": ["scan"] * 21}, ("TOO_MANY", ["recordTypes"])),
    ({"passExternalId": "none"}, ("UNKNOWN", ["passExternalId"])),
    ({"passId": "pass_none", "passExternalId": None}, ("UNKNOWN", ["passId"])),
    ({"passExternalId": None}, ("REQUIRED", ["passId"])),
    ({"passId": "pass_none"}, ("INVALID", ["passId"])),
]
"""Inputs of createPassToken beside a pass and the scope READ, and the error that they get."""


async def test_invalid_tokens_are_not_made(api: Api) -> None:
    await api.business.create_passes("ann")
    for sent, expected in INVALID:
        made = await api.fetch_data(CREATE, input={"passExternalId": "ann", "scopes": ["READ"], **sent})
        payload = made["createPassToken"]
        assert (payload["token"], list_codes(payload["userErrors"])) == (None, [expected]), sent


async def test_key_gives_no_scope_that_it_lacks(api: Api) -> None:
    await api.business.create_passes("ann")
    for scopes, needed in ((("write",), "READ"), (("write", "read"), "SUBSCRIBE"), (("read",), "READ")):
        api.secret = await api.create_key(*scopes)
        assert await codes_of(api, CREATE, input={"passExternalId": "ann", "scopes": [needed]}) == ["FORBIDDEN"]
    api.secret = await api.create_key("write")
    assert await codes_of(api, CREATE, input={"passExternalId": "ann", "scopes": ["REDEEM"]}) == []


async def test_tokens_and_revocations_are_audited(api: Api) -> None:
    [ann] = await api.business.create_passes("ann")
    token = await create_token(api, "ann", "READ", "SUBSCRIBE")
    await api.fetch_data(REVOKE, id=ann.id)
    log = (await api.fetch_data("{ auditLog { nodes { action details } } }"))["auditLog"]["nodes"]
    assert [(each["action"], each["details"]) for each in log[:2]] == [
        ("revokePassTokens", {}),
        ("createPassToken", {"scopes": "READ SUBSCRIBE"}),
    ]
    assert token not in json.dumps(log)


async def test_one_customer_cannot_use_up_the_workspace(business: Business) -> None:
    """Tokens of one pass share a tenth of the budget of a key, and of its streams."""
    small = {"budget_points": 1_000, "budget_per_second": 1, "max_subscriptions_per_key": 10}
    settings = replace(business.ctx.resources.settings, **small)  # type: ignore[arg-type]
    limited = replace(business.ctx.resources, settings=settings)
    business.ctx = replace(business.ctx, resources=limited)
    async with run_api(business, heartbeat_seconds=PATIENCE_SECONDS) as api:
        await business.create_passes("ann", "bob")
        first, second, bob = await create_token(api), await create_token(api), await create_token(api, "bob")
        async with holding(api, first), api.open_socket() as socket:
            await socket.subscribe(STREAM, id="1")
            await socket.receive_data()
            await socket.subscribe(STREAM, id="2")
            assert (await socket.receive())["payload"][0]["extensions"]["code"] == "THROTTLED"
        async with holding(api, second):
            too_much = await api.fetch_error("{ pass { events(first: 200) { nodes { id } } } }")
            assert (too_much["extensions"]["code"], too_much["extensions"]["most"]) == ("LIMIT_EXCEEDED", 100)
            for _ in range(100):
                if await codes_of(api, "{ pass { id } }"):
                    break
            assert await codes_of(api, "{ pass { id } }") == ["THROTTLED"]
        assert await is_accepted(api, bob)
        assert await codes_of(api, "{ passes { totalCount } }") == []
