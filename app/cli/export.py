"""`punchcard export`: starts an export job and downloads its file part by part."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from app.config.settings import Settings

from .client import Client, with_client
from .jobs import create_progress, follow_job

_EVENTS = """mutation ($input: ExportEventsInput!) {
  export: exportEvents(input: $input) { job { id } userErrors { field message } } }"""
_ACTIVITIES = """mutation ($input: ExportActivitiesInput!) {
  export: exportActivities(input: $input) { job { id } userErrors { field message } } }"""

_OPTIONS = {
    "types": "--type", "sources": "--source", "passExternalId": "--pass", "occurredAfter": "--since",
    "occurredBefore": "--until", "after": "--after",
}  # fmt: skip
"""The options by the names of the API's fields, for errors of the API."""


@click.command()
@click.argument("what", type=click.Choice(["events", "activities"]))
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The file to write.  [default: events.jsonl or activities.jsonl]",
)
@click.option(
    "--format",
    "kind",
    type=click.Choice(["jsonl", "csv"]),
    help="The format of the file.  [default: csv if the name of the file ends in .csv, else jsonl]",
)
@click.option("--type", "types", multiple=True, help="Write only events or activities of this type; may be repeated.")
@click.option("--source", "sources", multiple=True, help="Write only events from this source; may be repeated.")
@click.option("--pass", "pass_external_id", help="Write only events of the pass with this external id.")
@click.option("--since", help="Write only what occurred at or after this time, such as 2026-01-31T00:00:00Z.")
@click.option("--until", help="Write only what occurred before this time.")
@click.option("--after", help="Write only activities after this cursor of the feed.")
@click.option("--force", is_flag=True, help="Overwrite the file if it exists.")
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
    """Write events or activities of the workspace to a file.

    Events are written oldest first, with the field names of the API's RecordEventInput. `punchcard import` reads a
    JSONL file of events without a mapping, also into another workspace. Activities are written in the order of the
    feed, each with its cursor. Pass the last cursor to --after to export only newer activities.

    \b
    Examples:
      punchcard export events
      punchcard export events --type purchase --since 2026-01-01T00:00:00Z --out purchases.csv
      punchcard export activities --after CURSOR --out feed.jsonl
    """
    path = out or Path(f"{what}.jsonl")
    if path.exists() and not force:
        raise click.ClickException(
            f"{path} exists already. Name another file with --out, or overwrite it with --force."
        )
    filters: dict[str, Any] = {"types": list(types) or None, "occurredAfter": since, "occurredBefore": until}
    export_input: dict[str, Any] = {"format": (kind or ("csv" if path.suffix.lower() == ".csv" else "jsonl")).upper()}
    if what == "events":
        _reject_options("activities", after=after)
        filters |= {"sources": list(sources) or None, "passExternalId": pass_external_id}
    else:
        _reject_options("events", source=sources, **{"pass": pass_external_id})
        export_input["after"] = after
    export_input["filter"] = {name: value for name, value in filters.items() if value is not None}
    payload = client.ask(_EVENTS if what == "events" else _ACTIVITIES, input=export_input)["export"]
    if payload["userErrors"]:
        raise click.ClickException("\n".join(map(_describe, payload["userErrors"])))
    console = Console(markup=False)
    with create_progress(console) as progress:
        job = follow_job(client, payload["job"]["id"], progress, progress.add_task("Writing (lines)", total=None))
        if job["status"] != "SUCCEEDED":
            raise click.ClickException(f"The job {job['id']} ended as {job['status']}. {job['error'] or ''}")
        download = progress.add_task("Downloading (bytes)", total=job["result"]["bytes"])
        partial_path = path.with_name(f"{path.name}.part")
        try:
            with partial_path.open("wb") as file:
                for part in client.download(job["downloadUrl"]):
                    file.write(part)
                    progress.advance(download, len(part))
            partial_path.replace(path)
        finally:
            with contextlib.suppress(FileNotFoundError):
                partial_path.unlink()
    console.print(f"{job['result']['rows']:,} {what} in {path}", highlight=False, soft_wrap=True)
    if "cursor" in job["result"]:
        console.print(
            f"To export only newer activities next time: --after {job['result']['cursor']}",
            highlight=False,
            soft_wrap=True,
        )


def _describe(error: dict[str, Any]) -> str:
    """Return the message of an error of the API, after the option whose value it is about."""
    option = _OPTIONS.get((error["field"] or [""])[-1])
    return f"{option}: {error['message']}" if option else str(error["message"])


def _reject_options(what: str, **given: object) -> None:
    for name, value in given.items():
        if value:
            raise click.UsageError(f"--{name} is only for `punchcard export {what}`. Leave it out.")
