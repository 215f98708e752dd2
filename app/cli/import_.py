"""`punchcard import`: what the columns of a file are is guessed and shown, then the API records the rows."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from app.config.settings import Settings
from app.domain.errors import Refused, refuse_if
from app.domain.events.events import EventInput
from app.domain.files.columns import FIELDS, ColumnMapping
from app.domain.files.csv_values import DateOrder
from app.domain.files.import_plan import ImportPlan, default_source
from app.domain.files.imports import ImportFormat, format_of, plan_import
from app.domain.files.jsonl import LinePlan
from app.domain.files.row_splitter import Row

from .client import Client, with_client
from .jobs import follow_job, progress_on

HEAD_BYTES = 262_144
SHOWN_ROWS = 5

_ABOUT = "{ viewer { workspace { name currency timezone } } }"
_IMPORT = """mutation ($input: ImportEventsInput!) {
  importEvents(input: $input) { job { id } userErrors { field message } } }"""


@dataclass(frozen=True)
class _Told:
    """What the command line says about the columns."""

    mappings: tuple[ColumnMapping, ...]
    source: str | None
    timezone: str | None
    date_order: str | None


class _Pair(click.ParamType[tuple[str, str]]):
    """FIELD=something."""

    name = "field=…"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        field, equals, rest = str(value).partition("=")
        if not equals or not field or not rest:
            self.fail("write it like passExternalId=customer_id", param, ctx)
        return field, rest


@click.command(name="import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--map", "columns", type=_Pair(), multiple=True, help="The column of a field: --map amount=total.")
@click.option(
    "--value", "values", type=_Pair(), multiple=True, help="A field's value in every row: --value type=visit."
)
@click.option("--timezone", help="The IANA zone of dates without an offset.  [default: the workspace's]")
@click.option("--date-order", type=click.Choice(["DMY", "MDY"]), help="How dates such as 03/04/2026 are meant.")
@click.option("--source", help="Where the events come from, part of their identity.  [default: import:FILE]")
@click.option(
    "--format", "kind", type=click.Choice(["csv", "jsonl"]), help="How it is written.  [default: as the file shows]"
)
@click.option("--no-create", is_flag=True, help="Refuse rows of passes that are not there yet.")
@click.option("--dry-run", is_flag=True, help="Record nothing; say what would become of the rows.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@with_client
def import_(
    settings: Settings,
    client: Client,
    file: Path,
    columns: tuple[tuple[str, str], ...],
    values: tuple[tuple[str, str], ...],
    timezone: str | None,
    date_order: str | None,
    source: str | None,
    kind: str | None,
    no_create: bool,
    dry_run: bool,
    yes: bool,
) -> None:
    """Import the rows of a CSV or JSONL FILE as past events; importing it again records nothing twice.

    What the columns are is guessed from their names and first rows, and shown. A row is known by its number in the file
    and the source, which is the file's name unless you say otherwise; what is not mapped goes to the metadata. Rows that
    cannot be recorded are listed in a report, and the status is 1. JSONL has an object a line, with the names of
    recordEvents' input; what `punchcard export events` wrote is taken as it is.

    \b
    Examples:
      punchcard import purchases.csv
      punchcard import visits.csv --map passExternalId=member --value type=check_in --timezone Europe/Berlin
      punchcard import purchases.csv --dry-run
    """
    console = Console(markup=False)
    told = _Told(
        (*(ColumnMapping(f, c) for f, c in columns), *(ColumnMapping(f, None, v) for f, v in values)),
        source,
        timezone,
        date_order,
    )
    about = client.ask(_ABOUT)["viewer"]["workspace"]
    plan, rows = _plan(file, None if kind is None else ImportFormat(kind.upper()), told, about)
    _show(console, file, plan, rows, about)
    if sys.stdin.isatty() and not yes:
        click.confirm("Try it without recording?" if dry_run else "Record these events?", default=True, abort=True)
    sent = {
        "file": None,
        "format": (ImportFormat.JSONL if isinstance(plan, LinePlan) else ImportFormat.CSV).value,
        "source": plan.source,
        "columns": [{"field": m.field, "column": m.column, "value": m.value} for m in plan.mappings],
        "timezone": plan.timezone,
        "dateOrder": None if plan.date_order is None else plan.date_order.value,
        "createMissingPasses": not no_create,
        "dryRun": dry_run,
    }
    job = _carried(console, client, file, sent)
    if not _told_end(console, client, settings, file, job, dry_run=dry_run):
        raise SystemExit(1)


def _plan(file: Path, kind: ImportFormat | None, told: _Told, about: dict[str, str]) -> tuple[ImportPlan, list[Row]]:
    with file.open("rb") as opened:
        head = opened.read(HEAD_BYTES)
        whole = not opened.read(1)
    try:
        return plan_import(
            kind or format_of(file.name, head),
            head,
            told.mappings,
            whole=whole,
            guess=True,
            source=told.source or default_source(file.name),
            timezone=told.timezone or about["timezone"],
            currency=about["currency"],
            date_order=None if told.date_order is None else DateOrder(told.date_order),
        )
    except Refused as refused:
        said = "\n".join(problem.message for problem in refused.problems)
        raise click.ClickException(
            f"{file.name} cannot be imported so: {said}\nSay what the columns are with --map FIELD=COLUMN and"
            " --value FIELD=VALUE."
        ) from refused


def _show(console: Console, file: Path, plan: ImportPlan, rows: Sequence[Row], about: dict[str, str]) -> None:
    console.print(f"{file.name} into {about['name']}, source {plan.source}", style="bold")
    table = Table("field", "from")
    fields = _fields(plan, rows)
    for field, where in fields.items():
        table.add_row(field, where)
    if "externalId" not in fields:
        table.add_row("externalId", "the number of the row")
    console.print(table)
    if "occurredAt" not in fields:
        console.print("No column says when: the events will occur now. Name it with --map occurredAt=COLUMN.")
    table = Table("pass", "type", "occurred", "amount", "id", "metadata")
    bad: list[str] = []
    for number, row in enumerate(rows[:SHOWN_ROWS], 1):
        try:
            refuse_if([] if row.problem is None else [row.problem])
            table.add_row(*_previewed(plan.event(number, row), about["currency"]))
        except Refused as refused:
            table.add_row("✗")
            bad.append(f"Row {number} cannot be recorded: {refused}")
    console.print("The first rows, as they will be recorded:", table, *bad, sep="\n")


def _fields(plan: ImportPlan, rows: Sequence[Row]) -> dict[str, str]:
    """Where each field comes from."""
    found = {m.field: m.column or f"“{m.value}” in every row" for m in plan.mappings}
    if isinstance(plan, LinePlan):
        there = {name for row in rows for name in row.values or ()}
        found |= {name: name for name in (*FIELDS, "metadata") if name in there and name not in found}
    return found


def _previewed(event: EventInput, currency: str) -> list[str]:
    at = event.occurred_at
    when = at.isoformat(" ", "minutes").replace("+00:00", "Z") if isinstance(at, datetime) else "now"
    amount = "" if event.amount is None else f"{event.amount} {event.currency or currency}"
    metadata = event.metadata if isinstance(event.metadata, dict) else {}
    details = ", ".join(f"{name}={value}" for name, value in metadata.items())
    return [str(event.pass_external_id), str(event.type), when, amount, str(event.external_id), details]


def _carried(console: Console, client: Client, file: Path, sent: dict[str, Any]) -> dict[str, Any]:
    """The job when it has ended; its progress is shown meanwhile."""
    with progress_on(console) as progress:
        sending = progress.add_task("Sending (bytes)", total=file.stat().st_size)
        payload = client.upload(
            _IMPORT, {"input": sent}, "variables.input.file", file, lambda size: progress.advance(sending, size)
        )["importEvents"]
        if payload["userErrors"]:
            raise click.ClickException("\n".join(error["message"] for error in payload["userErrors"]))
        return follow_job(client, payload["job"]["id"], progress, progress.add_task("Recording (rows)", total=None))


def _told_end(
    console: Console, client: Client, settings: Settings, file: Path, job: dict[str, Any], *, dry_run: bool
) -> bool:
    """Prints what became of the rows; whether all is well."""
    result = job["result"]
    created = "would be created" if dry_run else "created"
    console.print(
        f"{result['created']:,} {created}, {result['duplicate']:,} duplicate, {result['failed']:,} failed",
        highlight=False,
    )
    for warning in result["warnings"]:
        console.print(f"Note: {warning}")
    if job["status"] != "SUCCEEDED":
        console.print(f"The job ended as {job['status']}. {job['error'] or ''}")
    if job["reportUrl"]:
        folder = settings.data_dir / "reports"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{file.stem}-{job['reportUrl'].split('/')[2]}.csv"
        path.write_bytes(client.fetch(job["reportUrl"]))
        console.print(f"Why rows failed: {path}  ({client.address(job['reportUrl'])})", soft_wrap=True)
        if ",CONFLICT," in path.read_text(encoding="utf-8-sig"):
            console.print(
                "Rows in CONFLICT: other content was imported under this source before. If this is another file of the"
                " same name, give it a --source of its own.",
            )
    return job["status"] == "SUCCEEDED" and not result["failed"]
