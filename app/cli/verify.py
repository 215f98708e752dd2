"""`punchcard verify`: compares what is stored with the events, in a job, and lists each difference."""

from __future__ import annotations

import csv
import io
import sys
from typing import Any

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
_OPTIONS = {
    ("passIds",): "--pass",
    ("sample",): "--sample",
    ("rollups", "from"): "--since",
    ("rollups", "to"): "--until",
}


@click.command()
@click.option("--pass", "pass_ids", multiple=True, metavar="ID", help="Compare the pass with this id; may be repeated.")
@click.option(
    "--sample", type=click.IntRange(1, MAX_VERIFIED_PASSES), help="Compare so many passes, drawn at random each time."
)
@click.option("--rollups", is_flag=True, help="Compare the sums by hour, day and month.")
@click.option("--since", help="Compare only rollups from this time on, such as 2026-01-31T00:00:00Z.")
@click.option("--until", help="Compare only rollups before this time.")
@with_client
def verify(
    settings: Settings,
    client: Client,
    pass_ids: tuple[str, ...],
    sample: int | None,
    rollups: bool,
    since: str | None,
    until: str | None,
) -> None:
    """Compute what is stored anew from the events, and print each difference.

    Without options, the command compares all passes, and all rollups: the sums by hour, day and month from which answers
    about all customers are made. It runs a job of the workspace. It changes nothing that it compares, and may run while
    customers come and go. It looks again at what is written meanwhile. The exit status is 1 if there is a difference.

    `punchcard check --deep` compares the passes of all workspaces of a database, without an API and a key.

    \b
    Examples:
      punchcard verify --sample 100 --rollups --since 2026-01-01T00:00:00Z
      punchcard verify
      punchcard verify --pass pass_01234567 > differences.txt
    """
    period = {"from": since, "to": until} if rollups or since or until else None
    asked = {"passIds": list(pass_ids) or None, "sample": sample, "rollups": period}
    payload = client.ask(_VERIFY, input=asked)["verifyProjection"]
    if payload["userErrors"]:
        raise click.ClickException("; ".join(_problem_of(error) for error in payload["userErrors"]))
    with create_progress(Console(markup=False, stderr=True)) as progress:
        job = follow_job(client, payload["job"]["id"], progress, progress.add_task("Comparing", total=None))
    if job["status"] != "SUCCEEDED":
        raise click.ClickException(f"The job {job['id']} ended as {job['status']}. {job['error'] or ''}")
    if job["reportUrl"] is not None:
        report = client.fetch(job["reportUrl"]).decode("utf-8-sig")
        for kind, object_id, what, live, rebuilt in list(csv.reader(io.StringIO(report)))[1:]:
            quoted = f"{live}, the events give {rebuilt}" if live != NOT_QUOTED else "not what the events give"
            click.echo(f"{'' if kind == 'PASS' else f'{kind} '}{object_id}  {what}: stored is {quoted}")
    _say_result(job["result"])
    if job["result"]["differences"]:
        sys.exit(1)


def _problem_of(error: dict[str, Any]) -> str:
    """Return a problem with the option that it is about, as the API names the fields of its input."""
    option = next((option for path, option in _OPTIONS.items() if tuple(error["field"][: len(path)]) == path), None)
    return error["message"] if option is None else f"{option}: {error['message']}"


def _say_result(figures: dict[str, Any]) -> None:
    passes = quantity(figures["passes"], "pass", "passes")
    say(f"Compared {passes} with {quantity(figures['events'], 'event')}.")
    if figures["partial"]:
        say(f"{figures['partial']} have too many events: only their aggregates and months were compared.")
    if figures["rollups"] or figures["waiting"]:
        say(f"Compared {quantity(figures['rollups'], 'rollup')} with {quantity(figures['rollupEvents'], 'event')}.")
    if figures["waiting"]:
        say(f"{quantity(figures['waiting'], 'rollup')} waited to be sealed, and were not compared.")
    if figures["moving"]:
        say(f"{figures['moving']} changed at each look, and were not compared. Run the command again.")
    say(f"{quantity(figures['differences'], 'difference')}." if figures["differences"] else "No differences.")
