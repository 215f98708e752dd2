"""Webhook endpoints in GraphQL: creation, test, update, deliveries, replay and deletion.

`tests/workers/stages/test_deliver.py` tests which messages workers deliver, and when.
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
from app.domain.activity_queries import ActivityQuery
from app.domain.errors import Refused
from app.domain.jobs import JobStatus
from app.domain.signatures import Verification, verify_signature
from app.domain.values.cursors import activity_cursor
from app.domain.values.instants import format_instant, from_ms
from app.domain.webhooks.partitions import partition_of
from app.graphql.types.ids import from_global_id
from app.resources import Resources
from app.store.workspace.webhooks import WebhookQueries
from tests.business import Business, open_business, purchases
from tests.graphql.jobs.test_import_urls import replace_settings
from tests.graphql.serving import Api, list_codes, run_api
from tests.receiver import Receiver, run_receiver
from tests.workers.jobs.test_imports import run_to_end
from workers.stages.deliver import run_endpoint

ERRORS = "userErrors { code message field }"
FILTER = """types category includeSilent includeHistorical occurredAfter occurredBefore pass { externalId }
  eventTypes sources causes metadata { path operator value }
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
    """Run a receiver on this machine."""
    async with run_receiver() as running:
        yield running


@pytest.fixture
async def business(resources: Resources, clock: FixedClock) -> Business:
    """Create a workspace with one purchase, which has two activities. Its settings allow endpoints on this machine."""
    settings = replace(resources.settings, egress_allow=("127.0.0.1",))
    business = await open_business(replace(resources, settings=settings), clock)
    await business.record({"external_id": "1"})
    await business.run_worker()
    return business


@pytest.fixture
async def api(business: Business) -> AsyncIterator[Api]:
    async with run_api(business) as running:
        yield running


async def mutate(api: Api, mutation: str, **variables: Any) -> dict[str, Any]:
    """Execute a mutation that must succeed without userErrors, and return its payload."""
    payloads: dict[str, dict[str, Any]] = await api.fetch_data(mutation, **variables)
    [payload] = payloads.values()
    assert payload["userErrors"] == [], payload
    return payload


def database_id(global_id: str) -> str:
    """Return the database id in a global id."""
    type_and_id = from_global_id(global_id)
    assert type_and_id is not None
    return type_and_id[1]


async def mutate_refused(api: Api, mutation: str, **variables: Any) -> list[tuple[str, list[str] | None]]:
    """Execute a mutation, and return (code, field) of each of its userErrors."""
    [payload] = (await api.fetch_data(mutation, **variables)).values()
    return list_codes(payload["userErrors"])


async def test_created_endpoint_has_the_given_filter_and_start_or_the_defaults(api: Api, receiver: Receiver) -> None:
    """By default an endpoint starts at the end of the log and skips silent and historical activities."""
    created = await mutate(api, CREATE, input={"url": receiver.url})
    assert created["secret"].startswith("whsec_")
    end = activity_cursor(await api.business.ctx.workspace.activities.last_pos())
    plain = created["endpoint"]
    assert {name: plain[name] for name in ("url", "description", "status", "reason", "cursor", "behind")} == {
        "url": receiver.url, "description": None, "status": "ENABLED", "reason": None, "cursor": end, "behind": 0,
    }  # fmt: skip
    assert (plain["awaySince"], plain["pendingCount"], plain["failedCount"]) == (None, 0, 0)
    assert plain["filter"] == {
        "types": [], "category": None, "includeSilent": False, "includeHistorical": False, "occurredAfter": None,
        "occurredBefore": None, "pass": None, "segments": [], "eventTypes": [], "sources": [], "causes": [], "metadata": [],
    }  # fmt: skip
    segment = await api.business.create_segment("buyers", purchases(1))
    card = await api.business.read_pass()
    filter_fields = {
        "types": ["customer.segment.entered"], "category": "EFFECT", "includeSilent": True, "includeHistorical": True,
        "occurredAfter": "2026-01-01T00:00:00.000Z", "occurredBefore": "2027-01-01T00:00:00.000Z",
        "eventTypes": ["purchase"], "sources": ["till"], "causes": ["EVENT"],
        "metadata": [{"path": "store", "operator": "IN", "value": ["north", "south"]}],
    }  # fmt: skip
    fields = {
        "url": f"{receiver.url}/two", "description": "Till", "after": activity_cursor(1),
        "filter": {**filter_fields, "passId": card.id, "segmentIds": [segment.id]},
    }  # fmt: skip
    full = (await mutate(api, CREATE, input=fields))["endpoint"]
    assert full["filter"] == {**filter_fields, "pass": {"externalId": "ann"}, "segments": [{"key": "buyers"}]}
    assert (full["description"], full["cursor"]) == ("Till", activity_cursor(1))
    assert full["behind"] == await api.business.ctx.workspace.activities.last_pos() - 1

    listed = (await api.fetch_data(f"{{ webhookEndpoints {{ totalCount nodes {{ {ENDPOINT} }} }} }}"))[
        "webhookEndpoints"
    ]
    # The plain endpoint is one activity behind: after its creation the pass entered a segment.
    assert listed == {"totalCount": 2, "nodes": [full, {**plain, "behind": 1}]}
    found = await api.fetch_data(
        f"query ($id: ID!) {{ webhookEndpoint(id: $id) {{ {ENDPOINT} }} node(id: $id) {{ __typename id }} }}",
        id=full["id"],
    )
    assert found == {"webhookEndpoint": full, "node": {"__typename": "WebhookEndpoint", "id": full["id"]}}


INVALID_URLS = (
    "", "hooks", "ftp://example.com/", "http://example.com/", "https://", "https://10.0.0.1/", "https://[::1]/",
    "https://169.254.169.254/latest", "https://ann:secret@example.com/", "https://example.com:port/",
    "https://example.com/a b", "https://example.com/#\ud800", "https://example.com/" + "a" * 2_048,
)  # fmt: skip


async def test_endpoint_with_an_invalid_or_internal_url_is_refused(business: Business) -> None:
    for url in INVALID_URLS:
        with pytest.raises(Refused) as caught:
            await commands.create_webhook_endpoint(business.ctx, url)
        assert [problem.field for problem in caught.value.problems] == [("url",)], url


async def test_invalid_input_of_the_mutations_is_refused_with_the_path_of_the_field(
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
        assert await mutate_refused(api, CREATE, input={"url": url, **given}) == [expected]
    endpoint_id = (await mutate(api, CREATE, input={"url": url}))["endpoint"]["id"]
    monkeypatch.setattr(commands, "MAX_ENDPOINTS", 1)
    assert await mutate_refused(api, CREATE, input={"url": url}) == [("LIMIT", None)]
    assert await mutate_refused(api, UPDATE, input={"id": endpoint_id, "url": "https://10.0.0.1/"}) == [
        ("INVALID", ["url"])
    ]
    assert await mutate_refused(api, ROTATE, input={"id": endpoint_id, "graceSeconds": -1}) == [
        ("OUT_OF_RANGE", ["graceSeconds"])
    ]
    invalid = {"endpointId": endpoint_id, "filter": {"before": "x"}}
    assert await mutate_refused(api, REPLAY, input=invalid) == [("INVALID", ["filter", "before"])]
    for mutation, variables in (
        (UPDATE, {"input": {"id": "wh_none"}}),
        (ROTATE, {"input": {"id": "wh_none"}}),
        (DELETE, {"id": "wh_none"}),
        (TEST, {"id": "wh_none"}),
    ):
        assert await mutate_refused(api, mutation, **variables) == [("UNKNOWN", ["id"])]
    assert await mutate_refused(api, REPLAY, input={"endpointId": "wh_none"}) == [("UNKNOWN", ["endpointId"])]

    async def fail_compare_and_set(*_: object) -> bool:
        return False

    monkeypatch.setattr(WebhookQueries, "save", fail_compare_and_set)
    assert await mutate_refused(api, UPDATE, input={"id": endpoint_id, "description": "Till"}) == [("CONFLICT", ["id"])]
    assert receiver.requests == []


async def test_testWebhookEndpoint_signs_its_message_with_each_valid_secret(api: Api, receiver: Receiver) -> None:
    created = await mutate(api, CREATE, input={"url": receiver.url})
    endpoint, first = created["endpoint"]["id"], created["secret"]
    second = (await mutate(api, ROTATE, input={"id": endpoint}))["secret"]
    result = await mutate(api, TEST, id=endpoint)
    assert (result["succeeded"], result["statusCode"], result["error"]) == (True, 200, None)
    assert result["durationMs"] >= 0
    [request] = receiver.requests
    assert (request.payload["type"], request.payload["data"]) == ("webhook.test", {"endpointId": database_id(endpoint)})
    assert len(request.headers["webhook-signature"].split(" ")) == 2
    for secret in (first, second):
        assert verify_signature(Verification(), [secret], request.headers, request.body) is not None
    third = (await mutate(api, ROTATE, input={"id": endpoint, "graceSeconds": 0}))["secret"]
    await mutate(api, UPDATE, input={"id": endpoint, "status": "DISABLED"})
    receiver.respond = lambda request: (302, {"location": "https://example.com/"})
    redirected = await mutate(api, TEST, id=endpoint)
    assert (redirected["succeeded"], redirected["statusCode"]) == (False, 302)
    assert "redirect" in redirected["error"]
    # The last rotation had no grace period, so the earlier secrets sign nothing any more.
    last = receiver.requests[-1]
    verified = [
        verify_signature(Verification(), [each], last.headers, last.body) is not None for each in (first, second, third)
    ]
    assert verified == [False, False, True]
    async with run_api(replace_settings(api.business, egress_allow=())) as strict_api:
        blocked = await mutate(strict_api, TEST, id=endpoint)
    assert (blocked["succeeded"], blocked["statusCode"]) == (False, None)
    assert "does not connect to it" in blocked["error"]
    assert len(receiver.requests) == 2


async def test_endpoint_is_updated_disabled_enabled_and_deleted_with_audit_entries(
    api: Api, receiver: Receiver
) -> None:
    created = (await mutate(api, CREATE, input={"url": receiver.url}))["endpoint"]
    fields = {
        "id": created["id"],
        "url": f"{receiver.url}&two",
        "description": "Till",
        "filter": {"category": "ACTION"},
    }
    updated = (await mutate(api, UPDATE, input=fields))["endpoint"]
    assert (updated["url"], updated["description"], updated["filter"]["category"]) == (fields["url"], "Till", "ACTION")
    assert (await mutate(api, UPDATE, input=fields))["endpoint"] == updated
    disabled = (await mutate(api, UPDATE, input={"id": created["id"], "status": "DISABLED"}))["endpoint"]
    assert (disabled["status"], disabled["reason"], disabled["url"]) == ("DISABLED", "MANUAL", fields["url"])
    await api.business.record({"external_id": "2"})
    await api.business.run_worker()
    worker, endpoint_id = api.business.worker, database_id(created["id"])
    await run_endpoint(worker, endpoint_id)
    assert receiver.requests == []
    enabled = (await mutate(api, UPDATE, input={"id": created["id"], "status": "ENABLED"}))["endpoint"]
    assert (enabled["status"], enabled["reason"], enabled["behind"]) == ("ENABLED", None, 1)
    await run_endpoint(worker, endpoint_id)
    # The worker also delivers the activity that was published while the endpoint was disabled.
    assert [request.payload["type"] for request in receiver.requests] == ["customer.custom_event"]
    job, _ = await replay_webhook_deliveries(api.business.ctx, endpoint_id, Replay())
    assert job is not None
    assert (await mutate(api, DELETE, id=created["id"]))["deletedId"] == created["id"]
    assert (await run_to_end(api.business, job)).status is JobStatus.SUCCEEDED
    assert await mutate_refused(api, DELETE, id=created["id"]) == [("UNKNOWN", ["id"])]
    assert (await api.fetch_data("{ webhookEndpoints { nodes { id } } }"))["webhookEndpoints"]["nodes"] == []
    db = api.business.ctx.resources.db
    for collection in ("webhook_endpoints", "webhook_lanes", "webhook_deliveries"):
        assert await db[collection].count_documents({}) == 0
    log = (await api.fetch_data("{ auditLog { nodes { action subject } } }"))["auditLog"]["nodes"]
    assert [entry["action"] for entry in log] == [
        "deleteWebhookEndpoint", "replayWebhookDeliveries", "updateWebhookEndpoint", "updateWebhookEndpoint",
        "updateWebhookEndpoint", "createWebhookEndpoint",
    ]  # fmt: skip
    assert {entry["subject"] for entry in log} == {created["id"]}


async def test_rotating_the_secret_inserts_partitions_missing_after_a_crash(api: Api, receiver: Receiver) -> None:
    """If the process crashes while it creates an endpoint, the endpoint is stored without its partitions."""
    created = (await mutate(api, CREATE, input={"url": receiver.url, "after": activity_cursor(0)}))["endpoint"]
    endpoint_id = database_id(created["id"])
    await api.business.ctx.workspace.partitions.delete(endpoint_id)
    await mutate(api, ROTATE, input={"id": created["id"]})
    await run_endpoint(api.business.worker, endpoint_id)
    assert receiver.ids == [activity.id for activity in await api.business.read_log()]


async def test_filter_by_a_merged_pass_covers_its_survivor_until_the_pass_is_erased(
    business: Business, receiver: Receiver
) -> None:
    """The filter names the merged pass, so the endpoint receives the activities of it and of the survivor."""
    ctx, secret = business.ctx, "very-personal"
    await business.record({"pass_external_id": "bob", "metadata": {"note": secret}}, {"pass_external_id": "eve"})
    await business.run_worker()
    ann, bob, eve = [(await business.read_pass(name)).id for name in ("ann", "bob", "eve")]
    endpoint, _ = await commands.create_webhook_endpoint(
        ctx, receiver.url, filter=ActivityQuery(pass_id=bob, include_historical=False), after=0
    )
    await merge_passes(ctx, ann, bob)
    await business.run_worker()
    receiver.respond = lambda request: 200 if secret.encode() not in request.body else 500
    await run_endpoint(business.worker, endpoint.id)
    passes = {request.payload["passId"] for request in receiver.requests}
    assert passes == {ann, bob}
    assert eve not in passes
    await erase_pass(ctx, pass_id=ann)
    await business.run_worker()
    for name in await ctx.resources.db.list_collection_names():
        assert secret not in str(await ctx.resources.db[name].find({}).to_list(None)), name
    # A retry after the erasure sends the current content of the activity, which holds nothing personal any more.
    receiver.respond = lambda request: 200
    await run_endpoint(business.worker, endpoint.id, lambda: system_ms() + 10_000)
    assert [secret.encode() in request.body for request in receiver.accepted] == [False] * len(receiver.accepted)
    # The erasure deleted the alias, so the filter no longer covers the survivor. Its last activity, the erasure, is not
    # sent to this endpoint.
    *before, last = [activity for activity in await business.read_log() if activity.pass_id in (ann, bob)]
    assert (last.pass_id, last.is_erasure) == (ann, True)
    assert sorted(receiver.ids) == sorted(activity.id for activity in before)


async def test_replay_sends_exactly_the_messages_that_its_dry_run_counts(api: Api, receiver: Receiver) -> None:
    """`webhookDeliveries` lists the result of each message afterwards."""
    business = api.business
    await business.record(*({"pass_external_id": f"p{n}", "external_id": f"r{n}"} for n in range(4)))
    await business.run_worker()
    log = await business.read_log()
    events = [activity for activity in log if activity.type == "customer.custom_event"]
    endpoint = (await mutate(api, CREATE, input={"url": receiver.url, "after": activity_cursor(0)}))["endpoint"]["id"]
    failing_id, clock_offset_ms = events[-1].id, 0

    async def deliver() -> None:
        await run_endpoint(business.worker, database_id(endpoint), lambda: system_ms() + clock_offset_ms, lambda: 0.0)

    # The partitions have not reached these messages yet. The replay counts them and queues no copy: each is sent once.
    early, _ = await replay_webhook_deliveries(business.ctx, database_id(endpoint), Replay())
    assert early is not None
    assert (await run_to_end(business, early)).result["messages"] == len(log)

    receiver.respond = lambda request: 500 if request.id == failing_id else 200
    for offset_ms in (0, 6_000, 400_000):
        clock_offset_ms = offset_ms
        await deliver()
    assert sorted(receiver.ids) == sorted(each.id for each in log if each.id != failing_id)
    receiver.respond = lambda request: 200

    async def replay(filter: dict[str, Any] | None) -> list[str]:  # noqa: A002  # the API names the argument so
        """Replay with the filter, and return the ids of the messages that the receiver accepted."""
        fields = {"endpointId": endpoint, "filter": filter}
        dry = await mutate(api, REPLAY, input={**fields, "dryRun": True})
        assert dry["job"] is None
        before = len(receiver.accepted)
        payload = await mutate(api, REPLAY, input=fields)
        assert (payload["count"], payload["job"]["kind"]) == (None, "REPLAY_WEBHOOKS")
        job = await business.ctx.workspace.jobs.get(database_id(payload["job"]["id"]))
        assert job is not None
        assert (await run_to_end(business, job)).result["messages"] == dry["count"]
        await deliver()
        ids = receiver.ids[before:]
        assert len(ids) == dry["count"]
        return sorted(ids)

    pending_filter = {"endpointId": endpoint, "statuses": ["PENDING"]}
    pending = (await api.fetch_data(DELIVERIES, filter=pending_filter))["webhookDeliveries"]
    [deferred] = pending["nodes"]
    assert (deferred["messageId"], deferred["tries"], pending["totalCount"]) == (failing_id, 4, 1)
    assert deferred["nextAttemptAt"] is not None
    data = await api.fetch_data("{ webhookEndpoints { nodes { pendingCount failedCount behind } } }")
    assert data["webhookEndpoints"]["nodes"] == [{"pendingCount": 1, "failedCount": 0, "behind": 0}]
    assert await replay({"statuses": ["PENDING", "FAILED"]}) == [failing_id]
    event_types, middle = ["customer.custom_event"], log[len(log) // 2]
    assert await replay({"types": event_types}) == sorted(each.id for each in events)
    between = {"after": activity_cursor(middle.position), "before": activity_cursor(log[-1].position)}
    assert await replay(between) == sorted(
        each.id for each in log if middle.position < each.position < log[-1].position
    )
    at = middle.recorded_at.isoformat()
    assert await replay({"recordedAfter": at}) == sorted(e.id for e in log if e.recorded_at >= middle.recorded_at)
    assert await replay({"recordedBefore": at}) == sorted(e.id for e in log if e.recorded_at < middle.recorded_at)
    succeeded = {"statuses": ["SUCCEEDED"], "types": event_types, "recordedAfter": at}
    assert set(await replay(succeeded)) <= {each.id for each in events if each.recorded_at >= middle.recorded_at}
    await mutate(api, UPDATE, input={"id": endpoint, "filter": {"types": ["customer.created"]}})
    assert await mutate_refused(api, REPLAY, input={"endpointId": endpoint, "filter": {"types": event_types}}) == [
        ("UNKNOWN", ["filter", "types"])
    ]
    assert await replay({"statuses": ["PENDING", "FAILED"]}) == []

    page = (await api.fetch_data(DELIVERIES, filter={"endpointId": endpoint}, first=3))["webhookDeliveries"]
    assert (page["totalCount"], len(page["nodes"]), page["pageInfo"]["hasNextPage"]) == (len(log), 3, True)
    second_page = await api.fetch_data(DELIVERIES, filter={"endpointId": endpoint}, after=page["pageInfo"]["endCursor"])
    nodes = [*page["nodes"], *second_page["webhookDeliveries"]["nodes"]]
    assert sorted(node["messageId"] for node in nodes) == sorted(each.id for each in log)
    assert {node["status"] for node in nodes} == {"SUCCEEDED"}
    [retried] = [node for node in nodes if node["messageId"] == failing_id]
    assert retried["activity"]["type"] == retried["type"] == "customer.custom_event"
    assert retried["endpoint"]["id"] == endpoint
    assert [attempt["statusCode"] for attempt in retried["attempts"]][:5] == [500, 500, 500, 500, 200]
    assert "500" in retried["attempts"][0]["error"]
    found = await api.fetch_data("query ($id: ID!) { node(id: $id) { __typename id } }", id=retried["id"])
    assert found["node"] == {"__typename": "WebhookDelivery", "id": retried["id"]}
    for given, expected in (
        ({"types": event_types}, len(events)),
        ({"statuses": ["PENDING", "FAILED"]}, 0),
        ({"statuses": ["SUCCEEDED", "FAILED"], "recordedAfter": at}, sum(e.recorded_at >= middle.recorded_at for e in log)),
        ({"endpointId": "wh_none"}, 0),
    ):  # fmt: skip
        fields = {"endpointId": endpoint, **given}
        listed = (await api.fetch_data(DELIVERIES, filter=fields))["webhookDeliveries"]
        assert (listed["totalCount"], len(listed["nodes"])) == (expected, expected)
    error = await api.fetch_error(DELIVERIES, filter={"endpointId": endpoint, "types": [""]})
    assert error["extensions"]["code"] == "BAD_USER_INPUT"


FAILING = f"""query ($id: ID!, $filter: WebhookDeliveryFilter!) {{
  webhookEndpoint(id: $id) {{ status awaySince consecutiveFailures failingSince nextRetryAt pendingCount failedCount
    lastAttempt {{ statusCode error attemptedAt }} deliveries {{ totalCount nodes {{ {DELIVERY} createdAt }} }} }}
  webhookDeliveries(filter: $filter) {{ totalCount nodes {{ id status }} }} }}"""


async def test_failing_endpoint_shows_its_failures_and_waiting_messages_at_once(
    api: Api, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The circuit is still closed, and the message is not deferred before its fourth attempt has failed."""
    business = api.business
    await business.record({"pass_external_id": "bob", "external_id": "2"})
    await business.run_worker()
    log = await business.read_log()
    monkeypatch.setattr("workers.delivery.partitions.partition_of", lambda pass_id: int(pass_id == log[0].pass_id))
    created = await mutate(api, CREATE, input={"url": receiver.url, "after": activity_cursor(0)})
    endpoint_id = created["endpoint"]["id"]
    now_ms = system_ms() + 3_600_000

    async def read(later_ms: int, **filter_parts: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        nonlocal now_ms
        now_ms += later_ms
        await run_endpoint(business.worker, database_id(endpoint_id), now_ms=lambda: now_ms, chance=lambda: 0.0)
        query_filter = {"endpointId": endpoint_id, "statuses": ["PENDING"], **filter_parts}
        data = await api.fetch_data(FAILING, id=endpoint_id, filter=query_filter)
        return data["webhookEndpoint"], data["webhookDeliveries"]

    # Of each pass the first message fails twice, at once and after 0 s. It blocks the second one.
    first_ids = {log[0].id, next(each.id for each in log if each.pass_id != log[0].pass_id)}
    receiver.respond = lambda request: 500 if request.id in first_ids else 200
    endpoint, pending = await read(0)
    assert (endpoint["status"], endpoint["awaySince"], endpoint["consecutiveFailures"]) == ("ENABLED", None, 4)
    assert endpoint["failingSince"] == format_instant(from_ms(now_ms))
    assert endpoint["nextRetryAt"] == format_instant(from_ms(now_ms + 5_000))
    assert (endpoint["lastAttempt"]["statusCode"], endpoint["lastAttempt"]["error"]) == (
        500,
        "The endpoint answered 500.",
    )
    assert (endpoint["pendingCount"], endpoint["failedCount"], pending["totalCount"]) == (2, 0, 2)
    listed = endpoint["deliveries"]["nodes"]
    assert {each["messageId"] for each in listed} == first_ids
    assert {(each["status"], each["tries"], each["nextAttemptAt"]) for each in listed} == {
        ("PENDING", 2, format_instant(from_ms(now_ms + 5_000)))
    }
    assert [[attempt["statusCode"] for attempt in each["attempts"]] for each in listed] == [[500, 500]] * 2
    assert {each["id"] for each in pending["nodes"]} == {each["id"] for each in listed}
    node = "query ($id: ID!) { node(id: $id) { ... on WebhookDelivery { messageId status tries } } }"
    found = (await api.fetch_data(node, id=listed[0]["id"]))["node"]
    assert found == {"messageId": listed[0]["messageId"], "status": "PENDING", "tries": 2}
    assert (await read(0, statuses=["FAILED"]))[1]["totalCount"] == 0
    assert (await read(0, types=["customer.segment.left"]))[1]["totalCount"] == 0
    assert (await read(0, types=["customer.created"]))[1]["totalCount"] == 2

    # After the fourth failure both are deferred. The stored deliveries take the place of the blocked ones.
    endpoint, pending = await read(5_000)
    endpoint, pending = await read(300_000)
    assert (endpoint["pendingCount"], pending["totalCount"], endpoint["deliveries"]["totalCount"]) == (2, 2, 4)
    assert endpoint["consecutiveFailures"] == 0, "the endpoint accepted the messages that waited"
    assert endpoint["nextRetryAt"] == format_instant(from_ms(now_ms + 1_800_000))
    receiver.respond = lambda request: 200
    endpoint, pending = await read(1_800_000)
    assert (endpoint["pendingCount"], pending["nodes"], endpoint["nextRetryAt"]) == (0, [], None)
    assert (endpoint["consecutiveFailures"], endpoint["failingSince"], endpoint["lastAttempt"]["statusCode"]) == (
        0,
        None,
        200,
    )
    assert {each["id"] for each in listed} < {each["id"] for each in endpoint["deliveries"]["nodes"]}


async def test_pages_list_blocked_deliveries_among_the_stored_ones(api: Api, receiver: Receiver) -> None:
    """One pass is delivered, the first messages of three others fail."""
    business = api.business
    await business.record(*({"pass_external_id": name} for name in ("bob", "cyd", "dan")))
    await business.run_worker()
    ann = (await business.read_pass()).id
    log = await business.read_log()
    pass_ids = {each.id: each.pass_id for each in log}
    partitions = {partition_of(each.pass_id) for each in log if each.pass_id != ann}
    receiver.respond = lambda request: 200 if pass_ids[request.id] == ann else 503
    created = await mutate(api, CREATE, input={"url": receiver.url, "after": activity_cursor(0)})
    endpoint_id = created["endpoint"]["id"]
    await run_endpoint(business.worker, database_id(endpoint_id), now_ms=lambda: system_ms() + 3_600_000)
    query_filter = {"endpointId": endpoint_id}
    whole = (await api.fetch_data(DELIVERIES, filter=query_filter, first=50))["webhookDeliveries"]
    pending = [each for each in whole["nodes"] if each["status"] == "PENDING"]
    assert len(pending) == len(partitions)
    assert (whole["totalCount"], len(whole["nodes"])) == (len(pending) + 2, len(pending) + 2)
    pages, after = [], None
    while True:
        page = (await api.fetch_data(DELIVERIES, filter=query_filter, first=1, after=after))["webhookDeliveries"]
        pages += page["nodes"]
        if not page["pageInfo"]["hasNextPage"]:
            break
        after = page["pageInfo"]["endCursor"]
    assert pages == whole["nodes"]
