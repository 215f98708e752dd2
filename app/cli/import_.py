"""`punchcard import`: guesses and shows the field of each column, then lets the API record the rows."""

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
from app.domain.files.columns import FIELDS, CellKind, ColumnMapping
from app.domain.files.csv_numbers import DecimalMark
from app.domain.files.csv_values import DateOrder
from app.domain.files.import_plan import NOW, ImportPlan, default_source, metadata_field
from app.domain.files.imports import ImportFormat, detect_format, plan_import
from app.domain.files.jsonl import LinePlan
from app.domain.files.row_splitter import Row
from app.local.folder import open_folder

from .client import Client, with_client
from .jobs import create_progress, follow_job

HEAD_BYTES = 262_144
PREVIEW_ROWS = 5
_EVERY_ROW = "“{}” in every row"

_WORKSPACE = "{ viewer { workspace { name currency timezone } } }"
_IMPORT = """mutation ($input: ImportEventsInput!) {
  importEvents(input: $input) { job { id } userErrors { field message } } }"""


@dataclass(frozen=True)
class _Options:
    """Options of the command line that describe the file."""

    mappings: tuple[ColumnMapping, ...]
    source: str | None
    timezone: str | None
    date_order: str | None
    decimal_mark: str | None


class _Pair(click.ParamType[tuple[str, str]]):
    """Parameter type of options such as `--map amount=total`: a field, an equals sign and a text."""

    name = "field=…"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        field, equals, text = str(value).partition("=")
        if not equals or not field or not text:
            self.fail(f"{value!r} has no field or no value. Write it like passExternalId=customer_id", param, ctx)
        return field, text


@click.command(name="import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--map", "columns", type=_Pair(), multiple=True, help="The column of a field, such as amount=total.")
@click.option(
    "--value", "values", type=_Pair(), multiple=True, help="The value of a field in every row, such as type=visit."
)
@click.option(
    "--timezone", help="The IANA time zone of dates without an offset.  [default: the time zone of the workspace]"
)
@click.option(
    "--date-order",
    type=click.Choice(["DMY", "MDY"]),
    help="The order of day and month in dates such as 03/04/2026.  [default: the order that the first rows show]",
)
@click.option(
    "--decimal-mark",
    type=click.Choice(["POINT", "COMMA"]),
    help="The mark before decimal places in numbers such as 1,234.  [default: the mark that the first rows show]",
)
@click.option(
    "--number", "numbers", multiple=True, help="A column whose cells become numbers in the metadata, such as weight."
)
@click.option("--source", help="The source of the events, a part of their identity.  [default: import:FILE]")
@click.option(
    "--format",
    "kind",
    type=click.Choice(["csv", "jsonl"]),
    help="The format of the file.  [default: detected from its name and content]",
)
@click.option(
    "--no-create", is_flag=True, help="Reject rows of passes that do not exist, instead of creating the passes."
)
@click.option(
    "--dry-run", is_flag=True, help="Record nothing; count what would be recorded and report rows that would fail."
)
@click.option("--yes", is_flag=True, help="Do not ask before recording.")
@with_client
def import_(
    settings: Settings,
    client: Client,
    file: Path,
    columns: tuple[tuple[str, str], ...],
    values: tuple[tuple[str, str], ...],
    timezone: str | None,
    date_order: str | None,
    decimal_mark: str | None,
    numbers: tuple[str, ...],
    source: str | None,
    kind: str | None,
    no_create: bool,
    dry_run: bool,
    yes: bool,
) -> None:
    """Record the rows of a CSV or JSONL FILE as past events.

    The command guesses from the names and first rows of the columns which field each column holds. It shows its guess
    and the first rows. In a terminal, it asks before it records. Begin with --dry-run, and correct the guess with --map
    and --value.
    Columns without a field go to the metadata.

    A row is identified by the source and its externalId, else by the source and its number. So importing the same file
    again records nothing twice. Rows that cannot be recorded are listed in a report, and the exit status is 1: correct
    these rows and import the file again. JSONL has one JSON object on each line, with the field names of the API's
    RecordEventInput. Files of `punchcard export events` need no mapping.

    \b
    Examples:
      punchcard import purchases.csv --dry-run
      punchcard import purchases.csv
      punchcard import visits.csv --map passExternalId=member --value type=check_in --timezone Europe/Berlin
    """
    console = Console(markup=False)
    options = _Options(
        mappings=(
            *(ColumnMapping(field, column) for field, column in columns),
            *(ColumnMapping(field, None, value) for field, value in values),
            *(ColumnMapping(metadata_field(column), column, kind=CellKind.NUMBER) for column in numbers),
        ),
        source=source,
        timezone=timezone,
        date_order=date_order,
        decimal_mark=decimal_mark,
    )
    workspace = client.ask(_WORKSPACE)["viewer"]["workspace"]
    plan, rows = _plan(file, None if kind is None else ImportFormat(kind.upper()), options, workspace)
    _print_preview(console, file, plan, rows, workspace)
    if sys.stdin.isatty() and not yes:
        click.confirm(
            "Check all rows without recording them?" if dry_run else "Record these events?", default=True, abort=True
        )
    import_input = {
        "file": None,
        "format": (ImportFormat.JSONL if isinstance(plan, LinePlan) else ImportFormat.CSV).value,
        "source": plan.source,
        "columns": [
            {"field": m.field, "column": m.column, "value": m.value, "kind": None if m.kind is None else m.kind.value}
            for m in plan.mappings
        ],
        "timezone": plan.timezone,
        "dateOrder": None if plan.date_order is None else plan.date_order.value,
        "decimalMark": None if plan.decimal_mark is None else plan.decimal_mark.value,
        "createMissingPasses": not no_create,
        "dryRun": dry_run,
    }
    job = _run_job(console, client, file, import_input)
    if not _print_result(console, client, settings, file, job, dry_run=dry_run):
        raise SystemExit(1)


def _plan(
    file: Path, kind: ImportFormat | None, options: _Options, workspace: dict[str, str]
) -> tuple[ImportPlan, list[Row]]:
    with file.open("rb") as opened:
        head = opened.read(HEAD_BYTES)
        is_whole = not opened.read(1)
    try:
        return plan_import(
            kind or detect_format(file.name, head),
            head,
            options.mappings,
            is_whole=is_whole,
            guess=True,
            source=options.source or default_source(file.name),
            timezone=options.timezone or workspace["timezone"],
            currency=workspace["currency"],
            date_order=None if options.date_order is None else DateOrder(options.date_order),
            decimal_mark=None if options.decimal_mark is None else DecimalMark(options.decimal_mark),
        )
    except Refused as refused:
        problems = "\n".join(problem.message for problem in refused.problems)
        if all(problem.field == ("file",) for problem in refused.problems):
            raise click.ClickException(f"{file.name} cannot be imported: {problems}") from refused
        raise click.ClickException(
            f"{file.name} cannot be imported like this: {problems}\nName columns with --map FIELD=COLUMN, and values for all"
            " rows with --value FIELD=VALUE."
        ) from refused


def _print_preview(
    console: Console, file: Path, plan: ImportPlan, rows: Sequence[Row], workspace: dict[str, str]
) -> None:
    console.print(f"{file.name} into {workspace['name']}, source {plan.source}", style="bold")
    table = Table("field", "from")
    fields = _find_columns(plan, rows)
    for field, column in fields.items():
        table.add_row(field, column)
    if "externalId" not in fields:
        table.add_row("externalId", "the number of the row")
    console.print(table)
    if not plan.has_instants or fields.get("occurredAt") == _EVERY_ROW.format(NOW):
        console.print(
            "No column has the time of the events: all will occur now. Name the column with --map occurredAt=COLUMN."
        )
    table = Table("pass", "type", "occurred", "amount", "id", "metadata")
    problems: list[str] = []
    for number, row in enumerate(rows[:PREVIEW_ROWS], 1):
        try:
            refuse_if([] if row.problem is None else [row.problem])
            table.add_row(*_preview_row(plan.parse_row(number, row), workspace["currency"]))
        except Refused as refused:
            table.add_row("✗")
            problems.append(f"Row {number} cannot be recorded: {refused}")
    console.print("The first rows, as they will be recorded:", table, *problems, sep="\n")


def _find_columns(plan: ImportPlan, rows: Sequence[Row]) -> dict[str, str]:
    """Return the column or the value of each field, as texts for the user."""
    found = {m.field: m.column or _EVERY_ROW.format(m.value) for m in plan.mappings}
    if isinstance(plan, LinePlan):
        names = {name for row in rows for name in row.values or ()}
        found |= {name: name for name in (*FIELDS, "metadata") if name in names and name not in found}
    return found


def _preview_row(event: EventInput, currency: str) -> list[str]:
    at = event.occurred_at
    time = at.isoformat(" ", "minutes").replace("+00:00", "Z") if isinstance(at, datetime) else "now"
    amount = "" if event.amount is None else f"{event.amount} {event.currency or currency}"
    metadata = event.metadata if isinstance(event.metadata, dict) else {}
    details = ", ".join(f"{name}={value}" for name, value in metadata.items())
    return [str(event.pass_external_id), str(event.type), time, amount, str(event.external_id), details]


def _run_job(console: Console, client: Client, file: Path, import_input: dict[str, Any]) -> dict[str, Any]:
    """Upload the file, show the progress of the job, and return the job when it has ended."""
    with create_progress(console) as progress:
        upload = progress.add_task("Uploading (bytes)", total=file.stat().st_size)
        payload = client.upload(
            _IMPORT, {"input": import_input}, "variables.input.file", file, lambda size: progress.advance(upload, size)
        )["importEvents"]
        if payload["userErrors"]:
            raise click.ClickException("\n".join(error["message"] for error in payload["userErrors"]))
        return follow_job(client, payload["job"]["id"], progress, progress.add_task("Recording (rows)", total=None))


def _print_result(
    console: Console, client: Client, settings: Settings, file: Path, job: dict[str, Any], *, dry_run: bool
) -> bool:
    """Print the result of the job and store its report. Return whether every row was recorded."""
    result = job["result"]
    created = "would be created" if dry_run else "created"
    console.print(
        f"{result['created']:,} {created}, {result['duplicate']:,} duplicate, {result['failed']:,} failed",
        highlight=False,
    )
    for warning in result["warnings"]:
        console.print(f"Note: {warning}")
    if job["status"] != "SUCCEEDED":
        console.print(f"The job {job['id']} ended as {job['status']}. {job['error'] or ''}")
    if job["reportUrl"]:
        open_folder(settings.data_dir)
        folder = settings.data_dir / "reports"
        folder.mkdir(mode=0o700, exist_ok=True)
        path = folder / f"{file.stem}-{job['reportUrl'].split('/')[2]}.csv"
        path.write_bytes(client.fetch(job["reportUrl"]))
        console.print(f"The report says why rows failed: {path}  ({client.address(job['reportUrl'])})", soft_wrap=True)
        if ",CONFLICT," in path.read_text(encoding="utf-8-sig"):
            console.print(
                "Rows in CONFLICT: the source already has rows of these numbers or ids with other content. If this is"
                " another file with the same name, give it a source of its own with --source.",
            )
    return job["status"] == "SUCCEEDED" and not result["failed"]
