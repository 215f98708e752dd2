"""deleteEvents and erasePass over HTTP."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from app.domain.jobs import JobStatus
from tests.business import purchases, spent
from tests.graphql.serving import Api, codes
from workers.main import STAGES

DELETE = """mutation ($filter: EventFilter!, $dryRun: Boolean! = false) {
  deleteEvents(input: {filter: $filter, dryRun: $dryRun}) {
    job { id kind status result } deletedCount userErrors { code field message }
  }
}"""
ERASE = """mutation ($externalId: String, $id: ID, $dryRun: Boolean! = false) {
  erasePass(input: {id: $id, externalId: $externalId, dryRun: $dryRun}) {
    receipt { passId state erasedAt eventCount aggregateCount activityCount segments { key } }
    userErrors { code field }
  }
}"""
LIST = "{ events(first: 20) { totalCount nodes { externalId } } }"


async def finished(api: Api, job: dict[str, Any]) -> dict[str, Any]:
    """The job, once a worker has carried it to its end."""
    for _ in range(20):
        for job_id in await api.business.worker.job_leases.open(10**14):
            await STAGES["jobs"](api.business.worker, job_id)
        found = (
            await api.data("query ($id: ID!) { job(id: $id) { status result progress { done total } } }", id=job["id"])
        )["job"]
        if found["status"] not in (JobStatus.QUEUED, JobStatus.RUNNING):
            return found  # type: ignore[no-any-return]
    raise AssertionError("the job does not end")


async def test_events_are_removed_by_filter_and_a_dry_run_tells_exactly_how_many(api: Api) -> None:
    """WH2-09."""
    business = api.business
    await business.record(
        *({"amount": n, "external_id": f"n{n}", "pass_external_id": f"p{n % 3}"} for n in range(1, 13))
    )
    await business.record({"type": "visit", "external_id": "v", "pass_external_id": "p1"})
    await business.settle()
    await business.segment("ten", spent(10))
    await business.settle()
    refused = (await api.data(DELETE, filter={}))["deleteEvents"]
    assert codes(refused["userErrors"]) == [("REQUIRED", ["filter"])]
    nobody = (await api.data(DELETE, filter={"passExternalId": "nobody"}))["deleteEvents"]
    assert (nobody["job"], nobody["deletedCount"]) == (None, 0)
    dry = (await api.data(DELETE, filter={"types": ["purchase"], "amountMin": "5"}, dryRun=True))["deleteEvents"]
    assert (dry["job"], dry["deletedCount"], dry["userErrors"]) == (None, 8, [])
    payload = (await api.data(DELETE, filter={"types": ["purchase"], "amountMin": "5"}))["deleteEvents"]
    assert (payload["job"]["kind"], payload["deletedCount"]) == ("DELETE_EVENTS", None)
    business.clock.set(await business.clock.now() + timedelta(seconds=1))
    await business.record({"amount": 50, "external_id": "later", "pass_external_id": "p2"})
    job = await finished(api, payload["job"])
    assert job == {"status": "SUCCEEDED", "result": {"deleted": 8, "warnings": []}, "progress": {"done": 8, "total": 8}}
    await business.settle()
    left = (await api.data(LIST))["events"]
    assert sorted(node["externalId"] for node in left["nodes"]) == ["later", "n1", "n2", "n3", "n4", "v"]
    assert left["totalCount"] == 6
    found = await api.data(
        '{ pass(externalId: "p2") { statistics { eventCount spend { net } } }'
        ' segment(key: "ten") { members { nodes { pass { externalId } } } } '
        'activity(filter: {types: ["customer.updated"]}) { totalCount nodes { cause { kind event { id } } data } } }'
    )
    assert found["pass"]["statistics"] == {"eventCount": 2, "spend": [{"net": "52"}]}
    assert [node["pass"]["externalId"] for node in found["segment"]["members"]["nodes"]] == ["p2"]
    assert found["activity"]["totalCount"] == 8
    assert all(node["cause"] == {"kind": "EVENT_REMOVED", "event": None} for node in found["activity"]["nodes"])
    log = await api.data("{ auditLog(first: 1) { nodes { action details } } }")
    assert log["auditLog"]["nodes"] == [{"action": "deleteEvents", "details": {"filter": "types amount_min"}}]


async def test_an_erased_pass_is_found_nowhere_and_its_receipt_says_what_changed(api: Api) -> None:
    """WH1-22."""
    business = api.business
    await business.segment("one", purchases(1), notify="EMIT")
    [recorded] = (await business.record({"amount": 1, "external_id": "x"})).results
    await business.settle()
    assert recorded.event is not None
    dry = (await api.data(ERASE, externalId="ann", dryRun=True))["erasePass"]["receipt"]
    assert (dry["state"], dry["eventCount"], dry["activityCount"], dry["segments"]) == (
        "PENDING",
        1,
        5,
        [{"key": "one"}],
    )
    asked = (await api.data(ERASE, externalId="ann"))["erasePass"]["receipt"]
    assert (asked["state"], asked["erasedAt"], asked["passId"]) == ("PENDING", None, dry["passId"])
    await business.settle()
    receipt = (await api.data(ERASE, id=asked["passId"]))["erasePass"]["receipt"]
    assert receipt == {**dry, "state": "DONE", "erasedAt": receipt["erasedAt"]}
    again = await api.data("query ($id: ID!) { passErasure(id: $id) { state eventCount } }", id=asked["passId"])
    assert again["passErasure"] == {"state": "DONE", "eventCount": 1}
    gone = (await api.data(ERASE, externalId="ann"))["erasePass"]
    assert codes(gone["userErrors"]) == [("UNKNOWN", ["externalId"])]
    found = await api.data(
        "query ($id: ID!, $event: ID!) { pass(id: $id) { id } passes { totalCount } "
        "event(id: $event) { id } events { totalCount } "
        'segment(key: "one") { memberCount } activity { nodes { type pass { id } data } } }',
        id=asked["passId"], event=recorded.event.id,
    )  # fmt: skip
    assert (found["pass"], found["passes"], found["event"]) == (None, {"totalCount": 0}, None)
    assert (found["events"]["totalCount"], found["segment"]["memberCount"]) == (0, 0)
    assert found["activity"]["nodes"][-1] == {"type": "customer.deleted", "pass": None, "data": {"erased": True}}
    to_it = (
        'mutation ($id: ID!) { recordEvent(input: {passId: $id, type: "visit"}) { status userErrors { code field } } }'
    )
    refused = (await api.data(to_it, id=asked["passId"]))["recordEvent"]
    assert (refused["status"], codes(refused["userErrors"])) == ("REJECTED", [("UNKNOWN", ["passId"])])


async def test_nothing_that_was_sent_about_a_person_is_left_in_any_collection(api: Api) -> None:
    """WH1-22: not in events, passes, outboxes and the feed, nor in receipts, jobs, files and the audit log."""
    business, db = api.business, api.business.ctx.resources.db
    await api.data(
        'mutation { createSegment(input: {key: "hers", name: "Hers", notify: EMIT, criteria:'
        ' {pass: {field: "holder.name", operator: NE, value: "x"}}}) { segment { id } } }'
    )
    await api.data(
        """mutation { createPass(input: {externalId: "secret-pass", holder: {name: "secret-name", email: "secret@x"},
          fields: {secret: "secret-field"}, metadata: {secret: "secret-data"}}) { pass { id } } }"""
    )
    record = """mutation ($events: [RecordEventInput!]!) {
      recordEvents(input: {idempotencyKey: "secret-key", events: $events}) { created failed } }"""
    sent: list[dict[str, str | dict[str, str]]] = [
        {"type": "purchase", "amount": "3", "externalId": "secret-order", "metadata": {"secret": "secret-item"}},
        {"type": "field_updated", "fieldName": "secret-field", "oldValue": "secret-old", "newValue": "secret-new"},
        {"type": "purchase", "amount": "secret-amount"},
        {"type": "visit", "externalId": "secret-order"},
    ]
    answer = await api.data(record, events=[{"passExternalId": "secret-pass", **item} for item in sent])
    assert answer["recordEvents"] == {"created": 2, "failed": 2}
    await business.settle()
    deleting = {"passExternalId": "secret-pass", "externalId": "secret-order", "sources": ["api"]}
    job = (await api.data(DELETE, filter=deleting))["deleteEvents"]["job"]
    assert (await finished(api, job))["result"]["deleted"] == 1
    assert "secret" in str([await db[name].find({}).to_list(None) for name in await db.list_collection_names()])
    await api.data(ERASE, externalId="secret-pass")
    await business.settle()
    for name in await db.list_collection_names():
        # The key of the workspace's fingerprints is called so.
        docs = [] if name == "workspaces" else await db[name].find({}).to_list(None)
        assert "secret" not in str(docs), (name, docs)


async def test_removing_needs_the_scope_admin(api: Api) -> None:
    api.secret = await api.key("read", "write", "subscribe")
    for query in (
        'mutation { deleteEvents(input: {filter: {types: ["x"]}, dryRun: true}) { deletedCount } }',
        'mutation { erasePass(input: {externalId: "ann"}) { receipt { state } } }',
        '{ passErasure(id: "pass_1") { state } }',
    ):
        assert (await api.refusal(query))["extensions"]["code"] == "FORBIDDEN"
