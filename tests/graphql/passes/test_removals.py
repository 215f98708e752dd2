"""The mutations deleteEvents and erasePass over HTTP."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from app.domain.jobs import JobStatus
from tests.business import purchases, spent
from tests.graphql.serving import Api, list_codes
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


async def finish_job(api: Api, job: dict[str, Any]) -> dict[str, Any]:
    """Let the worker finish the job, and return the job."""
    for _ in range(20):
        for waiting in await api.business.worker.job_leases.open(10**14):
            await STAGES["jobs"](api.business.worker, waiting.job_id)
        found = (
            await api.fetch_data(
                "query ($id: ID!) { job(id: $id) { status result progress { done total } } }", id=job["id"]
            )
        )["job"]
        if found["status"] not in (JobStatus.QUEUED, JobStatus.RUNNING):
            return found  # type: ignore[no-any-return]
    raise AssertionError("the job does not end")


async def test_deleteEvents_removes_exactly_the_events_that_its_dry_run_counts(api: Api) -> None:
    """WH2-09: a removed event counts nowhere and is in no list. Events recorded after the call stay."""
    business = api.business
    await business.record(
        *({"amount": n, "external_id": f"n{n}", "pass_external_id": f"p{n % 3}"} for n in range(1, 13))
    )
    await business.record({"type": "visit", "external_id": "v", "pass_external_id": "p1"})
    await business.run_worker()
    await business.create_segment("ten", spent(10))
    await business.run_worker()
    refused = (await api.fetch_data(DELETE, filter={}))["deleteEvents"]
    assert list_codes(refused["userErrors"]) == [("REQUIRED", ["filter"])]
    unknown = (await api.fetch_data(DELETE, filter={"passExternalId": "nobody"}))["deleteEvents"]
    assert (unknown["job"], unknown["deletedCount"]) == (None, 0)
    dry = (await api.fetch_data(DELETE, filter={"types": ["purchase"], "amountMin": "5"}, dryRun=True))["deleteEvents"]
    assert (dry["job"], dry["deletedCount"], dry["userErrors"]) == (None, 8, [])
    payload = (await api.fetch_data(DELETE, filter={"types": ["purchase"], "amountMin": "5"}))["deleteEvents"]
    assert (payload["job"]["kind"], payload["deletedCount"]) == ("DELETE_EVENTS", None)
    business.clock.set(await business.clock.now() + timedelta(seconds=1))
    await business.record({"amount": 50, "external_id": "later", "pass_external_id": "p2"})
    job = await finish_job(api, payload["job"])
    assert job == {
        "status": "SUCCEEDED",
        "result": {"deleted": 8, "leftOut": 0, "warnings": []},
        "progress": {"done": 8, "total": 8},
    }
    await business.run_worker()
    left = (await api.fetch_data(LIST))["events"]
    assert sorted(node["externalId"] for node in left["nodes"]) == ["later", "n1", "n2", "n3", "n4", "v"]
    assert left["totalCount"] == 6
    found = await api.fetch_data(
        '{ pass(externalId: "p2") { statistics { eventCount spend { net } } }'
        ' segment(key: "ten") { members { nodes { pass { externalId } } } } '
        'activity(filter: {types: ["customer.updated"]}) { totalCount nodes { cause { kind event { id } } data } } }'
    )
    assert found["pass"]["statistics"] == {"eventCount": 2, "spend": [{"net": "52"}]}
    assert [node["pass"]["externalId"] for node in found["segment"]["members"]["nodes"]] == ["p2"]
    assert found["activity"]["totalCount"] == 8
    assert all(node["cause"] == {"kind": "EVENT_REMOVED", "event": None} for node in found["activity"]["nodes"])
    log = await api.fetch_data("{ auditLog(first: 1) { nodes { action details } } }")
    assert log["auditLog"]["nodes"] == [{"action": "deleteEvents", "details": {"filter": "types amount_min"}}]


async def test_erased_pass_is_in_no_result_and_its_receipt_counts_what_was_removed(api: Api) -> None:
    """WH1-22: nothing of the pass is found by id, in lists or in segments, and no event can be recorded on it."""
    business = api.business
    await business.create_segment("one", purchases(1), notify="EMIT")
    [recorded] = (await business.record({"amount": 1, "external_id": "x"})).results
    await business.run_worker()
    assert recorded.event is not None
    dry = (await api.fetch_data(ERASE, externalId="ann", dryRun=True))["erasePass"]["receipt"]
    assert (dry["state"], dry["eventCount"], dry["activityCount"], dry["segments"]) == (
        "PENDING",
        1,
        5,
        [{"key": "one"}],
    )
    requested = (await api.fetch_data(ERASE, externalId="ann"))["erasePass"]["receipt"]
    assert (requested["state"], requested["erasedAt"], requested["passId"]) == ("PENDING", None, dry["passId"])
    await business.run_worker()
    receipt = (await api.fetch_data(ERASE, id=requested["passId"]))["erasePass"]["receipt"]
    assert receipt == {**dry, "state": "DONE", "erasedAt": receipt["erasedAt"]}
    erasure = await api.fetch_data(
        "query ($id: ID!) { passErasure(id: $id) { state eventCount } }", id=requested["passId"]
    )
    assert erasure["passErasure"] == {"state": "DONE", "eventCount": 1}
    repeated = (await api.fetch_data(ERASE, externalId="ann"))["erasePass"]
    assert list_codes(repeated["userErrors"]) == [("UNKNOWN", ["externalId"])]
    found = await api.fetch_data(
        "query ($id: ID!, $event: ID!) { pass(id: $id) { id } passes { totalCount } "
        "event(id: $event) { id } events { totalCount } "
        'segment(key: "one") { memberCount } activity { nodes { type pass { id } data } } }',
        id=requested["passId"], event=recorded.event.id,
    )  # fmt: skip
    assert (found["pass"], found["passes"], found["event"]) == (None, {"totalCount": 0}, None)
    assert (found["events"]["totalCount"], found["segment"]["memberCount"]) == (0, 0)
    assert found["activity"]["nodes"][-1] == {"type": "customer.deleted", "pass": None, "data": {"erased": True}}
    record_on_pass = (
        'mutation ($id: ID!) { recordEvent(input: {passId: $id, type: "visit"}) { status userErrors { code field } } }'
    )
    refused = (await api.fetch_data(record_on_pass, id=requested["passId"]))["recordEvent"]
    assert (refused["status"], list_codes(refused["userErrors"])) == ("REJECTED", [("UNKNOWN", ["passId"])])


async def test_erasure_leaves_nothing_personal_in_any_collection(api: Api) -> None:
    """WH1-22: events, passes, outboxes, the activity log, receipts, jobs, files and the audit log are all searched."""
    business, db = api.business, api.business.ctx.resources.db
    await api.fetch_data(
        'mutation { createSegment(input: {key: "hers", name: "Hers", notify: EMIT, criteria:'
        ' {pass: {field: "holder.name", operator: NE, value: "x"}}}) { segment { id } } }'
    )
    await api.fetch_data(
        """mutation { createPass(input: {externalId: "secret-pass", holder: {name: "secret-name", email: "secret@x"},
          fields: {secret: "secret-field"}, metadata: {secret: "secret-data"}}) { pass { id } } }"""
    )
    record = """mutation ($events: [RecordEventInput!]!) {
      recordEvents(input: {idempotencyKey: "secret-key", events: $events}) { created failed } }"""
    items: list[dict[str, str | dict[str, str]]] = [
        {"type": "purchase", "amount": "3", "externalId": "secret-order", "metadata": {"secret": "secret-item"}},
        {"type": "field_updated", "fieldName": "secret-field", "oldValue": "secret-old", "newValue": "secret-new"},
        {"type": "purchase", "amount": "secret-amount"},
        {"type": "visit", "externalId": "secret-order"},
    ]
    answer = await api.fetch_data(record, events=[{"passExternalId": "secret-pass", **item} for item in items])
    assert answer["recordEvents"] == {"created": 2, "failed": 2}
    await business.run_worker()
    personal_filter = {"passExternalId": "secret-pass", "externalId": "secret-order", "sources": ["api"]}
    job = (await api.fetch_data(DELETE, filter=personal_filter))["deleteEvents"]["job"]
    assert (await finish_job(api, job))["result"]["deleted"] == 1
    assert "secret" in str([await db[name].find({}).to_list(None) for name in await db.list_collection_names()])
    await api.fetch_data(ERASE, externalId="secret-pass")
    await business.run_worker()
    for name in await db.list_collection_names():
        # A workspace document has a field named `secret`: the key of its fingerprints.
        docs = [] if name == "workspaces" else await db[name].find({}).to_list(None)
        assert "secret" not in str(docs), (name, docs)


async def test_removals_without_the_scope_admin_are_forbidden(api: Api) -> None:
    api.secret = await api.create_key("read", "write", "subscribe")
    for query in (
        'mutation { deleteEvents(input: {filter: {types: ["x"]}, dryRun: true}) { deletedCount } }',
        'mutation { erasePass(input: {externalId: "ann"}) { receipt { state } } }',
        '{ passErasure(id: "pass_1") { state } }',
    ):
        assert (await api.fetch_error(query))["extensions"]["code"] == "FORBIDDEN"
