"""Which pass each item names, and the passes that createMissingPasses makes on the way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from app.commands.context import Context
from app.domain.activities import CREATED, Entry
from app.domain.errors import Unavailable
from app.domain.events.validation import Draft
from app.domain.passes.passes import Pass, Profile
from app.domain.values.instants import to_ms
from app.store.mongo.ids import new_id

FIRST_EVENT_DELAY_MS = 2_000
"""How long the due pump leaves a pass to the fold of its first event, which is already on its way."""


async def resolve_passes(
    ctx: Context, drafts: Mapping[int, Draft], now: datetime, *, create: bool
) -> tuple[dict[int, str | None], list[Pass]]:
    """The pass id of each draft (None where there is none), and with `create` the passes to make for them.

    Asks the store only for passes that this process has not seen: at most one round trip for ids, one for external ids; and
    a few times a second, whether it has to forget those it has seen.
    """
    workspace, known = ctx.workspace, ctx.resources.cache
    since = await known.erasure_epoch(workspace.id, workspace.erasure_epoch)
    ids = {d.pass_id for d in drafts.values() if d.pass_id is not None}
    unseen = [pass_id for pass_id in ids if not known.has_pass(workspace.id, pass_id, since)]
    answering = await workspace.passes.existing(unseen) if unseen else {}
    absent = set(unseen) - answering.keys()
    for asked_id, there_id in answering.items():
        # An id that another pass answers for is asked about again: what is remembered is that a pass is there.
        if asked_id == there_id:
            known.remember_pass(workspace.id, there_id, since=since)
    names = {d.pass_external_id for d in drafts.values() if d.pass_external_id is not None}
    found = {name: pass_id for name in names if (pass_id := known.pass_id_of(workspace.id, name, since)) is not None}
    cards: list[Pass] = []
    if unknown := [name for name in names if name not in found]:
        there = await workspace.passes.ids_of(unknown)
        for name, found_id in there.items():
            known.remember_pass(workspace.id, found_id, name, since=since)
        found |= there
        if create and (missing := [name for name in unknown if name not in found]):
            rev = await workspace.segments.highest_rev()
            cards = [
                new_pass(ctx, name, Profile(), None, now, rev=rev, wait_ms=FIRST_EVENT_DELAY_MS) for name in missing
            ]
            found |= {card.external_id: card.id for card in cards}
    answers: dict[int, str | None] = {}
    for index, draft in drafts.items():
        if draft.pass_id is not None:
            answers[index] = None if draft.pass_id in absent else answering.get(draft.pass_id, draft.pass_id)
        elif draft.pass_external_id is not None:
            answers[index] = found.get(draft.pass_external_id)
    return answers, cards


async def insert_missing(ctx: Context, cards: Sequence[Pass]) -> dict[str, str]:
    """planned id -> id, for passes that somebody else made in the same moment; all the others were inserted.

    Raises Unavailable, safe to repeat, where a pass of that external id is just being erased.
    """
    since = ctx.resources.cache.last_epoch(ctx.workspace.id)
    taken = await ctx.workspace.passes.insert(cards)
    theirs = await ctx.workspace.passes.ids_of([cards[position].external_id for position in taken]) if taken else {}
    if len(theirs) < len(taken):
        raise Unavailable("store")
    for card in cards:
        pass_id = theirs.get(card.external_id, card.id)
        ctx.resources.cache.remember_pass(ctx.workspace.id, pass_id, card.external_id, since=since)
    return {card.id: theirs[card.external_id] for card in cards if card.external_id in theirs}


def new_pass(
    ctx: Context,
    external_id: str,
    profile: Profile,
    installed_at: datetime | None,
    now: datetime,
    *,
    rev: int = 0,
    wait_ms: int = 0,
) -> Pass:
    """A pass as it is first stored, its own activity in the outbox; judged from its creation on.

    With `wait_ms` and the highest revision its first judgement is the fold of its first event, so that nobody enters
    "no purchases" for a moment. (Source: docs/explanation/exactly-once.md, "Record".)
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
        outbox=(Entry(1, CREATED, now_ms, now_ms),),
        next_due_ms=now_ms + wait_ms,
    )
