"""`punchcard verify` runs the job through a running API, and prints each difference (WH2-31)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from bson import Decimal128
from click.testing import CliRunner, Result

from app.cli.main import main
from app.domain.rollups.sealing import AT_ONCE
from tests.business import Business
from tests.graphql.serving import Api, run_api
from workers.stages.run_job import jobs
from workers.stages.seal import seal


@pytest.fixture
async def api(business: Business) -> AsyncIterator[Api]:
    """Run the API of a business with two passes that have an event each."""
    await business.record(*({"pass_external_id": name, "points": 5} for name in ("ann", "bob")))
    await business.run_worker()
    business.worker.seals.timing = AT_ONCE
    await seal(business.worker, business.ctx.workspace.id)
    async with run_api(business) as running:
        yield running


async def verify(api: Api, *arguments: str) -> Result:
    """Run the command in a thread, and meanwhile the jobs that it starts."""
    options = ["verify", "--endpoint", api.url, "--key", api.secret, *arguments]
    command = asyncio.create_task(asyncio.to_thread(CliRunner().invoke, main, options))
    worker = api.business.worker
    while not command.done():
        for job in await worker.job_leases.open(0):
            await jobs(worker, job.job_id)
        await asyncio.sleep(0.01)
    return await command


async def test_differences_are_printed_and_set_the_exit_status(api: Api) -> None:
    agreed = await verify(api)
    assert (agreed.exit_code, agreed.stdout) == (0, "")
    rollups = "Compared 3 rollups with 2 events.\n"
    assert agreed.stderr == f"Compared 2 passes with 2 events.\n{rollups}No differences.\n"
    ann = await api.business.read_pass("ann")
    change = {"points": Decimal128("6"), "profile.status": "REVOKED"}
    await api.business.ctx.resources.db["passes"].update_one({"_id": ann.id}, {"$set": change})
    for arguments, passes in (
        ([], f"2 passes with 2 events.\n{rollups}"),
        (["--pass", ann.id], "1 pass with 1 event.\n"),
        (["--pass", ann.id, "--rollups"], f"1 pass with 1 event.\n{rollups}"),
    ):
        differing = await verify(api, *arguments)
        assert differing.stdout == (
            f"{ann.id}  the points: stored is 6, the events give 5\n"
            f"{ann.id}  the status: stored is not what the events give\n"
        )
        assert (differing.exit_code, differing.stderr) == (1, f"Compared {passes}2 differences.\n")
    refused = await verify(api, "--pass", "pass_none")
    assert (refused.exit_code, "--pass: No such pass" in refused.stderr) == (1, True)
    refused = await verify(api, "--since", "yesterday")
    assert (refused.exit_code, "--since: Write the instant" in refused.stderr) == (1, True)


async def test_report_of_the_job_has_the_columns_of_differences(api: Api) -> None:
    ann = await api.business.read_pass("ann")
    await api.business.ctx.resources.db["passes"].update_one({"_id": ann.id}, {"$set": {"points": Decimal128("6")}})
    await verify(api)
    found = await api.fetch_data("{ jobs { nodes { kind reportUrl progress { done total failed } } } }")
    [job] = found["jobs"]["nodes"]
    assert (job["kind"], job["progress"]) == ("VERIFY_PROJECTION", {"done": 3, "total": 3, "failed": 1})
    report = await api.http.get(api.url.replace("/graphql", job["reportUrl"]), headers=api.headers)
    assert report.content.decode("utf-8-sig").splitlines() == [
        "kind,id,what,live,rebuilt",
        f"PASS,{ann.id},the points,6,5",
    ]
