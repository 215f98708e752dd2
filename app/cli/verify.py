"""`punchcard verify`: compares what is stored with the events, in a job, and lists each difference."""

from __future__ import annotations

import csv
import io
import sys

import click
from rich.console import Console

from app.config.settings import Settings
from app.domain.fold.recomputation import NOT_QUOTED
from app.domain.insights.verification import MAX_VERIFIED_PASSES

from .client import Client, with_client
from .jobs import create_progress, follow_job
from .settings import quantity, say

_VERIFY = """mutation ($input: VerifyProjectionInput!) {
  verifyProjection(input: $input) { job { id } userErrors { field message } } }"""


@click.command()
@click.option(
    "--pass", "pass_ids", multiple=True, metavar="ID", help="Compare only the pass with this id; may be repeated."
)
@click.option(
    "--sample",
    type=click.IntRange(1, MAX_VERIFIED_PASSES),
    help="Compare only so many passes, drawn at random each time.",
)
@with_client
def verify(settings: Settings, client: Client, pass_ids: tuple[str, ...], sample: int | None) -> None:
    """Compute passes anew from their events, and print each difference from what is stored.

    The command runs a job of the workspace. It changes nothing that it compares, and may run while customers come and go.
    It looks again at a pass that is written meanwhile. The exit status is 1 if there is a difference.

    `punchcard check --deep` does the same for all workspaces of a database, without an API and a key.

    \b
    Examples:
      punchcard verify --sample 100
      punchcard verify
      punchcard verify --pass pass_01234567 > differences.txt
    """
    payload = client.ask(_VERIFY, input={"passIds": list(pass_ids) or None, "sample": sample})["verifyProjection"]
    if payload["userErrors"]:
        raise click.ClickException("; ".join(error["message"] for error in payload["userErrors"]))
    with create_progress(Console(markup=False, stderr=True)) as progress:
        job = follow_job(client, payload["job"]["id"], progress, progress.add_task("Comparing", total=None))
    if job["status"] != "SUCCEEDED":
        raise click.ClickException(f"The job {job['id']} ended as {job['status']}. {job['error'] or ''}")
    if job["reportUrl"] is not None:
        report = client.fetch(job["reportUrl"]).decode("utf-8-sig")
        for _, object_id, what, live, rebuilt in list(csv.reader(io.StringIO(report)))[1:]:
            quoted = f"{live}, the events give {rebuilt}" if live != NOT_QUOTED else "not what the events give"
            click.echo(f"{object_id}  {what}: stored is {quoted}")
    figures = job["result"]
    compared = quantity(figures["passes"], "pass", "passes")
    say(f"Compared {compared} with {quantity(figures['events'], 'event')}.")
    if figures["partial"]:
        say(f"{figures['partial']} have too many events: only their aggregates were compared.")
    if figures["moving"]:
        say(f"{figures['moving']} changed at each look, and were not compared. Run the command again.")
    say(f"{quantity(figures['differences'], 'difference')}." if figures["differences"] else "No differences.")
    if figures["differences"]:
        sys.exit(1)
