"""The command `punchcard report`: what a workspace did in a month."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import click

from app.cli.client import Client, with_client
from app.config.settings import Settings
from app.domain.errors import InvalidInput
from app.domain.values.currencies import parse_currency
from app.domain.values.instants import EARLIEST, LATEST

from .page import write_page
from .reading import read_month
from .text import write_text


def _parse_month(_ctx: click.Context, _option: click.Parameter, value: str) -> date:
    try:
        month = date.fromisoformat(f"{value}-01")
    except ValueError:
        month = date.min
    # A month and the month before must lie in the years of events, also in zones behind UTC.
    if not EARLIEST.date() < month < LATEST.date() - timedelta(days=31):
        raise click.BadParameter(f"{value!r} is no month from 1900-02 to 2199-11. Write it like 2025-01.")
    return month


def _parse_currency(_ctx: click.Context, _option: click.Parameter, value: str | None) -> str | None:
    try:
        return None if value is None else parse_currency(value)
    except InvalidInput as invalid:
        raise click.BadParameter(str(invalid)) from None


@click.command()
@click.option("--month", required=True, callback=_parse_month, help="The month, such as 2025-01.")
@click.option(
    "--html",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write a page with charts to this file, and replace it if it exists.",
)
@click.option(
    "--currency",
    callback=_parse_currency,
    help="The currency of amounts by day and by customer.  [default: that of the workspace]",
)
@with_client
def report(settings: Settings, client: Client, month: date, html: Path | None, currency: str | None) -> None:
    """Show what the workspace did in a month: revenue, customers, events and segments.

    Each figure is compared with the month before. The month is that of the workspace's time zone. Without --html, the
    report is text.

    The page of --html is one file. It loads nothing from elsewhere and runs no script, so it can be sent by e-mail and
    printed. It names customers: keep it as safe as the data itself.

    \b
    Examples:
      punchcard report --month 2025-01
      punchcard report --month 2025-01 --html january.html
      punchcard report --month 2025-01 --currency EUR
    """
    found = read_month(client, month, currency)
    if html is None:
        click.echo(write_text(found), nl=False)
    else:
        html.write_text(write_page(found), encoding="utf-8")
        click.echo(f"{found.title} of {found.workspace} in {html}")
