"""The command `punchcard restored`: it makes a database that was restored from a backup ready for its processes."""

from __future__ import annotations

import asyncio

import click

from app.bus import REDIS_ERRORS
from app.clock import SystemClock
from app.commands.audit import record_audit_entry
from app.config.settings import Settings
from app.domain.values.instants import EARLIEST, LATEST, to_ms
from app.resources import Resources
from app.store.operations.heartbeats import Heartbeats
from app.store.operations.restored import Restoration, RestoredCounts
from app.store.operations.rollup_rebuild import Marked, RollupRebuild

from .database import open_writable, operator_context, require_workspaces
from .rollups import describe
from .settings import quantity, with_settings


@click.command()
@with_settings
def restored(settings: Settings) -> None:
    """Make a database ready that was restored from a backup. Run it once, before any API process or worker starts.

    After a restore, the feed is shorter than its readers remember, and later activities take the positions of the lost
    ones. This command begins a new epoch. A reader whose cursor lies behind the end of the backup then gets
    CursorExpired with the cursor to continue from. Activities that are published from now on have ids of the new epoch,
    so receivers of webhooks do not take them for repeats.

    All tokens for one pass end, because the backup lacks later revocations: front ends ask for new ones.

    The command also deletes what Redis has of this database, and lets webhook endpoints step back to the end of the
    feed. It marks all rollups and sums of passes, so that workers compute them anew from the restored events. It is safe to
    repeat, and changes nothing for readers if nothing was restored.

    \b
    Example:
      punchcard restored
    """
    counts, marked, keys = asyncio.run(_begin(settings))
    workspaces = quantity(counts.workspaces, "workspace")
    click.echo(f"Epoch {counts.epoch} begins in {workspaces} of the database {settings.database}.")
    click.echo(f"Stepped back to the end of the feed: {quantity(counts.endpoints, 'webhook endpoint')}.")
    click.echo(f"Marked to be computed anew: {describe(marked)}.")
    click.echo(f"Deleted in Redis: {quantity(keys, 'key')}.")
    click.echo("Now start the API processes and the workers, and let clients send the events since the backup again.")


async def _begin(settings: Settings) -> tuple[RestoredCounts, Marked, int]:
    async with open_writable(settings) as resources:
        workspaces = await require_workspaces(resources)
        now = await SystemClock().now()
        alive = await Heartbeats(resources.db).count_alive(now)
        if alive:
            raise click.ClickException(
                f"{quantity(alive, 'worker')} alive on the database {settings.database}. Stop all workers and API"
                " processes, wait 20 seconds, then run `punchcard restored` again. On a local installation, stop `punchcard"
                " up` and start it with `--workers 0`."
            )

        async def record(workspace_id: str, epoch: str) -> None:
            ctx = operator_context(resources, workspace_id, "restored")
            await record_audit_entry(ctx, "restored", "Workspace", workspace_id, epoch=epoch)

        counts = await Restoration(resources.db, resources.in_chunk).begin_epoch(now, record)
        rebuild, marked = RollupRebuild(resources.db, resources.in_chunk, is_sharded=resources.is_sharded), Marked()
        for workspace in workspaces:
            marked += await rebuild.mark_all(workspace.id, to_ms(EARLIEST), to_ms(LATEST))
        return counts, marked, await _clear_redis(resources)


async def _clear_redis(resources: Resources) -> int:
    try:
        return await resources.bus.clear()
    except REDIS_ERRORS as error:
        raise click.ClickException(
            "The new epoch has begun, but Redis did not answer. Start Redis, then run `punchcard restored` again."
        ) from error
