"""exportEvents and exportActivities over real HTTP: the job, the signed address, the file."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from app.clock import SystemClock
from app.domain.files.exports import FILE_TTL_SECONDS, URL_TTL_SECONDS
from app.graphql.types.ids import from_global_id
from tests.graphql.serving import Api, codes
from workers.stages.run_job import jobs

EXPORT = """mutation ($events: ExportEventsInput!, $activities: ExportActivitiesInput!) {
  events: exportEvents(input: $events) { job { id kind status downloadUrl } userErrors { code field } }
  activities: exportActivities(input: $activities) { job { id kind } userErrors { code field } } }"""
JOB = """query ($id: ID!) { job(id: $id) { status progress { done total failed } result reportUrl downloadUrl } }"""


async def exported(api: Api, **options: Any) -> dict[str, dict[str, Any]]:
    """Both jobs, once the worker is done with them."""
    answer = await api.data(EXPORT, events=options.get("events", {}), activities=options.get("activities", {}))
    found = {}
    for name, payload in answer.items():
        assert payload["userErrors"] == []
        named = from_global_id(payload["job"]["id"])
        assert named is not None
        await jobs(api.business.worker, named[1])
        found[name] = {**(await api.data(JOB, id=payload["job"]["id"]))["job"], "kind": payload["job"]["kind"]}
    return found


def address(api: Api, path: str) -> str:
    return api.address.replace("/graphql", path)


async def test_a_finished_export_is_fetched_by_its_address_alone(api: Api) -> None:
    """A1-24, A1-25: events by filter, and the whole feed, to files that anybody with the address can fetch."""
    await api.business.record({"amount": "1.50", "external_id": "a"}, {"type": "visit", "pass_external_id": "bob"})
    await api.business.settle()
    found = await exported(api, events={"filter": {"types": ["purchase"]}}, activities={"format": "CSV"})
    events, activities = found["events"], found["activities"]
    assert (events["kind"], events["status"], events["reportUrl"]) == ("EXPORT_EVENTS", "SUCCEEDED", None)
    assert events["progress"] == {"done": 1, "total": 1, "failed": 0}
    assert events["result"].keys() == {"rows", "bytes", "warnings"}
    fetched = await api.http.get(address(api, events["downloadUrl"]))
    assert fetched.headers["content-type"] == "application/jsonl; charset=utf-8"
    assert fetched.headers["content-length"] == str(events["result"]["bytes"])
    assert fetched.headers["content-disposition"].startswith('attachment; filename="events-job_')
    [line] = fetched.text.splitlines()
    assert json.loads(line)["externalId"] == "a"
    fetched = await api.http.get(address(api, activities["downloadUrl"]))
    assert fetched.text.startswith("\ufeffid,type,created_at,passId,passExternalId,cursor,data\r\n")
    page = await api.data("query ($after: String) { activity(after: $after) { nodes { id } } }",
                          after=activities["result"]["cursor"])  # fmt: skip
    assert page == {"activity": {"nodes": []}}


async def test_an_address_that_was_changed_or_is_too_old_is_refused(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    await api.business.record({"amount": 1})
    path = (await exported(api))["events"]["downloadUrl"]
    other = (await exported(api))["events"]["downloadUrl"]
    bare, _, asked = path.partition("?")
    changed = [
        path.replace("signature=", "signature=0"),
        path.replace("expires=", "expires=1"),
        path.replace("expires=", "expires=x"),
        path.replace("workspace=", "workspace=x"),
        path.replace("signature=", "signature=%ff%C3%A9"),
        f"{other.partition('?')[0]}?{asked}",
        bare,
    ]
    for each in changed:
        refusal = await api.http.get(address(api, each), headers=api.headers)
        assert refusal.status_code == 403, each
        assert refusal.json()["errors"][0]["extensions"]["code"] == "FORBIDDEN"
        assert "downloadUrl" not in refusal.text  # who has no key is told no name of the schema
    now = SystemClock.now

    def later(seconds: float) -> None:
        async def moved(clock: SystemClock) -> Any:
            return await now(clock) + timedelta(seconds=seconds)

        monkeypatch.setattr(SystemClock, "now", moved)

    later(URL_TTL_SECONDS + 1)
    assert (await api.http.get(address(api, path))).status_code == 403
    fresh = (await exported(api))["events"]["downloadUrl"]
    assert (await api.http.get(address(api, fresh))).status_code == 200
    await api.business.ctx.resources.db["job_files"].delete_many({})
    assert (await api.http.get(address(api, fresh))).status_code == 404
    later(URL_TTL_SECONDS + FILE_TTL_SECONDS)
    listed = await api.data("{ jobs(first: 1) { nodes { downloadUrl } } }")
    assert listed["jobs"]["nodes"] == [{"downloadUrl": None}]


async def test_who_may_not_read_may_not_export_and_what_is_not_there_is_refused(api: Api) -> None:
    unknown = {"filter": {"passExternalId": "nobody"}}
    answer = await api.data(EXPORT, events=unknown, activities={"after": "nonsense"})
    assert codes(answer["events"]["userErrors"]) == [("UNKNOWN", ["filter"])]
    assert codes(answer["activities"]["userErrors"]) == [("INVALID", ["after"])]
    answer = await api.data(EXPORT, events={"filter": {"currency": "x"}}, activities={})
    assert codes(answer["events"]["userErrors"]) == [("UNKNOWN", ["filter", "currency"])]
    log = await api.data("{ auditLog { nodes { action } } }")
    assert log["auditLog"]["nodes"] == [{"action": "exportActivities"}]
    api.secret = await api.key("write")
    errors = (await api.answer(EXPORT, events={}, activities={}))["errors"]
    assert {error["extensions"]["code"] for error in errors} == {"FORBIDDEN"}
