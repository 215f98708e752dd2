"""`punchcard parked`: list and release what the workers gave up on, in passes and outside them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import click

from app.commands.audit import record_audit_entry
from app.commands.parked_effects import retry_parked_effects
from app.config.settings import Settings
from app.domain.reactions.parked import UNAVAILABLE, ParkedQuery, ParkedReaction
from app.resources import Resources, open_resources
from app.store.mongo.paging import PageRequest
from app.store.operations.parked_passes import ParkedPass, ParkedPasses

from .database import open_writable, operator_context, require_workspaces
from .settings import quantity, with_settings

MAX_LISTED = 1_000
"""Parked passes, and parked effects of each workspace, that one run lists and releases."""


@click.command()
@click.option("--rerun", is_flag=True, help="Release what is listed, so that workers make another attempt.")
@with_settings
def parked(settings: Settings, rerun: bool) -> None:
    """List what the workers gave up on: passes after five failures, and effects outside passes after 75 hours.

    Events of a parked pass stay stored but do not count. All other passes are processed. Effects outside passes are
    transfers, and rewards and messages of rules. Effects that were refused, for example because a reward is sold out,
    are not listed: the query `parkedEffects` shows them.

    Remove the cause, for example with a new version of Punchcard, then release all with --rerun.

    \b
    Examples:
      punchcard parked
      punchcard parked --rerun
    """
    passes, effects = asyncio.run(_list_and_release(settings, rerun=rerun))
    for card in passes:
        click.echo(f"{card.id}  {card.workspace_id}  {card.failure}")
    for workspace_id, effect in effects:
        reaction = effect.reaction
        click.echo(
            f"{reaction.id}  {workspace_id}  {reaction.body.kind} of {reaction.pass_id}: {effect.refusal.message}"
        )
    counted = f"{quantity(len(passes), 'pass', 'passes')} and {quantity(len(effects), 'effect')}"
    click.echo(f"{counted} {'released' if rerun else 'parked'}.", err=True)


async def _list_and_release(
    settings: Settings, *, rerun: bool
) -> tuple[list[ParkedPass], list[tuple[str, ParkedReaction]]]:
    async with open_writable(settings) if rerun else open_resources(settings) as resources:
        workspace_ids = [each.id for each in await require_workspaces(resources)]
        store = ParkedPasses(resources.db, resources.in_chunk, is_sharded=resources.is_sharded)
        passes = await store.passes(MAX_LISTED)
        for card in passes if rerun else ():
            await _release_pass(resources, store, card)
        effects: list[tuple[str, ParkedReaction]] = []
        for workspace_id in workspace_ids:
            found = await _find_effects(resources, workspace_id)
            effects += [(workspace_id, each) for each in found]
            if rerun and found:
                ctx = operator_context(resources, workspace_id, "parked")
                await retry_parked_effects(ctx, ids=[each.reaction.id for each in found], kind=None)
        return passes, effects


async def _release_pass(resources: Resources, store: ParkedPasses, card: ParkedPass) -> None:
    ctx = operator_context(resources, card.workspace_id, "parked")
    await record_audit_entry(ctx, "parked", "Pass", card.id)
    await store.release(card, await resources.clock.now())
    resources.wake_fold(card.workspace_id, [card.id])


async def _find_effects(resources: Resources, workspace_id: str) -> Sequence[ParkedReaction]:
    """Return the effects that failed and have no next attempt."""
    query = ParkedQuery(codes=(UNAVAILABLE,))
    page = await resources.workspace(workspace_id).reactions.page(query, PageRequest(MAX_LISTED))
    return [each for each in page.items if each.due_ms is None]
