"""Isolation of workspaces: each operation that takes an id is run with the ids of another workspace.

None of the operations may find, return or change anything of the other workspace.
"""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from graphql import GraphQLInputObjectType, get_named_type

from app.clock import FixedClock
from app.commands.events.receipts import receipt_of, record_call
from app.commands.inbound.deliveries import Message, receive_message
from app.commands.inbound.hooks import create_inbound_hook
from app.commands.messages.channels import create_channel
from app.commands.messages.messages import send_message
from app.commands.passes.tokens import TokenInput, create_pass_token
from app.commands.rewards.rewards import create_reward
from app.commands.rules.rules import create_rule
from app.commands.webhooks.endpoints import create_webhook_endpoint
from app.commands.workspaces.keys import create_api_key
from app.domain.events.events import EventInput
from app.domain.ids import event_type_id
from app.domain.pass_tokens import PassTokenScope
from app.domain.reactions.parked import ParkedReaction, Refusal
from app.domain.reactions.reactions import FreeUnits, Reaction
from app.domain.webhooks.deliveries import delivery_id
from app.graphql.schema import schema
from app.graphql.types.ids import from_global_id, to_global_id
from app.resources import Resources
from tests.business import Business, create_business, purchases
from tests.commands.rewards.shop import redeem
from tests.graphql.jobs.test_imports import import_file

from .serving import Api

ERRORS = "userErrors { code field message }"
PASS = "id externalId holder { name } memberships { nodes { id } } events { nodes { id } }"
EVENT = "id externalId metadata pass { id externalId } correctionOf { id }"
RECORDED = f"event {{ {EVENT} }} status {ERRORS}"
QUERIES = {
    "node": "query ($id: ID!) { node(id: $id) { __typename id } }",
    "nodes": "query ($id: ID!) { nodes(ids: [$id]) { __typename id } }",
    "pass": f"query ($id: ID!) {{ pass(id: $id) {{ {PASS} }} }}",
    "passErasure": "query ($id: ID!) { passErasure(id: $id) { passId eventCount segments { key } } }",
    "passes": f"query ($id: ID!) {{ a: passes(filter: {{ids: [$id]}}) {{ totalCount nodes {{ {PASS} }} }}"
    f" b: passes(filter: {{segmentIds: [$id]}}) {{ totalCount nodes {{ {PASS} }} }} }}",
    "aggregateEvents": "query ($id: ID!) { aggregateEvents(input: {function: COUNT, passId: $id}) { value count } }",
    "funnel": "query ($id: ID!) { funnel(input: {steps: [{passId: $id}, {}]}) { steps { passes } } }",
    "event": f"query ($id: ID!) {{ event(id: $id) {{ {EVENT} }} }}",
    "events": f"query ($id: ID!) {{ events(filter: {{passId: $id}}) {{ totalCount nodes {{ {EVENT} }} }} }}",
    "segment": "query ($id: ID!) { segment(id: $id) { id key name memberCount members { nodes { id } }"
    ' sizeOverTime(from: "2025-01-01T00:00:00Z", to: "2025-02-01T00:00:00Z") { count } } }',
    "explainMembership": "query ($id: ID!) { explainMembership(passId: $id, segmentId: $id) { member text } }",
    "segmentDiff": 'query ($id: ID!) { segmentDiff(segmentId: $id, from: "2025-01-01T00:00:00Z",'
    ' to: "2025-12-01T00:00:00Z") { counts { entered } stayed { nodes { id } } } }',
    "segmentPreview": "query ($id: ID!) { segmentPreview(input: {criteria: {segment: {id: $id}}, segmentId: $id})"
    " { entering sample { pass { id } } } }",
    "rule": "query ($id: ID!) { rule(id: $id) { id key name versions { nodes { version } } } }",
    "reward": "query ($id: ID!) { reward(id: $id) { id key name versions { nodes { version } } } }",
    "ruleFirings": "query ($id: ID!) { a: ruleFirings(filter: {ruleId: $id}) { totalCount nodes { id } }"
    " b: ruleFirings(filter: {passId: $id}) { totalCount nodes { id } } }",
    "job": "query ($id: ID!) { job(id: $id) { id status result } }",
    "inboundHook": "query ($id: ID!) { inboundHook(id: $id) { id name } }",
    "inboundDeliveries": "query ($id: ID!) { inboundDeliveries(hookId: $id) { totalCount nodes { id body } } }",
    "webhookEndpoint": "query ($id: ID!) { webhookEndpoint(id: $id) { id url pendingCount deliveries { totalCount } } }",
    "webhookDeliveries": "query ($id: ID!) { webhookDeliveries(filter: {endpointId: $id})"
    " { totalCount nodes { id messageId endpoint { url } } } }",
    "messages": "query ($id: ID!) { a: messages(filter: {passId: $id}) { totalCount nodes { id } }"
    " b: messages(filter: {jobId: $id}) { totalCount nodes { id } }"
    " c: messages(filter: {ruleId: $id}) { totalCount nodes { id } } }",
    "parkedEffects": "query ($id: ID!) { parkedEffects(filter: {passId: $id}) { totalCount nodes { id } } }",
    "activity": "query ($id: ID!) { a: activity(filter: {passId: $id}) { totalCount nodes { id data } }"
    " b: activity(filter: {segmentIds: [$id]}) { totalCount nodes { id data } } }",
}
MUTATIONS = {
    "updatePass": f"updatePass(input: {{id: $id, holder: {{name: \"mine\"}}}}) {{ pass {{ {PASS} }} {ERRORS} }}",
    "recordEvent": f"a: recordEvent(input: {{passId: $id, type: \"purchase\"}}) {{ {RECORDED} }}"
    f" b: recordEvent(input: {{passExternalId: \"mine\", type: \"refund\", correctionOf: $id}}) {{ {RECORDED} }}",
    "recordEvents": "recordEvents(input: {events: [{passId: $id, type: \"purchase\"}, {passExternalId: \"mine\","
    f" type: \"refund\", correctionOf: $id}}]}}) {{ results {{ {RECORDED} }} {ERRORS} }}",
    "recordPurchase": f"recordPurchase(input: {{passId: $id, amount: 1}}) {{ {RECORDED} }}",
    "recordRefund": f"a: recordRefund(input: {{passId: $id, amount: 1}}) {{ {RECORDED} }}"
    f" b: recordRefund(input: {{passExternalId: \"mine\", correctionOf: $id}}) {{ {RECORDED} }}",
    "recordCheckIn": f"recordCheckIn(input: {{passId: $id}}) {{ {RECORDED} }}",
    "recordActivity": f"recordActivity(input: {{passId: $id, type: \"scan\"}}) {{ {RECORDED} }}",
    "recordFieldChange": f"recordFieldChange(input: {{passId: $id, fieldName: \"a\", newValue: \"b\"}}) {{ {RECORDED} }}",
    "createSegment": "createSegment(input: {key: \"mine\", name: \"Mine\", criteria: {segment: {id: $id}}})"
    f" {{ segment {{ id }} {ERRORS} }}",
    "updateSegment": f"updateSegment(input: {{id: $id, name: \"mine\"}}) {{ segment {{ id key name }} {ERRORS} }}",
    "archiveSegment": f"archiveSegment(input: {{id: $id}}) {{ segment {{ id key name }} {ERRORS} }}",
    "revertSegment": f"revertSegment(input: {{id: $id, version: 1}}) {{ segment {{ id key name }} {ERRORS} }}",
    "unarchiveSegment": f"unarchiveSegment(input: {{id: $id}}) {{ segment {{ id key name }} {ERRORS} }}",
    "withdrawSegmentEdit": f"withdrawSegmentEdit(input: {{id: $id}}) {{ segment {{ id key name }} {ERRORS} }}",
    "duplicateSegment": f"duplicateSegment(input: {{id: $id, key: \"mine\"}}) {{ segment {{ id key name }} {ERRORS} }}",
    "previewSegment": "previewSegment(input: {criteria: {segment: {id: $id}}, segmentId: $id})"
    f" {{ job {{ id }} {ERRORS} }}",
    "createRule": "createRule(input: {key: \"mine\", name: \"Mine\", trigger: {segmentEntered: {segmentId: $id}},"
    f" effects: [{{awardPoints: {{points: 1}}}}]}}) {{ rule {{ id }} {ERRORS} }}",
    "updateRule": f"updateRule(input: {{id: $id, name: \"mine\"}}) {{ rule {{ id key name }} {ERRORS} }}",
    "pauseRule": f"pauseRule(input: {{id: $id}}) {{ rule {{ id key name }} {ERRORS} }}",
    "resumeRule": f"resumeRule(input: {{id: $id}}) {{ rule {{ id key name }} {ERRORS} }}",
    "archiveRule": f"archiveRule(input: {{id: $id}}) {{ rule {{ id key name }} {ERRORS} }}",
    "verifyProjection": f"verifyProjection(input: {{passIds: [$id]}}) {{ job {{ id }} {ERRORS} }}",
    "simulateRule": f"a: simulateRule(input: {{ruleId: $id, from: \"2020-01-01T00:00:00Z\"}}) {{ job {{ id }} {ERRORS} }}"
    " b: simulateRule(input: {from: \"2020-01-01T00:00:00Z\", rule: {key: \"mine\", name: \"Mine\", trigger:"
    " {segmentLeft: {segmentId: $id}}, effects: [{awardPoints: {points: 1}}]}})"
    f" {{ job {{ id }} {ERRORS} }}",
    "retryRuleFirings": f"a: retryRuleFirings(input: {{ids: [$id]}}) {{ count {ERRORS} }}"
    f" b: retryRuleFirings(input: {{ruleId: $id}}) {{ count {ERRORS} }}",
    "duplicateRule": f"duplicateRule(input: {{id: $id, key: \"mine\"}}) {{ rule {{ id key name }} {ERRORS} }}",
    "createReward": "createReward(input: {key: \"mine\", name: \"Mine\", criteria: {segment: {id: $id}}})"
    f" {{ reward {{ id }} {ERRORS} }}",
    "updateReward": f"updateReward(input: {{id: $id, name: \"mine\"}}) {{ reward {{ id key name }} {ERRORS} }}",
    "archiveReward": f"archiveReward(input: {{id: $id}}) {{ reward {{ id key name }} {ERRORS} }}",
    "redeemReward": "a: redeemReward(input: {passId: $id, rewardKey: \"mine\", waitSeconds: 0})"
    f" {{ redemption {{ id }} {ERRORS} }} b: redeemReward(input: {{passId: $id, rewardKey: \"theirs\", waitSeconds: 0}})"
    f" {{ redemption {{ id }} {ERRORS} }}",
    "rollbackRedemption": f"rollbackRedemption(input: {{id: $id}}) {{ redemption {{ id code }} {ERRORS} }}",
    "setTierProgram": "setTierProgram(input: {period: {days: 1}, tiers: [{key: \"mine\", name: \"Mine\","
    f" reach: {{segment: {{id: $id}}}}}}]}}) {{ tierProgram {{ version }} {ERRORS} }}",
    "addToSegment": f"addToSegment(input: {{segmentId: $id, passIds: [$id]}}) {{ results {{ pass {{ id }} }} {ERRORS} }}",
    "removeFromSegment": "removeFromSegment(input: {segmentId: $id, passIds: [$id]})"
    f" {{ results {{ pass {{ id }} }} {ERRORS} }}",
    "deleteEvents": "deleteEvents(input: {filter: {passId: $id}})"
    f" {{ job {{ id }} deletedCount {ERRORS} }}",
    "erasePass": f"erasePass(input: {{id: $id}}) {{ receipt {{ passId eventCount segments {{ key }} }} {ERRORS} }}",
    "mergePasses": f"mergePasses(input: {{survivorId: $id, mergedId: $id}}) {{ pass {{ id externalId }} {ERRORS} }}",
    "confirmPass": f"confirmPass(input: {{passId: $id}}) {{ event {{ id }} {ERRORS} }}",
    "recordReferral": f"recordReferral(input: {{passId: $id, referredByPassId: $id}}) {{ event {{ id }} {ERRORS} }}",
    "measureRuleConversion": f"measureRuleConversion(input: {{ruleId: $id, types: [\"visit\"], withinDays: 7}})"
    f" {{ job {{ id }} {ERRORS} }}",
    "importSegmentMembers": f"importSegmentMembers(input: {{segmentId: $id, url: \"https://example.com/members.csv\"}})"
    f" {{ job {{ id }} {ERRORS} }}",
    "transferPoints": f"transferPoints(input: {{fromPassId: $id, toPassId: $id, points: 1}})"
    f" {{ transfer {{ status }} {ERRORS} }}",
    "exportEvents": f"exportEvents(input: {{filter: {{passId: $id}}}}) {{ job {{ status downloadUrl }} {ERRORS} }}",
    "exportActivities": f"a: exportActivities(input: {{filter: {{passId: $id}}}}) {{ job {{ status }} {ERRORS} }}"
    f" b: exportActivities(input: {{filter: {{segmentIds: [$id]}}}}) {{ job {{ status }} {ERRORS} }}",
    "cancelJob": f"cancelJob(input: {{id: $id}}) {{ job {{ id status }} {ERRORS} }}",
    "updateInboundHook": f"updateInboundHook(input: {{id: $id, name: \"mine\"}}) {{ hook {{ id name }} {ERRORS} }}",
    "rotateInboundHookSecret": f"rotateInboundHookSecret(input: {{id: $id}}) {{ hook {{ id }} secret {ERRORS} }}",
    "archiveInboundHook": f"archiveInboundHook(input: {{id: $id}}) {{ hook {{ id name }} {ERRORS} }}",
    "testInboundHook": "testInboundHook(input: {hookId: $id, body: {who: \"mine\"}})"
    f" {{ results {{ event }} {ERRORS} }}",
    "rerunInboundDelivery": f"rerunInboundDelivery(input: {{id: $id}}) {{ delivery {{ id body }} {ERRORS} }}",
    "rerunInboundDeliveries": f"rerunInboundDeliveries(input: {{hookId: $id}}) {{ processed failed {ERRORS} }}",
    "discardInboundDelivery": f"discardInboundDelivery(input: {{id: $id}}) {{ discardedId {ERRORS} }}",
    "createWebhookEndpoint": "a: createWebhookEndpoint(input: {url: \"https://example.com/\", filter: {passId: $id}})"
    f" {{ endpoint {{ id }} {ERRORS} }} b: createWebhookEndpoint(input: {{url: \"https://example.com/\","
    f" filter: {{segmentIds: [$id]}}}}) {{ endpoint {{ id }} {ERRORS} }}",
    "updateWebhookEndpoint": "updateWebhookEndpoint(input: {id: $id, status: DISABLED, description: \"mine\"})"
    f" {{ endpoint {{ id url }} {ERRORS} }}",
    "rotateWebhookSecret": f"rotateWebhookSecret(input: {{id: $id}}) {{ endpoint {{ id }} secret {ERRORS} }}",
    "deleteWebhookEndpoint": f"deleteWebhookEndpoint(input: {{id: $id}}) {{ deletedId {ERRORS} }}",
    "testWebhookEndpoint": f"testWebhookEndpoint(input: {{id: $id}}) {{ succeeded error {ERRORS} }}",
    "replayWebhookDeliveries": "a: replayWebhookDeliveries(input: {endpointId: $id, dryRun: true})"
    f" {{ count {ERRORS} }} b: replayWebhookDeliveries(input: {{endpointId: $id}}) {{ job {{ id }} {ERRORS} }}",
    "updateChannel": f"updateChannel(input: {{id: $id, name: \"mine\"}}) {{ channel {{ id key name }} {ERRORS} }}",
    "archiveChannel": f"archiveChannel(input: {{id: $id}}) {{ channel {{ id key name }} {ERRORS} }}",
    "testChannel": f"testChannel(input: {{id: $id, to: \"a@b.test\"}}) {{ message {{ id status }} {ERRORS} }}",
    "recordConsent": "recordConsent(input: {passId: $id, channelKey: \"mine\", given: true})"
    f" {{ event {{ id }} {ERRORS} }}",
    "sendMessage": "sendMessage(input: {passId: $id, channelKey: \"mine\", template: \"Hi\"})"
    f" {{ message {{ id pass {{ id }} }} {ERRORS} }}",
    "broadcastMessage": "broadcastMessage(input: {segmentId: $id, channelKey: \"mine\", template: \"Hi\", key: \"mine\"})"
    f" {{ job {{ id }} {ERRORS} }}",
    "retryMessages": f"retryMessages(input: {{ids: [$id]}}) {{ count {ERRORS} }}",
    "createPassToken": f"createPassToken(input: {{passId: $id, scopes: [READ]}}) {{ token {ERRORS} }}",
    "revokePassTokens": f"revokePassTokens(input: {{passId: $id}}) {{ pass {{ id }} {ERRORS} }}",
    "retryParkedEffects": f"retryParkedEffects(input: {{ids: [$id]}}) {{ count {ERRORS} }}",
    "revokeApiKey": f"revokeApiKey(input: {{id: $id}}) {{ apiKey {{ id name }} {ERRORS} }}",
    "rotateApiKey": f"rotateApiKey(input: {{id: $id}}) {{ apiKey {{ id name }} secret {ERRORS} }}",
}  # fmt: skip
STREAMS = {
    "activity": "subscription ($id: ID!) { activity(filter: {passId: $id}) { __typename"
    " ... on ActivityEdge { node { id data } } } }",
    "jobProgress": "subscription ($id: ID!) { jobProgress(id: $id) { id status } }",
}
NAMES = {
    "pass": "query ($n: String!) { pass(externalId: $n) { id externalId } }",
    "events": "query ($n: String!) { a: events(filter: {passExternalId: $n}) { totalCount nodes { id } }"
    " b: events(filter: {externalId: $n}) { totalCount nodes { id } } }",
    "ingestReceipt": "query ($n: String!) { ingestReceipt(token: $n) { token items { status } } }",
    "consistency": "query ($n: String!) { events(consistency: AT_LEAST, token: $n) { totalCount } }",
    "eventDefinition": "query ($n: String!) { eventDefinition(key: $n) { key label } }",
    "deleteEvents": "mutation ($n: String!) { a: deleteEvents(input: {filter: {passExternalId: $n}, dryRun: true})"
    f" {{ deletedCount {ERRORS} }} b: deleteEvents(input: {{filter: {{externalId: $n}}}}) {{ deletedCount {ERRORS} }} }}",
    "erasePass": "mutation ($n: String!) { erasePass(input: {externalId: $n})"
    f" {{ receipt {{ passId eventCount }} {ERRORS} }} }}",
}
"""Operations that take an external id, a key or a token instead of a global id."""
MAILS = {"kind": "EMAIL", "provider": "SMTP", "settings": {"host": "smtp.example.com", "from": "shop@example.com"}}
THEIRS = "theirs"
"""A text in each name, key and URL of the other workspace, so that a test finds it in any response."""


def takes_id(kind: Any, seen: frozenset[str] = frozenset()) -> bool:
    """Return whether the type is ID, or an input type that has an ID in it."""
    input_type = get_named_type(kind)
    if not isinstance(input_type, GraphQLInputObjectType):
        return bool(input_type.name == "ID")
    return input_type.name not in seen and any(
        takes_id(field.type, seen | {input_type.name}) for field in input_type.fields.values()
    )


def test_each_operation_that_takes_an_id_is_in_the_tables_above() -> None:
    for root, tested in (
        (schema.query_type, QUERIES),
        (schema.mutation_type, MUTATIONS),
        (schema.subscription_type, STREAMS),
    ):
        assert root is not None
        with_id = {name for name, f in root.fields.items() if any(takes_id(a.type) for a in f.args.values())}
        assert with_id == set(tested)


@pytest.fixture
async def stranger(resources: Resources, clock: FixedClock, api: Api) -> tuple[Business, list[str]]:
    """Create another workspace with at least one object of each kind, and return it with the global ids of all."""
    business = await create_business(resources, clock, f"{THEIRS} too")
    return business, await fill(business, api)


async def fill(business: Business, api: Api) -> list[str]:
    """Create at least one object of each kind in a workspace, and return the global ids of all."""
    segment = await business.create_segment(THEIRS, purchases(1), notify="EMIT")
    rule = await create_rule(
        business.ctx,
        {
            "key": THEIRS,
            "name": THEIRS,
            "trigger": {"segmentEntered": {"segmentId": segment.id}},
            "effects": [{"awardPoints": {"points": 1}}],
        },
    )
    event = {"pass_external_id": THEIRS, "external_id": THEIRS, "metadata": {"who": THEIRS}}
    [result] = (await business.record(event)).results
    await business.run_worker()
    assert result.event is not None
    reward = await create_reward(business.ctx, {"key": THEIRS, "name": THEIRS})
    redeemed = await redeem(business, THEIRS, reward=THEIRS)
    key, secret = await create_api_key(business.ctx, THEIRS, ["admin"])
    own_secret, api.secret = api.secret, secret
    job = (await import_file(api, "customer_id,date,amount\nann,2025-11-01,1.50\n", name=f"{THEIRS}.csv"))["job"]["id"]
    api.secret = own_secret
    hook, _ = await create_inbound_hook(
        business.ctx, THEIRS, THEIRS, {"fields": {"passExternalId": "who", "type": "is"}}
    )
    failed = await receive_message(business.ctx.resources, Message(hook, "m", f'{{"who": "{THEIRS}"}}'.encode(), {}))
    endpoint, _ = await create_webhook_endpoint(business.ctx, f"https://{THEIRS}.example/", after=0)
    channel, _ = await create_channel(business.ctx, {**MAILS, "key": THEIRS, "name": THEIRS})
    content = {"channelKey": THEIRS, "template": THEIRS}
    sent = await send_message(
        business.ctx, content, pass_id=result.event.pass_id, external_id=None, idempotency_key=None
    )
    [activity, *_] = await business.read_log()
    reaction = Reaction(
        event_id=result.event.id, index=0, pass_id=result.event.pass_id, activity_id=activity.id, body=FreeUnits(THEIRS)
    )
    parked = ParkedReaction(reaction, Refusal("NO", THEIRS), attempt_count=1, at=await business.clock.now())
    await business.ctx.workspace.reactions.park([parked])
    await business.ctx.workspace.deliveries.requeue(endpoint.id, [activity], 0)
    types_and_ids = [
        ("Workspace", business.ctx.workspace.id),
        ("Pass", result.event.pass_id),
        ("Event", result.event.id),
        ("Segment", segment.id),
        ("Rule", rule.id),
        ("Reward", reward.id),
        ("Redemption", redeemed.id or ""),
        ("Membership", f"{result.event.pass_id}.{segment.id}"),
        ("ApiKey", key.id),
        ("InboundHook", hook.id),
        ("InboundDelivery", failed.delivery.id),
        ("WebhookEndpoint", endpoint.id),
        ("Channel", channel.id),
        ("Message", sent.id),
        ("ParkedEffect", reaction.id),
        ("WebhookDelivery", delivery_id(endpoint.id, activity.position)),
        ("EventDefinition", event_type_id(business.ctx.workspace.id, "purchase")),
        *(("Activity", entry.id) for entry in await business.read_log()),
    ]
    return [job, *(to_global_id(*each) for each in types_and_ids)]


async def read_documents(business: Business) -> dict[str, Any]:
    """Return all documents of a workspace by collection, without the time at which an API key was last used."""
    db, workspace = business.ctx.resources.db, business.ctx.workspace.id
    found = {}
    for collection in await db.list_collection_names():
        docs = await db[collection].find({"$or": [{"workspace": workspace}, {"_id": workspace}]}).to_list(None)
        found[collection] = sorted(repr({**doc, "last_used_at": None}) for doc in docs)
    return found


async def test_operations_with_ids_of_another_workspace_find_and_change_nothing(
    api: Api, stranger: tuple[Business, list[str]]
) -> None:
    other, ids = stranger
    await api.business.create_passes("mine")
    await create_channel(api.business.ctx, {**MAILS, "key": "mine", "name": "mine", "consentKey": "mine"})
    before = await read_documents(other)
    # The last one of each kind is enough: there are many activities, and each costs a hundred requests.
    id_by_type = dict(each for global_id in ids if (each := from_global_id(global_id)))
    global_ids = [to_global_id(*each) for each in id_by_type.items()]
    responses: list[tuple[str, str]] = []
    for id_or_name in [*global_ids, *id_by_type.values()]:
        for query in [*QUERIES.values(), *(f"mutation ($id: ID!) {{ {text} }}" for text in MUTATIONS.values())]:
            answer = await api.execute(query, id=id_or_name)
            assert [e for e in answer.get("errors", ()) if e["extensions"]["code"] == "INTERNAL_SERVER_ERROR"] == []
            responses.append((query, json.dumps(answer.get("data"))))
        async with api.open_socket() as socket:
            for number, stream in enumerate(STREAMS.values()):
                payload = {"query": stream, "variables": {"id": id_or_name}}
                await socket.send(id=str(number), type="subscribe", payload=payload)
            responses += [(id_or_name, json.dumps((await socket.receive())["payload"])) for _ in STREAMS]
    outcome = await record_call(other.ctx, [EventInput(type="visit", pass_external_id=THEIRS)])
    token = (await receipt_of(other.ctx, outcome)).token
    await other.run_worker()
    before = await read_documents(other)
    for id_or_name in (THEIRS, token):
        for query in NAMES.values():
            answer = await api.execute(query, n=id_or_name)
            assert [e for e in answer.get("errors", ()) if e["extensions"]["code"] == "INTERNAL_SERVER_ERROR"] == []
            responses.append((query, json.dumps(answer.get("data"))))
            assert '"token": "' not in responses[-1][1]
            assert not re.search(r'Count": [1-9]', responses[-1][1]), answer
    # An error message may quote an id that the client sent, so only a field `id` shows that an object was found.
    for query, text in responses:
        assert THEIRS not in text, query
        assert not any(f'"id": "{each}"' in text for each in ids), query
    assert await read_documents(other) == before


async def test_token_for_one_pass_finds_and_changes_nothing_of_another_pass(api: Api) -> None:
    """The token has all scopes. The other pass, its objects and those of the workspace are in the same workspace."""
    business = api.business
    kinds = ("Pass", "Event", "Segment", "Reward", "Redemption", "Membership", "Activity")
    found = {each[0]: global_id for global_id in await fill(business, api) if (each := from_global_id(global_id))}
    ids = [found[kind] for kind in kinds]
    [mine] = await business.create_passes("mine")
    await business.run_worker()
    everything = list(PassTokenScope)
    sent = TokenInput(pass_id=mine.id, scopes=everything, record_types=["purchase", "refund", "scan"])
    api.secret, _ = await create_pass_token(business.ctx, sent)
    assert (await api.fetch_data("{ pass { externalId } }"))["pass"] == {"externalId": "mine"}
    before = await read_documents(business)
    for global_id in ids:
        for query in [*QUERIES.values(), *(f"mutation ($id: ID!) {{ {text} }}" for text in MUTATIONS.values())]:
            answer = await api.execute(query, id=global_id)
            codes = {error["extensions"]["code"] for error in answer.get("errors", ())}
            assert codes <= {"FORBIDDEN"}, (query, answer)
            text = json.dumps(answer.get("data"))
            assert THEIRS not in text, query
            assert not any(f'"id": "{each}"' in text for each in ids), query
    async with api.open_socket() as socket:
        for number, stream in enumerate(STREAMS.values()):
            await socket.send(id=str(number), type="subscribe", payload={"query": stream, "variables": {"id": ids[0]}})
        for _ in STREAMS:
            message = await socket.receive()
            assert (message["type"], message["payload"][0]["extensions"]["code"]) == ("error", "FORBIDDEN")
    for query in NAMES.values():
        assert THEIRS not in json.dumps((await api.execute(query, n=THEIRS)).get("data")), query
    assert await read_documents(business) == before


@pytest.mark.parametrize("scopes", [(), ("read",), ("write",), ("subscribe",), ("read", "write", "subscribe")])
async def test_operation_without_the_scope_of_its_kind_or_without_admin_is_forbidden(
    api: Api, scopes: tuple[str, ...]
) -> None:
    own_key = (await api.fetch_data("{ viewer { apiKey { id } } }"))["viewer"]["apiKey"]["id"]
    api.secret = await api.create_key(*scopes)
    for scope, query in (
        ("read", "{ __typename }"),
        ("write", "mutation { __typename }"),
        ("admin", "{ apiKeys { nodes { id } } }"),
        ("admin", "{ auditLog { nodes { action } } }"),
        ("admin", "{ inboundHooks { nodes { id } } }"),
        ("admin", '{ inboundDeliveries(hookId: "hook_1") { nodes { id } } }'),
        ("admin", 'mutation { archiveInboundHook(input: {id: "hook_1"}) { hook { id } } }'),
        ("admin", 'mutation { rerunInboundDelivery(input: {id: "delivery_1"}) { delivery { id } } }'),
        ("admin", 'mutation { createApiKey(input: {name: "x", scopes: ["read"]}) { secret } }'),
        ("admin", f'mutation {{ rotateApiKey(input: {{id: "{own_key}"}}) {{ secret }} }}'),
        ("admin", f'mutation {{ revokeApiKey(input: {{id: "{own_key}"}}) {{ apiKey {{ id }} }} }}'),
        ("admin", f'{{ node(id: "{own_key}") {{ id }} }}'),
        ("admin", 'mutation { defineEventType(input: {key: "x", label: "X"}) { userErrors { code } } }'),
        ("admin", 'mutation { updateEventType(input: {key: "scan"}) { userErrors { code } } }'),
        ("admin", 'mutation { archiveEventType(input: {key: "x"}) { userErrors { code } } }'),
        ("admin", "mutation { updateWorkspace(input: {}) { userErrors { code } } }"),
        ("admin", "mutation { deleteEvents(input: {filter: {}, dryRun: true}) { userErrors { code } } }"),
        ("admin", 'mutation { erasePass(input: {id: "pass_1"}) { userErrors { code } } }'),
        (
            "admin",
            'mutation { mergePasses(input: {survivorId: "pass_1", mergedId: "pass_2"}) { userErrors { code } } }',
        ),
        ("admin", '{ passErasure(id: "pass_1") { state } }'),
        ("admin", "{ webhookEndpoints { nodes { id } } }"),
        ("admin", '{ webhookEndpoint(id: "wh_1") { id } }'),
        ("admin", '{ webhookDeliveries(filter: {endpointId: "wh_1"}) { nodes { id } } }'),
        ("admin", f'{{ node(id: "{to_global_id("WebhookEndpoint", "wh_1")}") {{ id }} }}'),
        ("admin", f'{{ node(id: "{to_global_id("WebhookDelivery", "wh_1:1")}") {{ id }} }}'),
        ("admin", 'mutation { createWebhookEndpoint(input: {url: ""}) { userErrors { code } } }'),
        ("admin", 'mutation { updateWebhookEndpoint(input: {id: "wh_1"}) { userErrors { code } } }'),
        ("admin", 'mutation { rotateWebhookSecret(input: {id: "wh_1"}) { userErrors { code } } }'),
        ("admin", 'mutation { deleteWebhookEndpoint(input: {id: "wh_1"}) { userErrors { code } } }'),
        ("admin", 'mutation { testWebhookEndpoint(input: {id: "wh_1"}) { userErrors { code } } }'),
        ("admin", 'mutation { replayWebhookDeliveries(input: {endpointId: "wh_1"}) { userErrors { code } } }'),
    ):
        answer = await api.execute(query)
        found = [error["extensions"]["code"] for error in answer.get("errors", ())]
        assert found == ([] if scope in scopes else ["FORBIDDEN"]), (query, answer)
    async with api.open_socket() as socket:
        await socket.subscribe("subscription { activity { __typename } }")
        message = await socket.receive()
        assert message["type"] == ("next" if "subscribe" in scopes else "error")
