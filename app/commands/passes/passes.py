"""createPass, createPasses and updatePass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from app.commands.context import Context
from app.commands.events.pass_lookup import new_pass
from app.commands.events.record import MAX_EVENTS
from app.domain.errors import Code, InvalidInput, NotFound, Problem, Refused, Unavailable
from app.domain.events.events import OWN_SOURCE, PASS_UPDATED, Category, Event
from app.domain.events.receipts import RecordStatus
from app.domain.ids import slot_of
from app.domain.passes.passes import Pass, PassDraft, PassInput, validate_changes, validate_pass
from app.domain.passes.profiles import FIELD_EVENTS, apply_field_event
from app.domain.values.decimals import ZERO
from app.flow import range_of
from app.store.mongo.ids import ordered_id


@dataclass(frozen=True, slots=True)
class PassResult:
    """What became of the item at `index`; DUPLICATE answers the pass first stored."""

    index: int
    status: RecordStatus
    card: Pass | None = None
    problems: tuple[Problem, ...] = ()


async def create_passes(ctx: Context, items: Sequence[PassInput]) -> list[PassResult]:
    """What became of each of 1 to 1,000 items, in input order. Safe to repeat: the same input again is a DUPLICATE.

    Raises InvalidInput for the number of items, Unavailable (safe to repeat).
    """
    if not 1 <= len(items) <= MAX_EVENTS:
        code = Code.TOO_MANY if items else Code.REQUIRED
        raise InvalidInput(code, f"Between 1 and {MAX_EVENTS} passes a call; this one has {len(items)}.", "passes")
    now = await ctx.now()
    results: list[PassResult | None] = [None] * len(items)
    drafts: dict[int, PassDraft] = {}
    new: dict[str, int] = {}
    for index, item in enumerate(items):
        try:
            drafts[index] = validate_pass(item, now, ctx.resources.settings.metadata_bytes)
            new.setdefault(drafts[index].external_id, index)
        except Refused as refused:
            results[index] = PassResult(index, RecordStatus.REJECTED, None, refused.problems)
    first = list(new.values())
    cards = [new_pass(ctx, (d := drafts[i]).external_id, d.profile, d.installed_at, now) for i in first]
    known, workspace_id = ctx.resources.cache, ctx.workspace.id
    since = known.last_epoch(workspace_id)
    taken = await ctx.workspace.passes.insert(cards)
    for position, index in enumerate(first):
        if position not in taken:
            results[index] = PassResult(index, RecordStatus.CREATED, cards[position])
            known.remember_pass(workspace_id, cards[position].id, cards[position].external_id, since=since)
    rest = [index for index in drafts if results[index] is None]
    stored = await ctx.workspace.passes.get_by_external_ids([drafts[i].external_id for i in rest]) if rest else {}
    if any(drafts[i].external_id not in stored for i in rest):
        # The pass that has this external id is just being erased: in a moment nobody has it.
        raise Unavailable("store")
    for index in rest:
        results[index] = _judged(index, drafts[index], stored[drafts[index].external_id])
    ctx.resources.bus.wake("due", *{range_of(slot_of(card.id)) for card in cards})
    return [result for result in results if result is not None]


def _judged(index: int, draft: PassDraft, card: Pass) -> PassResult:
    if (card.initial_profile, card.installed_at) == (draft.profile, draft.installed_at):
        return PassResult(index, RecordStatus.DUPLICATE, card)
    problem = Problem(
        Code.TAKEN, "Another pass has this external id; update that one with updatePass.", ("externalId",)
    )
    return PassResult(index, RecordStatus.CONFLICT, card, (problem,))


async def update_pass(
    ctx: Context,
    pass_id: str,
    *,
    holder: object = None,
    fields: object = None,
    metadata: object = None,
    status: object = None,
) -> Pass:
    """The pass as it will be once the fold has applied the change: keys given are set, a null removes its key.

    Records an internal event. Repeating it sets the same values again. Raises NotFound, Refused, Unavailable.
    """
    problems: list[Problem] = []
    limit = ctx.resources.settings.metadata_bytes
    changes = validate_changes(holder, fields, metadata, status, limit, problems)
    if problems:
        raise Refused(*problems)
    card = await ctx.workspace.passes.get(pass_id)
    if card is None:
        raise NotFound("pass", "id")
    now = await ctx.now()
    if not changes:
        return card
    event = Event(
        ordered_id("event"), pass_id, Category.FIELD_CHANGE, PASS_UPDATED, None, None, ZERO, OWN_SOURCE, None, {}, now, now,
        ctx.origin, changes=changes,
    )  # fmt: skip
    waiting = await ctx.workspace.events.unfolded(pass_id)
    await ctx.workspace.events.insert([(event, b"")])
    ctx.resources.bus.wake("fold", range_of(slot_of(pass_id)))
    profile = card.profile
    for change in (*(e for e in waiting if e.type in FIELD_EVENTS), event):
        profile = apply_field_event(profile, change)
    return replace(card, profile=profile, updated_at=now)
