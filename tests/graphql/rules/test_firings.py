"""What rules did, in GraphQL: effects and activities of an event, firings, and statistics with conversion."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from app.commands.passes.passes import update_pass
from app.commands.passes.removals import remove_events
from app.commands.rules.rules import create_rule, set_rule_status
from app.domain.rules.rules import Rule, RuleStatus
from app.domain.values.instants import format_instant
from app.flow import SLOT_RANGES
from app.graphql.types.ids import database_id, to_global_id
from app.store.mongo.paging import PageRequest
from tests.business import Business, purchases
from tests.graphql.serving import Api, list_codes
from workers.stages.fold import fold_once
from workers.stages.run_job import jobs

FIRING = """id ruleVersion occurredAt status late number depth effects { index status reason points event { type points } }
  pass { externalId } rule { key } event { type amount } activity { type }"""
EVENT = """pointsEarned effects { type points source origin { channel rule { key } ruleVersion depth cause } }
  activities { type }"""


async def define(business: Business, key: str, trigger: Any, effects: list[Any], **more: Any) -> Rule:
    rule = await create_rule(business.ctx, {"key": key, "name": key, "trigger": trigger, "effects": effects, **more})
    # The rule holds for what happens after its instant.
    await wait(business, seconds=1)
    return rule


async def wait(business: Business, **duration: float) -> None:
    business.clock.set(await business.clock.now() + timedelta(**duration))


async def buy(api: Api, amount: object, **more: Any) -> dict[str, Any]:
    query = (
        "mutation ($input: RecordEventInput!) { recordEvent(input: $input) { event { id } late userErrors { code } } }"
    )
    sent = {"passExternalId": "ann", "type": "purchase", "amount": amount, **more}
    payload: dict[str, Any] = (await api.fetch_data(query, input=sent))["recordEvent"]
    assert payload["userErrors"] == []
    await wait(api.business, seconds=1)
    return payload


async def read_event(api: Api, event_id: str) -> dict[str, Any]:
    query = f"query ($id: ID!) {{ event(id: $id) {{ {EVENT} }} }}"
    event: dict[str, Any] = (await api.fetch_data(query, id=event_id))["event"]
    return event


async def test_event_shows_what_rules_made_for_it(api: Api) -> None:
    business = api.business
    await business.create_passes("ann")
    await business.create_segment("buyers", purchases(1))
    award = {"awardPoints": {"perAmount": {"points": 1, "each": 1}}}
    await define(business, "points", {"event": {"types": ["purchase"]}}, [award, {"recordEvent": {"type": "thanks"}}])
    bought = (await buy(api, "29.30"))["event"]["id"]
    assert (await read_event(api, bought))["effects"] == []
    await business.run_worker()
    event = await read_event(api, bought)
    assert event["pointsEarned"] == "29"
    assert [(each["type"], each["points"], each["source"]) for each in event["effects"]] == [
        ("point_add", "29", "rule:points"), ("thanks", "0", "rule:points"),
    ]  # fmt: skip
    origin = {"channel": "RULE", "rule": {"key": "points"}, "ruleVersion": 1, "depth": 1, "cause": bought}
    assert [each["origin"] for each in event["effects"]] == [origin] * 2
    assert "customer.segment.entered" in [each["type"] for each in event["activities"]]
    await buy(api, 10, type="refund", correctionOf=bought)
    await business.run_worker()
    assert (await read_event(api, bought))["pointsEarned"] == "19"
    assert await api.fetch_data("{ eventTypes eventSources }") == {
        "eventTypes": ["point_add", "point_sub", "purchase", "refund", "thanks"], "eventSources": ["api", "rule:points"],
    }  # fmt: skip


async def test_effects_are_shown_before_they_are_published(api: Api) -> None:
    """What a walk made is only in the outbox of the pass until publish stores it."""
    business = api.business
    await business.create_passes("ann")
    await business.run_worker()
    await define(business, "five", {"event": {"types": ["purchase"]}}, [{"awardPoints": {"points": 5}}])
    bought = (await buy(api, 1))["event"]["id"]
    await fold_all(business)
    assert await business.ctx.resources.db["events"].count_documents({"type": "point_add"}) == 0
    event = await read_event(api, bought)
    assert (event["pointsEarned"], [each["type"] for each in event["effects"]]) == ("5", ["point_add"])
    await business.run_worker()
    assert (await read_event(api, bought))["effects"] == event["effects"]


async def fold_all(business: Business) -> None:
    for key in SLOT_RANGES:
        while await fold_once(business.worker, key):
            pass


async def test_late_event_says_so_before_and_after_it_is_counted(api: Api) -> None:
    business = api.business
    await business.create_passes("ann")
    await wait(business, days=2)
    assert (await buy(api, 1))["late"] is False
    await business.run_worker()
    earlier = format_instant(await business.clock.now() - timedelta(days=1))
    query = "mutation ($input: RecordEventInput!) { recordEvent(input: $input) { late folded event { id } } }"
    sent = {"passExternalId": "ann", "type": "purchase", "amount": 2, "occurredAt": earlier, "externalId": "late"}
    assert (await api.fetch_data(query, input=sent))["recordEvent"]["late"] is True
    await business.run_worker()
    assert (await api.fetch_data(query, input=sent))["recordEvent"]["late"] is False  # a DUPLICATE was not recorded now
    await wait(business, seconds=1)
    query = "mutation ($input: RecordEventsInput!) { recordEvents(input: $input) { results { late } } }"
    events = [{**sent, "externalId": "more"}, {**sent, "externalId": "now", "occurredAt": None}]
    results = (await api.fetch_data(query, input={"events": events}))["recordEvents"]["results"]
    assert [result["late"] for result in results] == [True, False]


async def test_firings_name_rule_cause_and_results(api: Api) -> None:
    """Events trigger rules, and rules record events (A1-21)."""
    business = api.business
    await business.create_passes("ann", "bob")
    segment = await business.create_segment("buyers", purchases(2))
    every_second = {"nth": {"every": 2}}
    await define(
        business, "second", {"event": {"types": ["purchase"]}}, [{"awardPoints": {"points": 5}}], **every_second
    )
    entered = {"segmentEntered": {"segmentId": segment.id}}
    template = {"updatePass": {"fields": {"greeting": "{{ event.missing }}"}}}
    await define(business, "welcome", entered, [template])
    for name in ("ann", "ann", "bob"):
        await buy(api, 10, passExternalId=name)
    await business.run_worker()
    data = await api.fetch_data(f"{{ ruleFirings {{ totalCount nodes {{ {FIRING} }} }} }}")
    welcome, second = sorted(data["ruleFirings"]["nodes"], key=lambda each: each["status"])
    assert data["ruleFirings"]["totalCount"] == 2
    assert (second["rule"], second["pass"], second["number"], second["status"], second["depth"]) == (
        {"key": "second"}, {"externalId": "ann"}, 2, "SUCCEEDED", 1,
    )  # fmt: skip
    assert (second["event"], second["activity"]) == ({"type": "purchase", "amount": "10"}, None)
    assert second["effects"] == [
        {
            "index": 0,
            "status": "SUCCEEDED",
            "reason": None,
            "points": "5",
            "event": {"type": "point_add", "points": "5"},
        }
    ]
    assert (welcome["status"], welcome["event"], welcome["activity"]["type"]) == (
        "FAILED", None, "customer.segment.entered",
    )  # fmt: skip
    assert welcome["effects"][0]["reason"].startswith("TEXT")
    query = "query ($filter: RuleFiringFilter) { ruleFirings(filter: $filter) { totalCount nodes { rule { key } } } }"
    bob = to_global_id("Pass", (await business.read_pass("bob")).id)
    ann = to_global_id("Pass", (await business.read_pass("ann")).id)
    for filters, keys in (
        ({"status": "FAILED"}, ["welcome"]),
        ({"status": "SUCCEEDED"}, ["second"]),
        ({"status": "CONTROL"}, []),
        ({"passId": bob}, []),
        ({"passId": ann, "status": "SUCCEEDED"}, ["second"]),
        ({"occurredBefore": "2020-01-01T00:00:00Z"}, []),
    ):
        found = (await api.fetch_data(query, filter=filters))["ruleFirings"]
        assert [each["rule"]["key"] for each in found["nodes"]] == keys
        assert found["totalCount"] == len(keys)
    listed = await api.fetch_data('{ rule(key: "second") { firings(first: 1) { totalCount nodes { number } } } }')
    assert listed["rule"]["firings"] == {"totalCount": 1, "nodes": [{"number": 2}]}


RETRY = (
    "mutation ($input: RetryRuleFiringsInput!) { retryRuleFirings(input: $input) { count userErrors { code field } } }"
)


async def retry(api: Api, **sent: Any) -> Any:
    payload = (await api.fetch_data(RETRY, input=sent))["retryRuleFirings"]
    return [(each["code"], each["field"]) for each in payload["userErrors"]] or payload["count"]


async def test_failed_effect_is_made_once_after_its_cause_is_mended(api: Api) -> None:
    business = api.business
    await business.create_passes("ann", "bob")
    segment = await business.create_segment("buyers", purchases(1))
    entered = {"segmentEntered": {"segmentId": segment.id}}
    greeting = {"recordEvent": {"type": "greeting", "points": 4, "metadata": {"to": "{{ pass.metadata.name }}"}}}
    rule = await define(business, "welcome", entered, [greeting])
    for name in ("ann", "bob"):
        await buy(api, 10, passExternalId=name)
    await business.run_worker()
    ann = await business.read_pass("ann")
    await update_pass(business.ctx, ann.id, metadata={"name": "Ann"})
    await wait(business, seconds=1)
    rule_id = to_global_id("Rule", rule.id)
    assert await retry(api, ruleId=rule_id) == 2
    await business.run_worker()
    await wait(business, seconds=1)
    fields = "id status pass { externalId } effects { status event { id } retriedEvent { type points metadata } }"
    listed = (await api.fetch_data(f"{{ ruleFirings {{ nodes {{ {fields} }} }} }}"))["ruleFirings"]["nodes"]
    firings = {each["pass"]["externalId"]: each for each in listed}
    made = {"type": "greeting", "points": "4", "metadata": {"to": "Ann"}}
    assert firings["ann"]["effects"] == [{"status": "FAILED", "event": None, "retriedEvent": made}]
    assert firings["bob"]["effects"] == [{"status": "FAILED", "event": None, "retriedEvent": None}]
    query = '{ rule(key: "welcome") { statistics { effectsSucceeded effectsFailed } } }'
    figures = (await api.fetch_data(query))["rule"]["statistics"]
    assert figures == {"effectsSucceeded": 1, "effectsFailed": 1}
    ids = [firings["ann"]["id"], firings["bob"]["id"]]
    assert await retry(api, ids=ids) == 1, "the effect of the first firing was made"
    await business.run_worker()
    assert [(await business.read_pass(name)).points for name in ("ann", "bob")] == [4, 0]
    [bought] = await business.ctx.resources.db["events"].find({"type": "purchase", "pass": ann.id}).to_list(None)
    await remove_events(business.ctx, [(ann.id, bought["_id"])])
    await business.run_worker()
    assert (await business.read_pass("ann")).points == 4, "a rebuild counts what a retry made"


async def test_retries_are_refused_with_what_to_change(api: Api) -> None:
    business = api.business
    await business.create_passes("ann")
    rule = await define(
        business, "greet", {"event": {"types": ["purchase"]}}, [{"updatePass": {"fields": {"a": "{{ b }}"}}}]
    )
    bought = (await buy(api, 10))["event"]["id"]
    await business.run_worker()
    [fired] = (await api.fetch_data("{ ruleFirings { nodes { id } } }"))["ruleFirings"]["nodes"]
    rule_id = to_global_id("Rule", rule.id)
    assert await retry(api) == await retry(api, ids=[], ruleId=rule_id) == [("INVALID", ["ids"])]
    assert await retry(api, ids=[]) == [("REQUIRED", ["ids"])]
    assert await retry(api, ids=[fired["id"]] * 1_001) == [("TOO_MANY", ["ids"])]
    assert await retry(api, ids=[fired["id"], bought, "x"]) == [("UNKNOWN", ["ids", "1"]), ("UNKNOWN", ["ids", "2"])]
    assert await retry(api, ruleId="x") == [("UNKNOWN", ["ruleId"])]
    await set_rule_status(business.ctx, rule.id, RuleStatus.PAUSED, "pauseRule")
    assert await retry(api, ruleId=rule_id) == [("CONFLICT", ["ruleId"])]
    assert await retry(api, ids=[fired["id"]]) == [("CONFLICT", ["ids", "0"])]
    query = "mutation ($input: RecordEventInput!) { recordEvent(input: $input) { userErrors { code field } } }"
    sent = {"passExternalId": "ann", "type": "rule_retried", "metadata": {"firing": fired["id"]}}
    assert (await api.fetch_data(query, input=sent))["recordEvent"]["userErrors"] == [
        {"code": "INVALID", "field": ["type"]}
    ]


async def test_rule_changes_the_list_of_a_segment(api: Api) -> None:
    business = api.business
    await business.create_passes("ann", "bob")
    vip = await business.create_segment("vip", {"list": True})
    buyers = await business.create_segment("buyers", purchases(1))
    added = [{"addToSegment": {"segmentId": vip.id}}]
    await define(business, "enter", {"segmentEntered": {"segmentId": buyers.id}}, added)
    removed = [{"removeFromSegment": {"segmentId": vip.id}}]
    await define(business, "leave", {"event": {"types": ["refund"]}}, removed)
    for name in ("ann", "bob"):
        bought = (await buy(api, 10, passExternalId=name))["event"]["id"]
    await business.run_worker()
    assert await business.read_members(vip) == ["ann", "bob"]
    await buy(api, 10, passExternalId="bob", type="refund", correctionOf=bought)
    await business.run_worker()
    assert await business.read_members(vip) == ["ann"]


async def test_statistics_are_sums_over_events_and_diagnostics(api: Api) -> None:
    business = api.business
    await business.create_passes("ann")
    award = [
        {"awardPoints": {"perAmount": {"points": 1, "each": 1}}},
        {"recordEvent": {"type": "x", "metadata": {"a": "{{ b }}"}}},
    ]
    limits = {"perPass": {"count": 2}}
    await define(business, "points", {"event": {"types": ["purchase"]}}, award, limits=limits)
    first = (await buy(api, 10))["event"]["id"]
    await buy(api, 20)
    await buy(api, 30)
    await buy(api, 40, currency="CHF")
    await business.run_worker()
    await buy(api, 4, type="refund", correctionOf=first)
    await business.run_worker()
    await business.worker.diagnostics.store(0)
    fields = "matched fired skipped { reason count } effectsSucceeded effectsFailed pointsAwarded"
    statistics = f"statistics(from: $from, to: $to) {{ {fields} }}"
    query = f'query ($from: DateTime, $to: DateTime) {{ rule(key: "points") {{ {statistics} }} }}'
    found = (await api.fetch_data(query))["rule"]["statistics"]
    assert found == {
        "matched": 4, "fired": 2, "skipped": [{"reason": "CURRENCY", "count": 1}, {"reason": "LIMIT", "count": 1}],
        "effectsSucceeded": 2, "effectsFailed": 2, "pointsAwarded": "26",
    }  # fmt: skip
    later = format_instant(await business.clock.now() + timedelta(hours=2))
    found = (await api.fetch_data(query, **{"from": later}))["rule"]["statistics"]
    assert (found["matched"], found["fired"], found["pointsAwarded"]) == (0, 0, "0")
    answer = await api.execute(query, **{"from": later, "to": later})
    assert list_codes(answer["errors"][0]["extensions"]["problems"]) == [("OUT_OF_RANGE", ["from"])]


async def test_conversion_compares_treated_passes_with_the_control_group(api: Api) -> None:
    business = api.business
    names = [f"guest-{number}" for number in range(20)]
    await business.create_passes(*names)
    await define(
        business, "offer", {"event": {"types": ["visit"]}}, [{"awardPoints": {"points": 1}}], controlGroupPercent=50
    )
    await business.record(*({"pass_external_id": name, "type": "visit"} for name in names))
    await wait(business, seconds=1)
    await business.run_worker()
    data = await api.fetch_data("{ ruleFirings(first: 250) { nodes { status pass { externalId } } } }")
    control = [each["pass"]["externalId"] for each in data["ruleFirings"]["nodes"] if each["status"] == "CONTROL"]
    treated = sorted(set(names) - set(control))
    assert len(control) > 2
    assert len(treated) > 2
    buyers = [*treated[:2], control[0]]
    await business.record(*({"pass_external_id": name, "amount": 1} for name in buyers))
    await wait(business, days=3)
    await business.record({"pass_external_id": treated[2], "amount": 1})
    await business.run_worker()
    query = """query ($types: [String!]!, $days: Int!) { rule(key: "offer") { statistics { conversion(types: $types,
      withinDays: $days) { treated { passes converted rate } control { passes converted } uplift confidence } } } }"""
    found = (await api.fetch_data(query, types=["purchase"], days=2))["rule"]["statistics"]["conversion"]
    assert (found["treated"]["passes"], found["treated"]["converted"]) == (len(treated), 2)
    assert found["control"] == {"passes": len(control), "converted": 1}
    assert 0 <= float(found["confidence"]) < 1
    found = (await api.fetch_data(query, types=["purchase"], days=4))["rule"]["statistics"]["conversion"]
    assert found["treated"]["converted"] == 3
    measure = """mutation ($input: MeasureRuleConversionInput!) { measureRuleConversion(input: $input) { job { id }
      userErrors { code field } } }"""
    rule_id = (await api.fetch_data('{ rule(key: "offer") { id } }'))["rule"]["id"]
    sent = {"ruleId": rule_id, "types": ["purchase"], "withinDays": 4}
    job_id = (await api.fetch_data(measure, input=sent))["measureRuleConversion"]["job"]["id"]
    await jobs(business.worker, database_id(job_id, "Job") or "")
    result = (await api.fetch_data("query ($id: ID!) { job(id: $id) { result } }", id=job_id))["job"]["result"]
    assert result == {**found, "control": result["control"], "warnings": []}
    assert {name: result["control"][name] for name in found["control"]} == found["control"]
    refused = (await api.fetch_data(measure, input={**sent, "types": []}))["measureRuleConversion"]
    assert list_codes(refused["userErrors"]) == [("REQUIRED", ["types"])]
    answer = await api.execute(query, types=[], days=1)
    assert list_codes(answer["errors"][0]["extensions"]["problems"]) == [("REQUIRED", ["types"])]


async def test_simulation_is_a_job_with_its_figures_as_result(api: Api) -> None:
    business = api.business
    await business.record({"amount": 10}, {"amount": 20})
    await business.run_worker()
    await wait(business, seconds=1)
    query = """mutation ($input: SimulateRuleInput!) { simulateRule(input: $input) { job { id kind status }
      userErrors { code field } } }"""
    rule = {
        "key": "points",
        "name": "Points",
        "trigger": {"event": {"types": ["purchase"]}},
        "effects": [{"awardPoints": {"points": 5}}],
    }
    sent = {"rule": rule, "from": "2000-01-01T00:00:00Z"}
    job = (await api.fetch_data(query, input=sent))["simulateRule"]["job"]
    assert (job["kind"], job["status"]) == ("SIMULATE_RULE", "QUEUED")
    job_id = (await business.ctx.workspace.jobs.page(PageRequest())).items[0].id
    await jobs(business.worker, job_id)
    found = (await api.fetch_data("query ($id: ID!) { job(id: $id) { status result } }", id=job["id"]))["job"]
    assert found["status"] == "SUCCEEDED"
    assert found["result"] == {
        "passes": 1, "passesLeftOut": 0, "matched": 2, "skipped": [], "fired": 2, "control": 0, "effectsSucceeded": 2,
        "effectsFailed": 0, "pointsAwarded": "10", "warnings": [],
    }  # fmt: skip
    refused = (await api.fetch_data(query, input={"from": "2000-01-01T00:00:00Z"}))["simulateRule"]
    assert refused["userErrors"] == [{"code": "INVALID", "field": ["rule"]}]
