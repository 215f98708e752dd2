"""The command `punchcard truncate`: it removes the front of activity logs."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import timedelta

import click

from app.commands.audit import record_audit_entry
from app.config.settings import Settings
from app.domain.errors import Unavailable
from app.resources import Resources
from app.store.operations.truncation import READERS_WAIT_SECONDS, TruncationPlan, TruncationQueries

from .database import open_writable, operator_context, require_workspace, require_workspaces
from .settings import quantity, with_settings


@click.command()
@click.option("--workspace", "workspace_id", help="The id of the workspace.  [default: all, with --older-than]")
@click.option(
    "--older-than", "days", type=click.IntRange(1, 36_500), help="Remove what was recorded more than so many days ago."
)
@click.option(
    "--up-to", "position", type=click.IntRange(1, 1 << 53), help="Remove up to this `sequence` of the feed, inclusive."
)
@click.option("--yes", is_flag=True, help="Remove the activities. Without it, the command only says what it would do.")
@with_settings
def truncate(settings: Settings, workspace_id: str | None, days: int | None, position: int | None, yes: bool) -> None:
    """Remove the front of the activity log, to free space. Events, passes and segments stay as they are.

    Without --yes, the command only prints what it would remove. Removed activities are gone: take a backup, or export
    them with `punchcard export activities` first. A reader with an older cursor gets CursorExpired with the cursor to
    continue from. Positions of other activities do not change.

    Some activities stay although they are old. Enabled webhook endpoints keep what they have not delivered. Exports
    and replays that run keep what they have not read. The last activity of a log always stays.

    \b
    Examples:
      punchcard truncate --older-than 400
      punchcard truncate --older-than 400 --yes
      punchcard truncate --workspace ws_06d9a1 --up-to 1200000 --yes
    """
    if (days is None) == (position is None):
        raise click.UsageError("Give --older-than or --up-to, one of them.")
    if position is not None and workspace_id is None:
        raise click.UsageError("Give --workspace with --up-to: positions are those of one workspace.")
    asyncio.run(_truncate(settings, workspace_id, days=days, position=position, yes=yes))


async def _truncate(
    settings: Settings, workspace_id: str | None, *, days: int | None, position: int | None, yes: bool
) -> None:
    async with open_writable(settings) as resources:
        queries = TruncationQueries(resources.db, resources.in_chunk)
        before = None if days is None else await resources.clock.now() - timedelta(days=days)
        if workspace_id is None:
            chosen = [each.id for each in await require_workspaces(resources)]
        else:
            chosen = [(await require_workspace(resources, workspace_id)).id]
        plans = {each: await queries.plan(each, before=before, upto=position) for each in chosen}
        if not yes:
            for each, plan in plans.items():
                _show(each, plan, "would be removed")
            has_work = any(plan.cut > plan.front for plan in plans.values())
            advice = " Add --yes to remove these activities." if has_work else ""
            click.echo(f"Nothing was removed.{advice}", err=True)
            return
        try:
            await _remove(resources, queries, plans)
        except Unavailable as error:
            raise click.ClickException(
                f"{error.describe()} Some of the activities may be removed already: run the same command again."
            ) from error


async def _remove(resources: Resources, queries: TruncationQueries, plans: Mapping[str, TruncationPlan]) -> None:
    for each, plan in plans.items():
        if plan.cut > plan.front:
            ctx = operator_context(resources, each, "truncate")
            await record_audit_entry(ctx, "truncate", "Workspace", each, front=str(plan.front), upTo=str(plan.cut))
        await queries.move_front(each, plan)
    await asyncio.sleep(READERS_WAIT_SECONDS)
    for each, plan in plans.items():
        await queries.delete_before_front(each)
        _show(each, plan, "removed")


def _show(workspace_id: str, plan: TruncationPlan, verb: str) -> None:
    count, total = plan.cut - plan.front, plan.last - plan.front
    click.echo(
        f"{workspace_id}  {count} of {quantity(total, 'activity', 'activities')} {verb}, up to sequence {plan.cut}."
    )
    if plan.holder is not None:
        click.echo(f"{workspace_id}  Others stay for {plan.holder}.")
