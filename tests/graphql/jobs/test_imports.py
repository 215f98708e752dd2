"""The mutation importEvents over real HTTP: the file, the job and its report."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pytest

from app.graphql.types.ids import from_global_id
from tests.business import create_business
from tests.graphql.serving import Api, list_codes, run_api
from workers.stages.run_job import jobs

IMPORT = """mutation ($input: ImportEventsInput!) { importEvents(input: $input) {
  job { id kind status dryRun progress { done total failed } reportUrl }
  userErrors { code field message } } }"""
JOB = """query ($id: ID!) { job(id: $id) {
  status progress { done total failed } result reportUrl error startedAt finishedAt cancelling } }"""


async def import_file(api: Api, data: bytes | str, name: str = "sales.csv", **options: Any) -> dict[str, Any]:
    """Upload a file with importEvents, and return the payload."""
    operations = {"query": IMPORT, "variables": {"input": {"file": None, **options}}}
    response = await api.http.post(
        api.url,
        data={"operations": json.dumps(operations), "map": json.dumps({"0": ["variables.input.file"]})},
        files={"0": (name, data)},
        headers={**api.headers, "graphql-require-preflight": "1"},
    )
    answer = response.json()
    assert "errors" not in answer, answer
    payload: dict[str, Any] = answer["data"]["importEvents"]
    return payload


async def run_job(api: Api, job: dict[str, Any]) -> dict[str, Any]:
    """Let the worker finish the job, and return the job."""
    type_and_id = from_global_id(job["id"])
    assert type_and_id is not None
    await jobs(api.business.worker, type_and_id[1])
    found: dict[str, Any] = (await api.fetch_data(JOB, id=job["id"]))["job"]
    assert found["finishedAt"] is not None
    return found


async def test_import_of_a_csv_file_creates_a_job_and_an_event_for_each_row(api: Api) -> None:
    """A1-18: columns become attributes, a worker runs the import, and clients see its progress."""
    payload = await import_file(api, "customer_id,date,amount\nann,2025-11-01,1.50\nbob,2025-11-02,2\n")
    job = payload["job"]
    assert (payload["userErrors"], job["kind"], job["status"], job["dryRun"]) == ([], "IMPORT", "QUEUED", False)
    finished = await run_job(api, job)
    assert (finished["status"], finished["progress"], finished["reportUrl"]) == (
        "SUCCEEDED",
        {"done": 2, "total": 2, "failed": 0},
        None,
    )
    assert finished["result"] == {
        "created": 2,
        "duplicate": 0,
        "failed": 0,
        "leftOut": 0,
        "source": "import:sales.csv",
        "warnings": [],
    }
    answer = await api.fetch_data(
        "{ events { nodes { amount source externalId origin { channel } pass { externalId } } } }"
    )
    assert answer["events"]["nodes"][0] == {
        "amount": "2",
        "source": "import:sales.csv",
        "externalId": "2",
        "origin": {"channel": "IMPORT"},
        "pass": {"externalId": "bob"},
    }


async def test_import_of_a_jsonl_file_fails_only_its_invalid_lines(api: Api) -> None:
    """The job shows its progress, and the report has the numbers of the lines that failed."""
    lines = (
        '{"customer":{"id":"ann"},"kind":"Check-In","day":"31.01.2025","metadata":{"door":7}}\n'
        'nonsense\n{"customer":{"id":"ann"},"kind":"scan","day":"never"}\n'
    )
    columns = [
        {"field": "passExternalId", "column": "customer.id"},
        {"field": "type", "column": "kind"},
        {"field": "occurredAt", "column": "day"},
    ]
    finished = await run_job(
        api, (await import_file(api, lines, "visits.jsonl", format="JSONL", columns=columns))["job"]
    )
    assert finished["progress"] == {"done": 3, "total": 3, "failed": 2}
    report = await api.http.get(api.url.replace("/graphql", finished["reportUrl"]), headers=api.headers)
    found = [line[:3] for line in csv.reader(io.StringIO(report.content.decode("utf-8-sig")))][1:]
    assert found == [["2", "INVALID", ""], ["3", "INVALID", "occurredAt"]]
    answer = await api.fetch_data("{ events { nodes { type externalId source metadata occurredAt } } }")
    assert answer["events"]["nodes"] == [
        {
            "type": "check_in",
            "externalId": "1",
            "source": "import:visits.jsonl",
            "metadata": {"door": 7},
            "occurredAt": "2025-01-31T00:00:00.000Z",
        }
    ]


async def test_options_of_an_import_say_how_its_cells_are_read(api: Api) -> None:
    columns = [
        {"field": "passExternalId", "column": "who"},
        {"field": "type", "value": "visit"},
        {"field": "occurredAt", "value": "now"},
        {"field": "points", "column": "points"},
        {"field": "metadata.weight", "column": "weight", "kind": "NUMBER"},
        {"field": "metadata.till", "column": "till", "kind": "TEXT"},
    ]
    rows = "who;points;weight;till\nann;1.234;2,50;7\nbob;1;12.5;8\n"
    payload = await import_file(api, rows, columns=columns, decimalMark="COMMA")
    finished = await run_job(api, payload["job"])
    assert (finished["progress"]["failed"], finished["result"]["warnings"]) == (1, [])
    answer = await api.fetch_data("{ events { nodes { points metadata } } }")
    assert answer["events"]["nodes"] == [{"points": "1234", "metadata": {"weight": 2.5, "till": "7"}}]


async def test_report_of_failed_rows_needs_a_key_of_the_workspace_with_the_scope_read(api: Api) -> None:
    payload = await import_file(
        api, 'customer_id,date,amount\nann,2025-11-01,1\nann,2025-11-02,"=2+2"\nann,2025-11-03,1\n'
    )
    finished = await run_job(api, payload["job"])
    assert finished["progress"] == {"done": 3, "total": 3, "failed": 1}
    url = api.url.replace("/graphql", finished["reportUrl"])
    fetched = await api.http.get(url, headers=api.headers)
    assert fetched.headers["content-type"] == "text/csv; charset=utf-8"
    assert fetched.headers["cache-control"] == "no-store"
    header, line = csv.reader(io.StringIO(fetched.content.decode("utf-8-sig")))
    assert header == ["row", "code", "field", "message", "text"]
    assert (line[:3], line[4]) == (["2", "INVALID", "amount"], 'ann,2025-11-02,"=2+2"')
    assert (await api.http.get(url)).status_code == 401
    write_only = {"authorization": f"Bearer {await api.create_key('write')}"}
    assert (await api.http.get(url, headers=write_only)).status_code == 403
    other = await create_business(api.business.ctx.resources, api.business.clock, "Other")
    async with run_api(other) as other_api:
        assert (await other_api.http.get(url, headers=other_api.headers)).status_code == 404
        assert (await other_api.fetch_data(JOB, id=payload["job"]["id"]))["job"] is None
    assert (await api.http.get(url.replace("job_", "job_0"), headers=api.headers)).status_code == 404


@pytest.mark.parametrize(
    ("data", "options", "expected"),
    [
        ("", {}, ("REQUIRED", ["file"])),
        ("customer_id,amount\n", {}, ("REQUIRED", ["file"])),
        (b"\xff\xfec\x00u\x00", {}, ("UNSUPPORTED", ["file"])),
        (b"\x00\x00\x00\x01PNG\n", {}, ("INVALID", ["file"])),
        ("x" * 200_000, {}, ("TOO_LONG", ["file"])),
        ("00004,1997-01-01,2,29.33\n00004,1997-01-18,2,29.73\n", {}, ("REQUIRED", ["columns"])),
        ("a,b\n1,2\n", {}, ("REQUIRED", ["columns"])),
        ("customer,amount\nann,2\n", {}, ("REQUIRED", ["columns"])),
        ("customer,amount\nann,2\n", {"timezone": "Mars"}, ("UNKNOWN", ["timezone"])),
        ("customer,amount\nann,2\n", {"source": ""}, ("INVALID", ["source"])),
        ("customer,amount\nann,2\n", {"format": "JSONL"}, ("INVALID", ["file"])),
        (
            "customer,amount\nann,2\n",
            {"columns": [{"field": "passExternalId", "column": "custommer"}, {"field": "type", "value": "visit"}]},
            ("UNKNOWN", ["columns", "0", "column"]),
        ),
        (
            "customer,amount\nann,2\n",
            {"columns": [{"field": "customer", "column": "customer"}, {"field": "type", "value": "visit"}]},
            ("UNKNOWN", ["columns", "0", "field"]),
        ),
    ],
)
async def test_file_or_mapping_that_is_invalid_is_refused_with_the_path_of_the_field(
    api: Api, data: bytes | str, options: dict[str, Any], expected: tuple[str, list[str]]
) -> None:
    payload = await import_file(api, data, **options)
    assert payload["job"] is None
    assert list_codes(payload["userErrors"])[0] == expected
    assert await api.business.ctx.resources.db["job_files"].count_documents({}) == 0


async def test_jobs_are_listed_cancelled_and_found_by_id(api: Api) -> None:
    first = (await import_file(api, "customer,date,amount\nann,2025-11-01,2\n"))["job"]
    second = (await import_file(api, "customer,date,amount\nann,2025-11-01,2\n", dryRun=True))["job"]
    listed = (await api.fetch_data("{ jobs { totalCount nodes { id dryRun } } }"))["jobs"]
    assert listed == {
        "totalCount": 2,
        "nodes": [{"id": second["id"], "dryRun": True}, {"id": first["id"], "dryRun": False}],
    }
    cancel = "mutation ($id: ID!) { cancelJob(input: { id: $id }) { job { cancelling } userErrors { code field } } }"
    assert (await api.fetch_data(cancel, id=first["id"]))["cancelJob"]["job"] == {"cancelling": True}
    assert (await run_job(api, first))["status"] == "CANCELLED"
    refusal = (await api.fetch_data(cancel, id="job_none"))["cancelJob"]
    assert list_codes(refusal["userErrors"]) == [("UNKNOWN", ["id"])]
    found = await api.fetch_data("query ($id: ID!) { node(id: $id) { ... on Job { status } } }", id=first["id"])
    assert found == {"node": {"status": "CANCELLED"}}


async def test_subscription_jobProgress_sends_each_state_until_the_job_has_ended(api: Api) -> None:
    follow = "subscription ($job: ID!) { jobProgress(id: $job) { id status progress { done } } }"
    job = (await import_file(api, "customer_id,date,amount\nann,2025-11-01,1\nbob,2025-11-01,2\n"))["job"]
    async with api.open_socket() as socket:
        await socket.subscribe(follow, job=job["id"])
        assert (await socket.receive_data())["jobProgress"] == {
            "id": job["id"],
            "status": "QUEUED",
            "progress": {"done": 0},
        }
        await run_job(api, job)
        statuses = []
        while (message := await socket.receive())["type"] == "next":
            statuses.append(message["payload"]["data"]["jobProgress"])
        assert message["type"] == "complete"
        assert statuses[-1] == {"id": job["id"], "status": "SUCCEEDED", "progress": {"done": 2}}
        await socket.subscribe(follow, job=job["id"])
        assert (await socket.receive_data())["jobProgress"]["status"] == "SUCCEEDED"
        assert (await socket.receive())["type"] == "complete"
        await socket.subscribe(follow, job="job_none")
        [error] = (await socket.receive())["payload"]
        assert error["extensions"]["code"] == "BAD_USER_INPUT"
