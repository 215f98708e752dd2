"""`punchcard export`: what the API writes to a file is fetched part by part."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from app.config.settings import Settings

from .client import Client, with_client
from .jobs import follow_job, progress_on

_EVENTS = """mutation ($input: ExportEventsInput!) {
  export: exportEvents(input: $input) { job { id } userErrors { field message } } }"""
_ACTIVITIES = """mutation ($input: ExportActivitiesInput!) {
  export: exportActivities(input: $input) { job { id } userErrors { field message } } }"""


@click.command()
@click.argument("what", type=click.Choice(["events", "activities"]))
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="The file.  [default: WHAT.jsonl]")
@click.option(
    "--format", "kind", type=click.Choice(["jsonl", "csv"]), help="How it is written.  [default: by its name]"
)
@click.option("--type", "types", multiple=True, help="Only of this type; may be repeated.")
@click.option("--source", "sources", multiple=True, help="Only events from this source; may be repeated.")
@click.option("--pass", "pass_external_id", help="Only events of the pass with this external id.")
@click.option("--since", help="Only what occurred then or later: 2026-01-31T00:00:00Z.")
@click.option("--until", help="Only what occurred earlier.")
@click.option("--after", help="Only activities behind this cursor of the feed.")
@click.option("--force", is_flag=True, help="Write over a file that is there.")
@with_client
def export(
    settings: Settings,
    client: Client,
    what: str,
    out: Path | None,
    kind: str | None,
    types: tuple[str, ...],
    sources: tuple[str, ...],
    pass_external_id: str | None,
    since: str | None,
    until: str | None,
    after: str | None,
    force: bool,
) -> None:
    """Write events or activities to a file.

    Events are written the oldest first, one JSON object a line with the names of recordEvents' input, so that `punchcard
    import` takes them again; activities in the order of the feed, each with the cursor from which to read on.

    \b
    Examples:
      punchcard export events
      punchcard export events --type purchase --since 2026-01-01T00:00:00Z --out purchases.csv
      punchcard export activities --after CURSOR --out feed.jsonl
    """
    path = out or Path(f"{what}.jsonl")
    if path.exists() and not force:
        raise click.ClickException(f"{path} is there already. Name another with --out, or write over it with --force.")
    wanted: dict[str, Any] = {"types": list(types) or None, "occurredAfter": since, "occurredBefore": until}
    sent: dict[str, Any] = {"format": (kind or ("csv" if path.suffix.lower() == ".csv" else "jsonl")).upper()}
    if what == "events":
        _refuse("activities", after=after)
        wanted |= {"sources": list(sources) or None, "passExternalId": pass_external_id}
    else:
        _refuse("events", source=sources, **{"pass": pass_external_id})
        sent["after"] = after
    sent["filter"] = {name: value for name, value in wanted.items() if value is not None}
    payload = client.ask(_EVENTS if what == "events" else _ACTIVITIES, input=sent)["export"]
    if payload["userErrors"]:
        raise click.ClickException("\n".join(error["message"] for error in payload["userErrors"]))
    console = Console(markup=False)
    with progress_on(console) as progress:
        job = follow_job(client, payload["job"]["id"], progress, progress.add_task("Writing (lines)", total=None))
        if job["status"] != "SUCCEEDED":
            raise click.ClickException(f"The job ended as {job['status']}. {job['error'] or ''}")
        fetching = progress.add_task("Fetching (bytes)", total=job["result"]["bytes"])
        partly = path.with_name(f"{path.name}.part")
        try:
            with partly.open("wb") as file:
                for part in client.download(job["downloadUrl"]):
                    file.write(part)
                    progress.advance(fetching, len(part))
            partly.replace(path)
        finally:
            with contextlib.suppress(FileNotFoundError):
                partly.unlink()
    console.print(f"{job['result']['rows']:,} {what} in {path}", highlight=False, soft_wrap=True)
    if "cursor" in job["result"]:
        console.print(f"To go on from there: --after {job['result']['cursor']}", highlight=False, soft_wrap=True)


def _refuse(what: str, **given: object) -> None:
    for name, value in given.items():
        if value:
            raise click.UsageError(f"--{name} is for {what} only.")
