"""Webhook endpoints at the edge: made, tried, changed, followed, replayed and deleted (checklist 2.10, 2.11 and 3.4).

What is delivered, and when, is in `tests/workers/stages/test_deliver.py`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from app.clock import FixedClock, system_ms
from app.commands.passes.merges import merge_passes
from app.commands.passes.removals import erase_pass
from app.commands.webhooks import endpoints as commands
from app.commands.webhooks.replays import Replay, replay_webhook_deliveries
from app.domain.activities import ActivityQuery
from app.domain.errors import Refused
from app.domain.jobs import JobStatus
from app.domain.signatures import Verification, verify_signature
from app.domain.values.cursors import activity_cursor
from app.graphql.types.ids import from_global_id
from app.resources import Resources
from app.store.workspace.webhooks import WebhookQueries
from tests.business import Business, open_business, purchases
from tests.graphql.jobs.test_import_urls import allowing
from tests.graphql.serving import Api, codes, serving
from tests.receiver import Receiver, receiving
from tests.workers.jobs.test_imports import finished
from workers.stages.deliver import run_endpoint

ERRORS = "userErrors { code message field }"
FILTER = """types category includeSilent includeHistorical occurredAfter occurredBefore pass { externalId }
  segments { key }"""
ENDPOINT = f"""id url description status reason cursor behind awaySince pendingCount failedCount createdAt updatedAt
  filter {{ {FILTER} }}"""
CREATE = f"""mutation Create($input: CreateWebhookEndpointInput!) {{
  createWebhookEndpoint(input: $input) {{ endpoint {{ {ENDPOINT} }} secret {ERRORS} }} }}"""
UPDATE = f"""mutation Update($input: UpdateWebhookEndpointInput!) {{
  updateWebhookEndpoint(input: $input) {{ endpoint {{ {ENDPOINT} }} {ERRORS} }} }}"""
ROTATE = f"""mutation Rotate($input: RotateWebhookSecretInput!) {{
  rotateWebhookSecret(input: $input) {{ endpoint {{ id }} secret {ERRORS} }} }}"""
DELETE = f"mutation Delete($id: ID!) {{ deleteWebhookEndpoint(input: {{id: $id}}) {{ deletedId {ERRORS} }} }}"
TEST = f"""mutation Test($id: ID!) {{
  testWebhookEndpoint(input: {{id: $id}}) {{ succeeded statusCode durationMs error {ERRORS} }} }}"""
REPLAY = f"""mutation Replay($input: ReplayWebhookDeliveriesInput!) {{
  replayWebhookDeliveries(input: $input) {{ count job {{ id kind }} {ERRORS} }} }}"""
DELIVERY = """id messageId type cursor status tries nextAttemptAt attempts { statusCode error durationMs attemptedAt }
  endpoint { id } activity { id type }"""
DELIVERIES = f"""query Deliveries($filter: WebhookDeliveryFilter!, $first: Int, $after: String) {{
  webhookDeliveries(filter: $filter, first: $first, after: $after) {{
    totalCount nodes {{ {DELIVERY} }} pageInfo {{ hasNextPage endCursor }} }} }}"""


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """A receiver on this machine."""
    async with receiving() as found:
        yield found


@pytest.fixture
async def business(resources: Resources, clock: FixedClock) -> Business:
    """A workspace whose installation sends to this machine too, with two activities of one purchase."""
    settings = replace(resources.settings, egress_allow=("127.0.0.1",))
    business = await open_business(replace(resources, settings=settings), clock)
    await business.record({"external_id": "1"})
    await business.settle()
    return business


@pytest.fixture
async def api(business: Business) -> AsyncIterator[Api]:
    async with serving(business) as running:
        yield running


async def changed(api: Api, mutation: str, **variables: Any) -> dict[str, Any]:
    """The payload of a mutation that must not refuse."""
    [payload] = (await api.data(mutation, **variables)).values()
    assert payload["userErrors"] == [], payload
    found: dict[str, Any] = payload
    return found


def raw(id: str) -> str:  # noqa: A002  # the API's word
    """The database id in a global id."""
    named = from_global_id(id)
    assert named is not None
    return named[1]


async def refused(api: Api, mutation: str, **variables: Any) -> list[tuple[str, list[str] | None]]:
    """(code, field) of what a mutation refuses."""
    [payload] = (await api.data(mutation, **variables)).values()
    return codes(payload["userErrors"])


async def test_an_endpoint_is_told_from_now_on_of_what_is_neither_silent_nor_history_unless_asked(
    api: Api, receiver: Receiver
) -> None:
    made = await changed(api, CREATE, input={"url": receiver.url})
    assert made["secret"].startswith("whsec_")
    end = activity_cursor(await api.business.ctx.workspace.activities.last_pos())
    plain = made["endpoint"]
    assert {name: plain[name] for name in ("url", "description", "status", "reason", "cursor", "behind")} == {
        "url": receiver.url, "description": None, "status": "ENABLED", "reason": None, "cursor": end, "behind": 0,
    }  # fmt: skip
    assert (plain["awaySince"], plain["pendingCount"], plain["failedCount"]) == (None, 0, 0)
    assert plain["filter"] == {
        "types": [], "category": None, "includeSilent": False, "includeHistorical": False, "occurredAfter": None,
        "occurredBefore": None, "pass": None, "segments": [],
    }  # fmt: skip
    segment = await api.business.segment("buyers", purchases(1))
    card = await api.business.card()
    given = {
        "types": ["customer.segment.entered"], "category": "EFFECT", "includeSilent": True, "includeHistorical": True,
        "occurredAfter": "2026-01-01T00:00:00.000Z", "occurredBefore": "2027-01-01T00:00:00.000Z",
    }  # fmt: skip
    asked = {
        "url": f"{receiver.url}/two", "description": "Till", "after": activity_cursor(1),
        "filter": {**given, "passId": card.id, "segmentIds": [segment.id]},
    }  # fmt: skip
    full = (await changed(api, CREATE, input=asked))["endpoint"]
    assert full["filter"] == {**given, "pass": {"externalId": "ann"}, "segments": [{"key": "buyers"}]}
    assert (full["description"], full["cursor"]) == ("Till", activity_cursor(1))
    assert full["behind"] == await api.business.ctx.workspace.activities.last_pos() - 1

    listed = (await api.data(f"{{ webhookEndpoints {{ totalCount nodes {{ {ENDPOINT} }} }} }}"))["webhookEndpoints"]
    # Meanwhile ann entered a segment.
    assert listed == {"totalCount": 2, "nodes": [full, {**plain, "behind": 1}]}
    found = await api.data(
        f"query ($id: ID!) {{ webhookEndpoint(id: $id) {{ {ENDPOINT} }} node(id: $id) {{ __typename id }} }}",
        id=full["id"],
    )
    assert found == {"webhookEndpoint": full, "node": {"__typename": "WebhookEndpoint", "id": full["id"]}}


NOWHERE = (
    "", "hooks", "ftp://example.com/", "http://example.com/", "https://", "https://10.0.0.1/", "https://[::1]/",
    "https://169.254.169.254/latest", "https://ann:secret@example.com/", "https://example.com:port/",
    "https://example.com/a b", "https://example.com/#\ud800", "https://example.com/" + "a" * 2_048,
)  # fmt: skip


async def test_a_url_that_surely_leads_nowhere_is_refused(business: Business) -> None:
    for url in NOWHERE:
        with pytest.raises(Refused) as caught:
            await commands.create_webhook_endpoint(business.ctx, url)
        assert [problem.field for problem in caught.value.problems] == [("url",)], url


async def test_what_cannot_be_used_is_refused_with_its_place(
    api: Api, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = receiver.url
    for given, expected in (
        ({"filter": {"passId": "pass_none"}}, ("UNKNOWN", ["filter", "passId"])),
        ({"filter": {"segmentIds": ["seg_none"]}}, ("UNKNOWN", ["filter", "segmentIds"])),
        ({"filter": {"segmentIds": ["?"]}}, ("UNKNOWN", ["filter"])),
        ({"filter": {"types": [""]}}, ("INVALID", ["filter", "types", "0"])),
        ({"after": "x"}, ("INVALID", ["after"])),
        ({"after": activity_cursor(1_000)}, ("OUT_OF_RANGE", ["after"])),
        ({"description": " "}, ("INVALID", ["description"])),
    ):
        assert await refused(api, CREATE, input={"url": url, **given}) == [expected]
    made = (await changed(api, CREATE, input={"url": url}))["endpoint"]["id"]
    monkeypatch.setattr(commands, "MAX_ENDPOINTS", 1)
    assert await refused(api, CREATE, input={"url": url}) == [("LIMIT", None)]
    assert await refused(api, UPDATE, input={"id": made, "url": "https://10.0.0.1/"}) == [("INVALID", ["url"])]
    assert await refused(api, ROTATE, input={"id": made, "graceSeconds": -1}) == [("OUT_OF_RANGE", ["graceSeconds"])]
    unsent = {"endpointId": made, "filter": {"before": "x"}}
    assert await refused(api, REPLAY, input=unsent) == [("INVALID", ["filter", "before"])]
    for mutation, variables in (
        (UPDATE, {"input": {"id": "wh_none"}}),
        (ROTATE, {"input": {"id": "wh_none"}}),
        (DELETE, {"id": "wh_none"}),
        (TEST, {"id": "wh_none"}),
    ):
        assert await refused(api, mutation, **variables) == [("UNKNOWN", ["id"])]
    assert await refused(api, REPLAY, input={"endpointId": "wh_none"}) == [("UNKNOWN", ["endpointId"])]

    async def changed_meanwhile(*_: object) -> bool:
        return False

    monkeypatch.setattr(WebhookQueries, "save", changed_meanwhile)
    assert await refused(api, UPDATE, input={"id": made, "description": "Till"}) == [("CONFLICT", ["id"])]
    assert receiver.got == []


async def test_an_endpoint_is_tried_out_with_every_secret_that_is_good(api: Api, receiver: Receiver) -> None:
    made = await changed(api, CREATE, input={"url": receiver.url})
    endpoint, first = made["endpoint"]["id"], made["secret"]
    second = (await changed(api, ROTATE, input={"id": endpoint}))["secret"]
    tried = await changed(api, TEST, id=endpoint)
    assert (tried["succeeded"], tried["statusCode"], tried["error"]) == (True, 200, None)
    assert tried["durationMs"] >= 0
    [got] = receiver.got
    assert (got.said["type"], got.said["data"]) == ("webhook.test", {"endpointId": raw(endpoint)})
    assert len(got.headers["webhook-signature"].split(" ")) == 2
    for secret in (first, second):
        assert verify_signature(Verification(), [secret], got.headers, got.body) is not None
    third = (await changed(api, ROTATE, input={"id": endpoint, "graceSeconds": 0}))["secret"]
    await changed(api, UPDATE, input={"id": endpoint, "status": "DISABLED"})
    receiver.answers = lambda got: (302, {"location": "https://example.com/"})
    moved = await changed(api, TEST, id=endpoint)
    assert (moved["succeeded"], moved["statusCode"]) == (False, 302)
    assert "redirect" in moved["error"]
    # A secret that was replaced without grace signs nothing any more.
    last = receiver.got[-1]
    assert [verify_signature(Verification(), [each], last.headers, last.body) is not None for each in (first, second, third)] == [
        False, False, True,
    ]  # fmt: skip
    async with serving(allowing(api.business, egress_allow=())) as strict:
        shut = await changed(strict, TEST, id=endpoint)
    assert (shut["succeeded"], shut["statusCode"]) == (False, None)
    assert "not one that this installation connects to" in shut["error"]
    assert len(receiver.got) == 2


async def test_an_endpoint_is_changed_disabled_enabled_and_deleted_and_the_log_tells_who_did_it(
    api: Api, receiver: Receiver
) -> None:
    made = (await changed(api, CREATE, input={"url": receiver.url}))["endpoint"]
    asked = {"id": made["id"], "url": f"{receiver.url}&two", "description": "Till", "filter": {"category": "ACTION"}}
    first = (await changed(api, UPDATE, input=asked))["endpoint"]
    assert (first["url"], first["description"], first["filter"]["category"]) == (asked["url"], "Till", "ACTION")
    assert (await changed(api, UPDATE, input=asked))["endpoint"] == first
    off = (await changed(api, UPDATE, input={"id": made["id"], "status": "DISABLED"}))["endpoint"]
    assert (off["status"], off["reason"], off["url"]) == ("DISABLED", "MANUAL", asked["url"])
    await api.business.record({"external_id": "2"})
    await api.business.settle()
    worker, named = api.business.worker, raw(made["id"])
    await run_endpoint(worker, named)
    assert receiver.got == []
    on = (await changed(api, UPDATE, input={"id": made["id"], "status": "ENABLED"}))["endpoint"]
    assert (on["status"], on["reason"], on["behind"]) == ("ENABLED", None, 1)
    await run_endpoint(worker, named)
    # What happened meanwhile is told as well.
    assert [got.said["type"] for got in receiver.got] == ["customer.custom_event"]
    job, _ = await replay_webhook_deliveries(api.business.ctx, named, Replay())
    assert job is not None
    assert (await changed(api, DELETE, id=made["id"]))["deletedId"] == made["id"]
    assert (await finished(api.business, job)).status is JobStatus.SUCCEEDED
    assert await refused(api, DELETE, id=made["id"]) == [("UNKNOWN", ["id"])]
    assert (await api.data("{ webhookEndpoints { nodes { id } } }"))["webhookEndpoints"]["nodes"] == []
    db = api.business.ctx.resources.db
    for collection in ("webhook_endpoints", "webhook_lanes", "webhook_deliveries"):
        assert await db[collection].count_documents({}) == 0
    log = (await api.data("{ auditLog { nodes { action subject } } }"))["auditLog"]["nodes"]
    assert [entry["action"] for entry in log] == [
        "deleteWebhookEndpoint", "replayWebhookDeliveries", "updateWebhookEndpoint", "updateWebhookEndpoint",
        "updateWebhookEndpoint", "createWebhookEndpoint",
    ]  # fmt: skip
    assert {entry["subject"] for entry in log} == {made["id"]}


async def test_who_died_while_making_an_endpoint_finds_it_in_order_once_its_secret_is_replaced(
    api: Api, receiver: Receiver
) -> None:
    made = (await changed(api, CREATE, input={"url": receiver.url, "after": activity_cursor(0)}))["endpoint"]
    named = raw(made["id"])
    await api.business.ctx.workspace.partitions.delete(named)
    await changed(api, ROTATE, input={"id": made["id"]})
    await run_endpoint(api.business.worker, named)
    assert receiver.ids == [activity.id for activity in await api.business.feed()]


async def test_an_endpoint_of_a_pass_is_told_of_all_that_is_one_with_it_and_nothing_personal_is_kept_of_that(
    business: Business, receiver: Receiver
) -> None:
    ctx, secret = business.ctx, "very-personal"
    await business.record({"pass_external_id": "bob", "metadata": {"note": secret}}, {"pass_external_id": "eve"})
    await business.settle()
    ann, bob, eve = [(await business.card(name)).id for name in ("ann", "bob", "eve")]
    made, _ = await commands.create_webhook_endpoint(
        ctx, receiver.url, filter=ActivityQuery(pass_id=bob, include_historical=False), after=0
    )
    await merge_passes(ctx, ann, bob)
    await business.settle()
    receiver.answers = lambda got: 200 if secret.encode() not in got.body else 500
    await run_endpoint(business.worker, made.id)
    passes = {got.said["passId"] for got in receiver.got}
    assert passes == {ann, bob}
    assert eve not in passes
    await erase_pass(ctx, pass_id=ann)
    await business.settle()
    for name in await ctx.resources.db.list_collection_names():
        assert secret not in str(await ctx.resources.db[name].find({}).to_list(None)), name
    # What waited for another try is told as it is by now.
    receiver.answers = lambda got: 200
    await run_endpoint(business.worker, made.id, lambda: system_ms() + 10_000)
    assert [secret.encode() in got.body for got in receiver.taken] == [False] * len(receiver.taken)
    # Nobody knows any more that the two were one: here as in the feed, what came last is told under the other id.
    *before, last = [activity for activity in await business.feed() if activity.pass_id in (ann, bob)]
    assert (last.pass_id, last.erases) == (ann, True)
    assert sorted(receiver.ids) == sorted(activity.id for activity in before)


async def test_a_replay_sends_exactly_what_its_dry_run_counts_and_deliveries_tell_what_became_of_it(
    api: Api, receiver: Receiver
) -> None:
    business = api.business
    await business.record(*({"pass_external_id": f"p{n}", "external_id": f"r{n}"} for n in range(4)))
    await business.settle()
    feed = await business.feed()
    events = [activity for activity in feed if activity.type == "customer.custom_event"]
    made = (await changed(api, CREATE, input={"url": receiver.url, "after": activity_cursor(0)}))["endpoint"]["id"]
    named = raw(made)
    poison, later_ms = events[-1].id, 0

    async def delivered() -> None:
        await run_endpoint(business.worker, named, lambda: system_ms() + later_ms, lambda: 0.0)

    # What was not sent yet comes by itself, and not once more by a replay.
    early, _ = await replay_webhook_deliveries(business.ctx, named, Replay())
    assert early is not None
    assert (await finished(business, early)).result["messages"] == len(feed)

    receiver.answers = lambda got: 500 if got.id == poison else 200
    for passed_ms in (0, 6_000, 400_000):
        later_ms = passed_ms
        await delivered()
    assert sorted(receiver.ids) == sorted(each.id for each in feed if each.id != poison)
    receiver.answers = lambda got: 200

    async def replayed(filter: dict[str, Any] | None) -> list[str]:  # noqa: A002  # the API's word
        asked = {"endpointId": made, "filter": filter}
        dry = await changed(api, REPLAY, input={**asked, "dryRun": True})
        assert dry["job"] is None
        before = len(receiver.taken)
        ordered = await changed(api, REPLAY, input=asked)
        assert (ordered["count"], ordered["job"]["kind"]) == (None, "REPLAY_WEBHOOKS")
        job = await business.ctx.workspace.jobs.get(raw(ordered["job"]["id"]))
        assert job is not None
        assert (await finished(business, job)).result["messages"] == dry["count"]
        await delivered()
        sent = receiver.ids[before:]
        assert len(sent) == dry["count"]
        return sorted(sent)

    aside = (await api.data(DELIVERIES, filter={"endpointId": made, "statuses": ["PENDING"]}))["webhookDeliveries"]
    [waiting] = aside["nodes"]
    assert (waiting["messageId"], waiting["tries"], aside["totalCount"]) == (poison, 4, 1)
    assert waiting["nextAttemptAt"] is not None
    told = await api.data("{ webhookEndpoints { nodes { pendingCount failedCount behind } } }")
    assert told["webhookEndpoints"]["nodes"] == [{"pendingCount": 1, "failedCount": 0, "behind": 0}]
    assert await replayed({"statuses": ["PENDING", "FAILED"]}) == [poison]
    custom, middle = ["customer.custom_event"], feed[len(feed) // 2]
    assert await replayed({"types": custom}) == sorted(each.id for each in events)
    behind = {"after": activity_cursor(middle.position), "before": activity_cursor(feed[-1].position)}
    assert await replayed(behind) == sorted(
        each.id for each in feed if middle.position < each.position < feed[-1].position
    )
    at = middle.recorded_at.isoformat()
    assert await replayed({"recordedAfter": at}) == sorted(e.id for e in feed if e.recorded_at >= middle.recorded_at)
    assert await replayed({"recordedBefore": at}) == sorted(e.id for e in feed if e.recorded_at < middle.recorded_at)
    succeeded = {"statuses": ["SUCCEEDED"], "types": custom, "recordedAfter": at}
    assert set(await replayed(succeeded)) <= {each.id for each in events if each.recorded_at >= middle.recorded_at}
    await changed(api, UPDATE, input={"id": made, "filter": {"types": ["customer.created"]}})
    assert await refused(api, REPLAY, input={"endpointId": made, "filter": {"types": custom}}) == [
        ("UNKNOWN", ["filter", "types"])
    ]
    assert await replayed({"statuses": ["PENDING", "FAILED"]}) == []

    page = (await api.data(DELIVERIES, filter={"endpointId": made}, first=3))["webhookDeliveries"]
    assert (page["totalCount"], len(page["nodes"]), page["pageInfo"]["hasNextPage"]) == (len(feed), 3, True)
    rest = await api.data(DELIVERIES, filter={"endpointId": made}, after=page["pageInfo"]["endCursor"])
    nodes = [*page["nodes"], *rest["webhookDeliveries"]["nodes"]]
    assert sorted(node["messageId"] for node in nodes) == sorted(each.id for each in feed)
    assert {node["status"] for node in nodes} == {"SUCCEEDED"}
    [one] = [node for node in nodes if node["messageId"] == poison]
    assert one["activity"]["type"] == one["type"] == "customer.custom_event"
    assert one["endpoint"]["id"] == made
    assert [attempt["statusCode"] for attempt in one["attempts"]][:5] == [500, 500, 500, 500, 200]
    assert "500" in one["attempts"][0]["error"]
    found = await api.data("query ($id: ID!) { node(id: $id) { __typename id } }", id=one["id"])
    assert found["node"] == {"__typename": "WebhookDelivery", "id": one["id"]}
    for given, expected in (
        ({"types": custom}, len(events)),
        ({"statuses": ["PENDING", "FAILED"]}, 0),
        ({"statuses": ["SUCCEEDED", "FAILED"], "recordedAfter": at}, sum(e.recorded_at >= middle.recorded_at for e in feed)),
        ({"endpointId": "wh_none"}, 0),
    ):  # fmt: skip
        asked = {"endpointId": made, **given}
        listed = (await api.data(DELIVERIES, filter=asked))["webhookDeliveries"]
        assert (listed["totalCount"], len(listed["nodes"])) == (expected, expected)
    error = await api.refusal(DELIVERIES, filter={"endpointId": made, "types": [""]})
    assert error["extensions"]["code"] == "BAD_USER_INPUT"
