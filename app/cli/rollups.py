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
from app.store.operations.rollup_rebuild import MAX_COUNTED, MAX_PASSES_COUNTED, DirtyState, Marked, RollupRebuild

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
    """Show how many hours, days, months and passes are dirty: their totals are not yet computed from the latest events.

    Rollups are totals of each hour, day and month of UTC, from which questions about all customers are answered. Workers
    compute them after their hour has ended, and again when its events change. They also keep sums of each pass by month, for
    questions such as who spent the most. Answers are exact meanwhile: the events of dirty hours and passes are read.

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
            click.echo(f"{each.id}  {describe_dirty(await queries.dirty(each.id))}")


def describe_dirty(state: DirtyState) -> str:
    """Return what is dirty, as a sentence without a full stop."""
    parts: list[str] = []
    if state.first_ms is not None and state.last_ms is not None:
        first, last = (format_instant(from_ms(at_ms)) for at_ms in (state.first_ms, state.last_ms))
        number = f"{state.number} or more" if state.number == MAX_COUNTED else str(state.number)
        parts.append(f"{number} dirty, from {first} to {last}")
    if state.passes:
        or_more = " or more" if state.passes == MAX_PASSES_COUNTED else ""
        parts.append(f"the sums of {quantity(state.passes, 'pass', 'passes')}{or_more} are dirty")
    return "; ".join(parts) or "nothing is dirty"


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
