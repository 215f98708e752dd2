"""Passes that items name, and the passes that createMissingPasses creates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from app.commands.context import Context
from app.domain.activities import CREATED, Entry
from app.domain.errors import Code, InvalidInput, Problem, Unavailable
from app.domain.events.validation import Draft
from app.domain.passes.passes import Pass, Profile
from app.domain.values.instants import to_ms
from app.domain.values.text import check_visible, find_invisible
from app.store.mongo.ids import new_id

FIRST_EVENT_DELAY_MS = 2_000
"""How long the `due` stage leaves a new pass to the fold of its first event."""


async def resolve_passes(
    ctx: Context, drafts: Mapping[int, Draft], now: datetime, *, create: bool, historical: bool
) -> tuple[dict[int, str | None], list[Pass]]:
    """Return the pass id of each draft (None without a pass) and, with `create`, the passes to create.

    The store is asked only for passes that this process has not cached: at most one round trip for ids, one for
    external ids. A few times a second, one more re-reads the erasure epoch. `historical`: the events of the drafts are.
    """
    workspace, cache = ctx.workspace, ctx.resources.cache
    epoch = (await cache.epochs(workspace.id, workspace.epochs)).erasures
    ids = {draft.pass_id for draft in drafts.values() if draft.pass_id is not None}
    uncached = [pass_id for pass_id in ids if not cache.has_pass(workspace.id, pass_id, epoch)]
    survivors = await workspace.passes.existing(uncached) if uncached else {}
    missing_ids = set(uncached) - survivors.keys()
    for pass_id, survivor_id in survivors.items():
        # The cache states only that a pass exists, so the id of an alias is never cached and is always looked up.
        if pass_id == survivor_id:
            cache.remember_pass(workspace.id, survivor_id, since=epoch)
    names = {draft.pass_external_id for draft in drafts.values() if draft.pass_external_id is not None}
    found = {
        name: cached_id for name in names if (cached_id := cache.pass_id_of(workspace.id, name, epoch)) is not None
    }
    cards: list[Pass] = []
    if uncached_names := [name for name in names if name not in found]:
        stored = await workspace.passes.find_by_names(uncached_names)
        for name, stored_id in stored.ids.items():
            cache.remember_pass(workspace.id, stored_id, name, since=epoch)
        found |= stored.ids
        if create and (missing := [name for name in uncached_names if name not in found and not find_invisible(name)]):
            # What was defined since `now` was read is not in force yet at the creation.
            rev = await workspace.definitions.highest_rev(now)
            cards = [
                new_pass(ctx, name, Profile(), None, now, rev=rev, wait_ms=FIRST_EVENT_DELAY_MS, historical=historical)
                for name in missing
            ]
            # A creation that crashed is completed under the id that it reserved.
            cards = [replace(card, id=stored.reserved.get(card.external_id, card.id)) for card in cards]
            found |= {card.external_id: card.id for card in cards}
    resolved: dict[int, str | None] = {}
    for index, draft in drafts.items():
        if draft.pass_id is not None:
            resolved[index] = None if draft.pass_id in missing_ids else survivors.get(draft.pass_id, draft.pass_id)
        elif draft.pass_external_id is not None:
            resolved[index] = found.get(draft.pass_external_id)
    return resolved, cards


async def insert_missing(ctx: Context, cards: Sequence[Pass]) -> dict[str, str]:
    """Insert prepared passes and return planned id -> stored id, for passes whose creation another process had begun.

    Raises Unavailable, safe to repeat, if a pass of that external id is being erased.
    """
    epoch, passes = ctx.resources.cache.last_epoch(ctx.workspace.id), ctx.workspace.passes
    reserved = await passes.reserve(cards)
    existing = await passes.insert(reserved)
    names = [cards[index].external_id for index in existing]
    stored_ids = await passes.ids_of(names) if names else {}
    if erased := [name for name in names if name not in stored_ids]:
        await passes.free_names_of_erased(erased)
        raise Unavailable("store")
    ids = {card.id: stored_ids.get(card.external_id, new.id) for card, new in zip(cards, reserved, strict=True)}
    for card in cards:
        ctx.resources.cache.remember_pass(ctx.workspace.id, ids[card.id], card.external_id, since=epoch)
    created_by_others = set(stored_ids.values())
    return {planned: stored for planned, stored in ids.items() if planned != stored or stored in created_by_others}


def new_pass(
    ctx: Context,
    external_id: str,
    profile: Profile,
    installed_at: datetime | None,
    now: datetime,
    *,
    rev: int = 0,
    wait_ms: int = 0,
    historical: bool = False,
) -> Pass:
    """Return a new pass, not stored yet, with its own activity in the outbox. It is evaluated from its creation on.

    With `wait_ms` and the highest revision in force, the fold of its first event evaluates it first. So the pass does
    not enter a segment like "no purchases" for a moment. (Source: docs/explanation/exactly-once.md, "Record".) The
    activities of the creation of a `historical` pass are historical, too.
    """
    now_ms = to_ms(now)
    return Pass(
        id=new_id("pass"),
        workspace_id=ctx.workspace.id,
        external_id=external_id,
        initial_profile=profile,
        profile=profile,
        installed_at=installed_at,
        created_at=now,
        updated_at=now,
        evaluated_until_ms=now_ms - 1,
        revision=rev,
        write_id=new_id("fid"),
        last_activity=1,
        outbox=(Entry(number=1, type=CREATED, at_ms=now_ms, recorded_ms=now_ms, historical=historical),),
        next_due_ms=now_ms + wait_ms,
        historical=historical,
        searchable=(),
    )


def find_problem(draft: Draft) -> Problem:
    """Return the reason why the draft has no pass."""
    name = "passId" if draft.pass_external_id is None else "passExternalId"
    try:
        check_visible(draft.pass_external_id or "", name)
    except InvalidInput as refused:
        return refused.problems[0]
    advice = "No such pass in this workspace; create it, or send createMissingPasses with its external id."
    return Problem(Code.UNKNOWN, advice, (name,))
