"""The command `punchcard migrate`: it prepares a database for this version before its processes start."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence

import click

from app.config.settings import Settings
from app.resources import open_resources
from app.store.operations.migration import BuildProgress, IndexComparison, Migration, MigrationFailed
from app.store.operations.pass_names import forget_names, name_passes
from app.store.operations.schema_version import raise_schema, require_writable

from .settings import say, with_settings


@click.command()
@click.option("--dry-run", is_flag=True, help="Only list what would be done.")
@click.option("--hide", is_flag=True, help="Hide the indexes of earlier versions from queries.")
@click.option("--drop", is_flag=True, help="Drop the indexes of earlier versions.")
@click.option("--names", "rename", is_flag=True, help="Name all passes again, if `punchcard check` advises it.")
@with_settings
def migrate(settings: Settings, dry_run: bool, hide: bool, drop: bool, rename: bool) -> None:
    """Prepare the database for this version: build the indexes that it lacks, and name the passes of 0.1.0.

    Run it once before a rollout.

    `punchcard api` and `punchcard worker` refuse to start while an index is missing. Processes of the version before may
    run meanwhile: a build does not block them. On a replica set, an index is ready when a majority of the members has
    it. If the command is interrupted, run it again: it waits for builds that go on.

    At the end the command stores the schema version of this Punchcard, and the lowest one that may write beside it.
    Processes of older versions end then. The changelog says if the version before is among them.

    Indexes of earlier versions stay until you ask. Hide them when no process of an earlier version runs: queries then
    do without them, and `db.COLLECTION.unhideIndex` brings them back at once. If all is well a day later, drop them.
    Hiding needs the role `dbAdmin`. Indexes that you made yourself are listed and never changed.

    \b
    Examples:
      punchcard migrate --dry-run
      punchcard migrate
      punchcard migrate --hide
      punchcard migrate --drop
    """
    asyncio.run(_migrate(settings, dry_run=dry_run, hide=hide, drop=drop, rename=rename))


async def _migrate(settings: Settings, *, dry_run: bool, hide: bool, drop: bool, rename: bool) -> None:
    async with open_resources(settings, has_socket_timeout=False) as resources:
        await require_writable(resources.db)
        migration = Migration(resources.db)
        compared = await migration.compare_indexes()
        _list_all(compared)
        if dry_run:
            return
        if compared.conflicts:
            raise MigrationFailed("\n".join(each.advice for each in compared.conflicts))
        for collection, names in _by_collection([*compared.missing, *compared.building]).items():
            say(f"Building {len(names)} indexes of {collection} …")
            await migration.build_indexes(collection, names, _report)
        for name in compared.former if hide or drop else ():
            collection, _, index = name.partition(".")
            await (migration.drop_index if drop else migration.hide_index)(collection, index)
            click.echo(f"{name} is {'dropped' if drop else 'hidden'}.")
        lacking = (await migration.compare_indexes()).lacking
        if lacking:
            raise MigrationFailed(
                f"These indexes are still missing: {', '.join(lacking)}. Run `punchcard migrate` again."
            )
        # Processes of earlier versions create passes without names. So exclude them first.
        await raise_schema(resources.db)
        if rename:
            await forget_names(resources.db)
        await name_passes(resources.db, lambda count: say(f"  {count} passes have names"))
        click.echo(f"The database {resources.db.name} is ready for this version.")


def _list_all(compared: IndexComparison) -> None:
    titles = {
        "missing": compared.missing,
        "being built": compared.building,
        "of earlier versions, not used": [each for each in compared.former if each not in compared.hidden],
        "of earlier versions, hidden": compared.hidden,
        "not of Punchcard, left alone": compared.foreign,
    }
    for title, names in titles.items():
        for name in names:
            click.echo(f"{title}: {name}")
    for conflict in compared.conflicts:
        click.echo(f"in conflict: {conflict.collection}.{conflict.name}")


def _by_collection(names: Sequence[str]) -> dict[str, list[str]]:
    grouped: defaultdict[str, list[str]] = defaultdict(list)
    for name in names:
        collection, _, index = name.partition(".")
        grouped[collection].append(index)
    return grouped


def _report(progress: BuildProgress) -> None:
    say(f"  {progress}")
