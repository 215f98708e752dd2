"""The command `punchcard` and its smaller subcommands. Each one parses its options, calls other modules and prints."""

from __future__ import annotations

import asyncio
from datetime import datetime

import click

from app.commands.audit import record_audit_entry
from app.commands.workspaces.workspaces import create_workspace
from app.config.settings import Settings, variables
from app.domain.values.instants import format_instant
from app.domain.workspaces import WorkspaceProfile
from app.flow import SLOT_RANGES
from app.resources import open_resources
from app.store.clock import MongoClock
from app.store.workspace.workspaces import list_profiles

from .check import check
from .database import open_writable, operator_context, require_workspaces
from .demo import demo
from .export import export
from .import_ import import_
from .keys import key
from .migrate import migrate
from .parked import parked
from .reports.report import report
from .restored import restored
from .rollups import rollups
from .serve import api, up, worker
from .settings import Commands, read_instant, with_settings
from .truncate import truncate
from .verify import verify


def _list_settings() -> str:
    width = max(len(variable.name) for variable in variables())
    lines = (f"  {each.name:{width}}  {each.default or '-'}" for each in variables())
    return (
        "\b\nSettings are environment variables. Their defaults (docs/reference/settings.md explains each):\n"
        + "\n".join(lines)
    )


@click.group(cls=Commands, epilog=_list_settings(), context_settings={"max_content_width": 110})
@click.version_option(package_name="punchcard")
def main() -> None:
    """Punchcard records what customers do on their passes, keeps segments of passes up to date, and publishes a feed.

    \b
    Start the API, a worker and their servers, with the data in ./.punchcard:
      punchcard up

    \b
    Then, in another terminal:
      punchcard demo                    load sample data
      punchcard import purchases.csv    record your own events
      punchcard export events           write all events to a file

    \b
    Look at what the business did in a month:
      punchcard report --month 2026-01

    \b
    Run API processes and workers on your own MongoDB and Redis:
      MONGODB_URI=… REDIS_URL=… punchcard migrate
      MONGODB_URI=… REDIS_URL=… punchcard api --port 8001
      MONGODB_URI=… REDIS_URL=… punchcard worker

    Each command explains itself: `punchcard import --help`.
    """


main.add_command(up)
main.add_command(api)
main.add_command(worker)
main.add_command(migrate)
main.add_command(restored)
main.add_command(check)
main.add_command(parked)
main.add_command(rollups)
main.add_command(truncate)
main.add_command(demo)
main.add_command(import_)
main.add_command(export)
main.add_command(report)
main.add_command(verify)
main.add_command(key)


@main.command()
def schema() -> None:
    """Print the GraphQL schema in the schema definition language.

    Give the file to an editor or a code generator, to check operations and to generate types for a client.

    \b
    Example:
      punchcard schema > schema.graphql
    """
    from app.graphql.schema import print_sdl  # only this command needs GraphQL: the others start faster without it

    click.echo(print_sdl(), nl=False)


@main.group()
def clock() -> None:
    """Show or move the business clock.

    Segments and points follow the business clock. With PUNCHCARD_CLOCK=manual it stands still until `punchcard clock
    set` moves it. Use it to replay history, or to test what changes when only time passes. It never moves back.

    \b
    Examples:
      PUNCHCARD_CLOCK=manual punchcard up
      PUNCHCARD_CLOCK=manual punchcard clock set 2026-03-01T09:30:00+01:00
      PUNCHCARD_CLOCK=manual punchcard clock show
    """


@clock.command()
@with_settings
def show(settings: Settings) -> None:
    """Print the instant of the business clock.

    \b
    Example:
      PUNCHCARD_CLOCK=manual punchcard clock show
    """

    async def read() -> datetime:
        async with open_resources(settings) as resources:
            return await resources.clock.now()

    click.echo(format_instant(asyncio.run(read())))


@clock.command(name="set")
@click.argument("instant", callback=read_instant)
@with_settings
def set_(settings: Settings, instant: datetime) -> None:
    """Move the manual clock forward to INSTANT, in ISO 8601. Without an offset, INSTANT is UTC.

    Workers then evaluate all passes whose result changes by then. Read the feed to see the transitions. The clock
    cannot be moved back, so do not move the clock of a database that you need later.

    \b
    Examples:
      PUNCHCARD_CLOCK=manual punchcard clock set 1998-07-01
      PUNCHCARD_CLOCK=manual punchcard clock set 2026-03-01T09:30:00+01:00
    """

    async def move() -> datetime:
        async with open_writable(settings) as resources:
            for each in await list_profiles(resources.db):
                ctx = operator_context(resources, each.id, "clock")
                await record_audit_entry(ctx, "clock", "Workspace", each.id, instant=format_instant(instant))
            moved = await MongoClock(resources.db).set(instant)
            resources.bus.wake("due", *SLOT_RANGES)
            return moved

    click.echo(format_instant(asyncio.run(move())))
    if settings.clock != "manual":
        click.echo(
            "The clock was moved, but only processes with PUNCHCARD_CLOCK=manual follow it. Here it is not set.",
            err=True,
        )


@main.group()
def workspace() -> None:
    """Create and list workspaces. Each has its own passes, events, segments and API keys, and no access to others.

    \b
    Examples:
      punchcard workspace create "Corner Coffee" --currency EUR --timezone Europe/Berlin
      punchcard workspace list
    """


@workspace.command()
@click.argument("name")
@click.option("--currency", default="USD", show_default=True, help="The currency of amounts without a currency.")
@click.option(
    "--timezone", default="UTC", show_default=True, help="The IANA time zone of its calendar days, weeks and months."
)
@with_settings
def create(settings: Settings, name: str, currency: str, timezone: str) -> None:
    """Create a workspace called NAME and print its first API key, which allows everything.

    Keep the key: Punchcard stores only its hash and cannot show it again. Currency and time zone cannot be changed
    later. Pass the key to other commands with --key or PUNCHCARD_KEY.

    \b
    Examples:
      punchcard workspace create "Corner Coffee" --currency EUR --timezone Europe/Berlin
      PUNCHCARD_KEY=punch_… punchcard import purchases.csv
    """

    async def make() -> str:
        async with open_writable(settings) as resources:
            _, secret = await create_workspace(
                resources, name, currency=currency, timezone=timezone, command="workspace"
            )
            return secret

    click.echo(asyncio.run(make()))


@workspace.command(name="list")
@with_settings
def list_(settings: Settings) -> None:
    """List the workspaces of the database: id, creation, currency, time zone and name.

    \b
    Example:
      punchcard workspace list
    """

    async def read() -> list[WorkspaceProfile]:
        async with open_resources(settings) as resources:
            return await require_workspaces(resources)

    for each in asyncio.run(read()):
        click.echo(f"{each.id}  {format_instant(each.created_at)}  {each.currency}  {each.timezone}  {each.name}")
