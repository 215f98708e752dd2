"""The `punchcard` command. Each command is thin: it parses, calls what does the work, and prints."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import click

from app.commands.workspaces.workspaces import create_workspace
from app.config.settings import Settings, variables
from app.domain.ids import slot_of
from app.domain.values.instants import format_instant
from app.flow import SLOT_RANGES, range_of
from app.resources import open_resources
from app.store.clock import MongoClock
from app.store.operations.parked_passes import ParkedPass, ParkedPasses

from .demo import demo
from .export import export
from .import_ import import_
from .serve import api, up, worker
from .settings import Commands, with_settings


def _settings_help() -> str:
    width = max(len(variable.name) for variable in variables())
    lines = (f"  {each.name:{width}}  {each.default or '-'}" for each in variables())
    return "\b\nEnvironment variables and their defaults (explained in app/config/settings.py):\n" + "\n".join(lines)


@click.group(cls=Commands, epilog=_settings_help(), context_settings={"max_content_width": 110})
@click.version_option(package_name="punchcard")
def main() -> None:
    """Punchcard records what customers do on their passes, keeps their segments to the instant, and tells who asked.

    \b
    Start it, and look around:
      punchcard up                          everything, with its data in ./.punchcard
      punchcard demo                        a small business to look at         (another terminal)
      punchcard import purchases.csv        your own events                     (another terminal)
      punchcard export events               everything back into a file

    \b
    Run its parts, several of each if you like:
      MONGODB_URI=… REDIS_URL=… punchcard api --port 8001
      MONGODB_URI=… REDIS_URL=… punchcard worker
    """


main.add_command(up)
main.add_command(api)
main.add_command(worker)
main.add_command(demo)
main.add_command(import_)
main.add_command(export)


@main.command()
def schema() -> None:
    """Print the GraphQL schema (SDL).

    \b
    Example:
      punchcard schema > schema.graphql
    """
    from app.graphql.schema import print_sdl  # the one command that needs it: the others start without GraphQL

    click.echo(print_sdl(), nl=False)


@main.group()
def clock() -> None:
    """Read or move the manual business clock (PUNCHCARD_CLOCK=manual).

    It stands still until it is moved, and only moves forward: for replaying history, and for seeing what time alone
    will do.

    \b
    Examples:
      punchcard clock show
      punchcard clock set 1998-07-01
      punchcard clock set 2026-03-01T09:30:00+01:00
    """


@clock.command()
@with_settings
def show(settings: Settings) -> None:
    """Print the instant the business clock stands at."""

    async def read() -> datetime:
        async with open_resources(settings) as resources:
            return await resources.clock.now()

    click.echo(format_instant(asyncio.run(read())))


@clock.command(name="set")
@click.argument("instant")
@with_settings
def set_(settings: Settings, instant: str) -> None:
    """Move the manual clock forward to INSTANT (ISO 8601; UTC where it names no offset)."""
    try:
        to = datetime.fromisoformat(instant)
    except ValueError:
        raise click.BadParameter("write it like 1998-07-01 or 2026-03-01T09:30:00Z", param_hint="INSTANT") from None

    async def move() -> datetime:
        async with open_resources(settings) as resources:
            moved = await MongoClock(resources.db).set(to if to.tzinfo else to.replace(tzinfo=UTC))
            resources.bus.wake("due", *SLOT_RANGES)
            return moved

    click.echo(format_instant(asyncio.run(move())))
    if settings.clock != "manual":
        click.echo("Only processes with PUNCHCARD_CLOCK=manual read this clock; here it is not set.", err=True)


@main.command()
@click.option("--rerun", is_flag=True, help="Let the worker take them up again.")
@with_settings
def parked(settings: Settings, rerun: bool) -> None:
    """List the passes that the worker set aside after repeated failures, and why.

    Their events are stored and wait; everything else goes on. Once the cause is gone, run them again.

    \b
    Examples:
      punchcard parked
      punchcard parked --rerun
    """

    async def listed() -> list[ParkedPass]:
        async with open_resources(settings) as resources:
            store = ParkedPasses(resources.db)
            found = await store.passes()
            for card in found if rerun else ():
                await store.release(card, await resources.clock.now())
                resources.bus.wake("fold", range_of(slot_of(card.id)))
            return found

    found = asyncio.run(listed())
    for card in found:
        click.echo(f"{card.id}  {card.workspace_id}  {card.failure}")
    click.echo(f"{len(found)} passes {'run again' if rerun else 'are parked'}.", err=True)


@main.group()
def workspace() -> None:
    """Make workspaces. Each has its own passes, events, segments and keys, and never sees another's."""


@workspace.command()
@click.argument("name")
@click.option("--currency", default="USD", show_default=True, help="The currency of amounts that name none.")
@click.option("--timezone", default="UTC", show_default=True, help="The IANA time zone of its calendar.")
@with_settings
def create(settings: Settings, name: str, currency: str, timezone: str) -> None:
    """Make a workspace called NAME and print a key with every scope.

    The key is shown this once; only its hash is stored.

    \b
    Example:
      punchcard workspace create "Corner Coffee" --currency EUR --timezone Europe/Berlin
    """

    async def make() -> str:
        async with open_resources(settings) as resources:
            _, secret = await create_workspace(resources, name, currency=currency, timezone=timezone)
            return secret

    click.echo(asyncio.run(make()))
