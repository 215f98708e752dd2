"""The command `punchcard rollups`: it shows which totals of past hours are out of date, and has them computed anew."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime

import click

from app.commands.audit import record_audit_entry
from app.config.settings import Settings
from app.domain.values.instants import EARLIEST, LATEST, format_instant, from_ms, to_ms
from app.domain.workspaces import WorkspaceProfile
from app.resources import Resources, open_resources
from app.store.operations.rollup_rebuild import MAX_COUNTED, Marked, RollupRebuild

from .database import open_writable, operator_context, require_workspace, require_workspaces
from .settings import quantity, read_instant, say, with_settings


@click.command()
@click.option("--rebuild", is_flag=True, help="Let workers compute the rollups of the period anew.")
@click.option("--workspace", "workspace_id", help="The id of the workspace.  [default: all]")
@click.option(
    "--from", "after", callback=read_instant, help="The first instant of the period, in ISO 8601.  [default: 1900]"
)
@click.option("--to", "before", callback=read_instant, help="The instant at which the period ends.  [default: 2200]")
@with_settings
def rollups(
    settings: Settings, rebuild: bool, workspace_id: str | None, after: datetime | None, before: datetime | None
) -> None:
    """Show how many hours, days and months are dirty, that is, not yet computed from their latest events.

    Rollups are totals of each hour, day and month of UTC, from which questions about all customers are answered. Workers
    compute them after their hour has ended, and again when its events change. Answers are exact meanwhile: the events of
    dirty hours are read.

    With --rebuild, workers compute the rollups of a period anew, and the sums of passes of its months, for example after
    events were changed in the database by hand. The command marks the hours and passes, and does not wait for the workers.
    Without an offset, instants are UTC. If the command is interrupted, run it again.

    \b
    Examples:
      punchcard rollups
      punchcard rollups --rebuild
      punchcard rollups --rebuild --workspace ws_06d9a1 --from 2025-01-01 --to 2025-02-01
    """
    low, high = after or EARLIEST, before or LATEST
    if low >= high:
        raise click.UsageError("Give --to an instant after that of --from.")
    if not rebuild and (after or before):
        raise click.UsageError("Give --from and --to together with --rebuild.")
    asyncio.run(_rebuild(settings, workspace_id, low, high) if rebuild else _show(settings, workspace_id))


async def _show(settings: Settings, workspace_id: str | None) -> None:
    async with open_resources(settings) as resources:
        queries = RollupRebuild(resources.db, resources.in_chunk, is_sharded=resources.is_sharded)
        for each in await _choose(resources, workspace_id):
            found = await queries.dirty(each.id)
            if found is None:
                click.echo(f"{each.id}  nothing is dirty")
                continue
            first, last = (format_instant(from_ms(at_ms)) for at_ms in (found.first_ms, found.last_ms))
            number = f"{found.number} or more" if found.number == MAX_COUNTED else str(found.number)
            click.echo(f"{each.id}  {number} dirty, from {first} to {last}")


async def _rebuild(settings: Settings, workspace_id: str | None, low: datetime, high: datetime) -> None:
    async with open_writable(settings) as resources:
        rebuild = RollupRebuild(resources.db, resources.in_chunk, is_sharded=resources.is_sharded)
        for each in await _choose(resources, workspace_id):
            ctx = operator_context(resources, each.id, "rollups")
            span = {"from": format_instant(low), "to": format_instant(high)}
            await record_audit_entry(ctx, "rollups", "Workspace", each.id, **span)
            marked = await rebuild.mark_all(
                each.id, to_ms(low), to_ms(high), lambda so_far: say(f"  {describe(so_far)} marked")
            )
            click.echo(f"{each.id}  {describe(marked)} will be computed anew.")


def describe(marked: Marked) -> str:
    """Return what is marked, as a part of a sentence."""
    return f"{quantity(marked.hours, 'hour')} with events and {quantity(marked.passes, 'pass', 'passes')}"


async def _choose(resources: Resources, workspace_id: str | None) -> Sequence[WorkspaceProfile]:
    if workspace_id is None:
        return await require_workspaces(resources)
    return [await require_workspace(resources, workspace_id)]
