"""The mutations exportEvents and exportActivities over real HTTP: the job, the signed URL and the file."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from app.clock import SystemClock
from app.domain.files.exports import FILE_TTL_SECONDS, URL_TTL_SECONDS
from app.graphql.types.ids import from_global_id
from tests.graphql.serving import Api, list_codes
from workers.stages.run_job import jobs

EXPORT = """mutation ($events: ExportEventsInput!, $activities: ExportActivitiesInput!) {
  events: exportEvents(input: $events) { job { id kind status downloadUrl } userErrors { code field } }
  activities: exportActivities(input: $activities) { job { id kind } userErrors { code field } } }"""
JOB = """query ($id: ID!) { job(id: $id) { status progress { done total failed } result reportUrl downloadUrl } }"""


async def export(api: Api, **options: Any) -> dict[str, dict[str, Any]]:
    """Start both exports, let the worker finish the jobs, and return the jobs."""
    answer = await api.fetch_data(EXPORT, events=options.get("events", {}), activities=options.get("activities", {}))
    finished = {}
    for name, payload in answer.items():
        assert payload["userErrors"] == []
        type_and_id = from_global_id(payload["job"]["id"])
        assert type_and_id is not None
        await jobs(api.business.worker, type_and_id[1])
        finished[name] = {**(await api.fetch_data(JOB, id=payload["job"]["id"]))["job"], "kind": payload["job"]["kind"]}
    return finished


def join_url(api: Api, path: str) -> str:
    return api.url.replace("/graphql", path)


async def test_file_of_a_finished_export_is_downloaded_by_its_url_without_a_key(api: Api) -> None:
    """A1-24, A1-25: events by filter and the whole feed are exported to files; the signed URL is enough to get them."""
    await api.business.record({"amount": "1.50", "external_id": "a"}, {"type": "visit", "pass_external_id": "bob"})
    await api.business.run_worker()
    found = await export(api, events={"filter": {"types": ["purchase"]}}, activities={"format": "CSV"})
    events, activities = found["events"], found["activities"]
    assert (events["kind"], events["status"], events["reportUrl"]) == ("EXPORT_EVENTS", "SUCCEEDED", None)
    assert events["progress"] == {"done": 1, "total": 1, "failed": 0}
    assert events["result"].keys() == {"rows", "bytes", "warnings"}
    fetched = await api.http.get(join_url(api, events["downloadUrl"]))
    assert fetched.headers["content-type"] == "application/jsonl; charset=utf-8"
    assert fetched.headers["content-length"] == str(events["result"]["bytes"])
    assert fetched.headers["content-disposition"].startswith('attachment; filename="events-job_')
    [line] = fetched.text.splitlines()
    assert json.loads(line)["externalId"] == "a"
    fetched = await api.http.get(join_url(api, activities["downloadUrl"]))
    assert fetched.text.startswith("\ufeffid,type,created_at,passId,passExternalId,cursor,data\r\n")
    page = await api.fetch_data("query ($after: String) { activity(after: $after) { nodes { id } } }",
                          after=activities["result"]["cursor"])  # fmt: skip
    assert page == {"activity": {"nodes": []}}


async def test_download_url_that_was_changed_or_has_expired_is_refused(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    await api.business.record({"amount": 1})
    path = (await export(api))["events"]["downloadUrl"]
    other = (await export(api))["events"]["downloadUrl"]
    bare, _, parameters = path.partition("?")
    changed = [
        path.replace("signature=", "signature=0"),
        path.replace("expires=", "expires=1"),
        path.replace("expires=", "expires=x"),
        path.replace("workspace=", "workspace=x"),
        path.replace("signature=", "signature=%ff%C3%A9"),
        f"{other.partition('?')[0]}?{parameters}",
        bare,
    ]
    for each in changed:
        refusal = await api.http.get(join_url(api, each), headers=api.headers)
        assert refusal.status_code == 403, each
        assert refusal.json()["errors"][0]["extensions"]["code"] == "FORBIDDEN"
        assert "downloadUrl" not in refusal.text, "a client without a key must learn no name of the schema"
    now = SystemClock.now

    def shift_clock(seconds: float) -> None:
        async def shifted_now(clock: SystemClock) -> Any:
            return await now(clock) + timedelta(seconds=seconds)

        monkeypatch.setattr(SystemClock, "now", shifted_now)

    shift_clock(URL_TTL_SECONDS + 1)
    assert (await api.http.get(join_url(api, path))).status_code == 403
    fresh = (await export(api))["events"]["downloadUrl"]
    assert (await api.http.get(join_url(api, fresh))).status_code == 200
    await api.business.ctx.resources.db["job_files"].delete_many({})
    assert (await api.http.get(join_url(api, fresh))).status_code == 404
    shift_clock(URL_TTL_SECONDS + FILE_TTL_SECONDS)
    listed = await api.fetch_data("{ jobs(first: 1) { nodes { downloadUrl } } }")
    assert listed["jobs"]["nodes"] == [{"downloadUrl": None}]


async def test_export_with_an_unknown_filter_or_without_the_scope_read_is_refused(api: Api) -> None:
    unknown = {"filter": {"passExternalId": "nobody"}}
    answer = await api.fetch_data(EXPORT, events=unknown, activities={"after": "nonsense"})
    assert list_codes(answer["events"]["userErrors"]) == [("UNKNOWN", ["filter"])]
    assert list_codes(answer["activities"]["userErrors"]) == [("INVALID", ["after"])]
    answer = await api.fetch_data(EXPORT, events={"filter": {"currency": "x"}}, activities={})
    assert list_codes(answer["events"]["userErrors"]) == [("UNKNOWN", ["filter", "currency"])]
    log = await api.fetch_data("{ auditLog { nodes { action } } }")
    assert log["auditLog"]["nodes"] == [{"action": "exportActivities"}]
    api.secret = await api.create_key("write")
    errors = (await api.execute(EXPORT, events={}, activities={}))["errors"]
    assert {error["extensions"]["code"] for error in errors} == {"FORBIDDEN"}
