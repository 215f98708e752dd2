"""The command `punchcard migrate`: it prepares a database for this version before its processes start."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence

import click

from app.config.settings import Settings
from app.resources import open_resources
from app.store.mongo.queries import Database
from app.store.operations.draws import draw_passes
from app.store.operations.findable_passes import make_passes_findable
from app.store.operations.migration import BuildProgress, IndexComparison, Migration, MigrationFailed
from app.store.operations.pass_months import lacks_marks, mark_passes
from app.store.operations.pass_names import forget_names, lacks_names, name_passes
from app.store.operations.rollup_marking import RollupMarking
from app.store.operations.schema_version import (
    LOWEST_WRITER,
    SCHEMA_VERSION,
    raise_schema,
    read_versions,
    require_writable,
)
from app.store.operations.sharding import SHARD_INDEXES, SHARD_KEYS, Sharding, describe_key, require_divisible
from app.store.operations.upgrades import Upgrades

from .settings import quantity, say, with_settings

EXCLUSION_SECONDS = 10.0
"""The time after which each process has read that its version may not write any more, and has ended its rounds."""
SHARD_INDEX_NAMES = {f"{collection}.{index.document['name']}" for collection, index in SHARD_INDEXES.items()}


@click.command()
@click.option("--dry-run", is_flag=True, help="Only list what would be done.")
@click.option("--hide", is_flag=True, help="Hide the indexes of earlier versions from queries.")
@click.option("--drop", is_flag=True, help="Drop the indexes of earlier versions.")
@click.option("--names", "rename", is_flag=True, help="Name all passes again, if `punchcard check` advises it.")
@click.option("--shard", is_flag=True, help="Divide the large collections over the shards of a sharded MongoDB.")
@with_settings
def migrate(settings: Settings, dry_run: bool, hide: bool, drop: bool, rename: bool, shard: bool) -> None:
    """Prepare the database for this version: build the indexes that it lacks, and complete the passes of 0.1.0.

    Each pass gets a name, the words by which `passes` finds it, and a number by which previews draw it.

    Run it once before a rollout.

    `punchcard api` and `punchcard worker` refuse to start while an index is missing. Processes of the version before may
    run meanwhile: a build does not block them. On a replica set, an index is ready when a majority of the members has
    it. If the command is interrupted, run it again: it waits for builds that go on.

    At the end the command stores the schema version of this Punchcard, and the lowest one that may write beside it.
    Processes of older versions end then. The changelog says if the version before is among them.

    Indexes of earlier versions stay until you ask. Hide them when no process of an earlier version runs: queries then
    do without them, and `db.COLLECTION.unhideIndex` brings them back at once. If all is well a day later, drop them.
    Hiding needs the role `dbAdmin`. Indexes that you made yourself are listed and never changed.

    On a sharded MongoDB, give MONGODB_URI the addresses of its mongos and add --shard. The command then divides events,
    passes, names of passes and activities over the shards. MongoDB moves the documents in the background. Run it again to
    see whether it has finished. It needs the role `clusterManager`. The page `Run on a sharded MongoDB` has all steps.

    \b
    Examples:
      punchcard migrate --dry-run
      punchcard migrate
      punchcard migrate --hide
      punchcard migrate --drop
      punchcard migrate --shard
    """
    asyncio.run(_migrate(settings, dry_run=dry_run, hide=hide, drop=drop, rename=rename, shard=shard))


async def _migrate(settings: Settings, *, dry_run: bool, hide: bool, drop: bool, rename: bool, shard: bool) -> None:
    async with open_resources(settings, has_socket_timeout=False) as resources:
        await require_writable(resources.db)
        migration = Migration(resources.db)
        compared = await migration.compare_indexes()
        _list_all(compared)
        if shard:
            require_divisible(compared, is_sharded=resources.is_sharded)
            for collection in SHARD_KEYS if dry_run else ():
                click.echo(f"to be divided: {collection} by {{{describe_key(collection)}}}")
        if dry_run:
            await _say_what_would_be_done(resources.db, compared)
            return
        if compared.conflicts:
            raise MigrationFailed("\n".join(each.advice for each in compared.conflicts))
        for collection, names in _by_collection([*compared.missing, *compared.building]).items():
            say(f"Building {quantity(len(names), 'index', 'indexes')} of {collection} …")
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
        # Processes of earlier versions create passes without names, mark no hours, set no flags of marks, or seal months
        # without sums of twelve months. So exclude them first, and wait until they know it.
        await raise_schema(resources.db)
        marking = RollupMarking(resources.db, resources.in_chunk, is_sharded=resources.is_sharded)
        upgrades = Upgrades(resources.db, resources.in_chunk, is_sharded=resources.is_sharded)
        lacks = await lacks_names(resources.db) or await lacks_marks(resources.db) or await upgrades.lacks_flags()
        if lacks or await marking.unmarked_workspaces():
            await wait_for_earlier_versions()
        # The names come last: processes start as soon as all passes have them.
        await make_passes_findable(resources.db, lambda count: say(f"  {count} passes can be found by search"))
        await mark_passes(resources.db, lambda count: say(f"  {count} passes will be sealed"))
        if rename:
            await forget_names(resources.db)
        await name_passes(resources.db, lambda count: say(f"  {count} passes have names"))
        await draw_passes(resources.db, lambda count: say(f"  {count} passes have draws"))
        await upgrades.flag_dirty_heads()
        await upgrades.build_histories(lambda workspace_id: say(f"  {workspace_id} has the history of its segments"))
        await upgrades.mark_hours(
            lambda workspace_id, count: say(f"  {workspace_id}: {count} hours with events are marked")
        )
        if shard:
            await _divide(Sharding(resources.db), migration)
        click.echo(f"The database {resources.db.name} is ready for this version.")


async def wait_for_earlier_versions() -> None:
    """Wait until processes of earlier versions have read that they may not write any more."""
    say(f"Waiting {EXCLUSION_SECONDS:g} seconds, until processes of earlier versions have stopped …")
    await asyncio.sleep(EXCLUSION_SECONDS)


async def _divide(sharding: Sharding, migration: Migration) -> None:
    """Divide each collection, and tell whether MongoDB has moved its documents."""
    for collection, index in SHARD_INDEXES.items():
        say(f"Dividing {collection} by {{{describe_key(collection)}}} …")
        # A collection with documents needs the index first. MongoDB makes none for it.
        await migration.build(collection, [index], _report)
        await sharding.divide(collection)
    states = {True: "spread evenly", False: "still being moved to other shards", None: "divided"}
    for collection in SHARD_KEYS:
        click.echo(f"{collection}: the documents are {states[await sharding.is_balanced(collection)]}.")


async def _say_what_would_be_done(db: Database, compared: IndexComparison) -> None:
    stored = await read_versions(db)
    if compared.lacking:
        say(f"Would build {quantity(len(compared.lacking), 'index', 'indexes')}.")
    if stored.version < SCHEMA_VERSION:
        say(
            f"The schema version would rise from {stored.version} to {SCHEMA_VERSION}. Afterwards, no process below schema"
            f" version {max(stored.lowest_writer, LOWEST_WRITER)} may write: the changelog says which ones to stop first."
        )
    if not compared.lacking and stored.version >= SCHEMA_VERSION:
        say(f"The database {db.name} is ready for this version.")


def _list_all(compared: IndexComparison) -> None:
    titles = {
        "missing": compared.missing,
        "being built": compared.building,
        "of earlier versions, not used": [each for each in compared.former if each not in compared.hidden],
        "of earlier versions, hidden": compared.hidden,
        "not of Punchcard, left alone": [each for each in compared.foreign if each not in SHARD_INDEX_NAMES],
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
