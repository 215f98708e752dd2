"""createPass, createPasses and updatePass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from app.commands.audit import record_audit_entry
from app.commands.context import Context
from app.commands.events.pass_lookup import new_pass
from app.commands.events.record import MAX_EVENTS
from app.domain.errors import Code, InvalidInput, NotFound, Problem, Refused, Unavailable
from app.domain.events.events import PASS_UPDATED, Category
from app.domain.events.own_events import own_event
from app.domain.events.receipts import RecordStatus
from app.domain.ids import slot_of
from app.domain.passes.inputs import PassDraft, PassInput, validate_pass
from app.domain.passes.passes import Pass, apply_changes, check_profile_size, validate_changes
from app.domain.passes.profiles import FIELD_EVENTS, apply_field_event
from app.flow import range_of
from app.store.mongo.ids import ordered_id


@dataclass(frozen=True, slots=True)
class PassResult:
    """Outcome of the item at `index`. DUPLICATE and CONFLICT carry the pass stored first."""

    index: int
    status: RecordStatus
    card: Pass | None = None
    problems: tuple[Problem, ...] = ()


async def create_passes(ctx: Context, items: Sequence[PassInput], action: str = "createPasses") -> list[PassResult]:
    """Create 1 to 1,000 passes and return the outcomes in input order. Safe to repeat: the same input is a DUPLICATE.

    `action` is the name of the mutation for the audit log.
    Raises InvalidInput for the number of items. Raises Unavailable; safe to repeat.
    """
    if not 1 <= len(items) <= MAX_EVENTS:
        code = Code.TOO_MANY if items else Code.REQUIRED
        raise InvalidInput(code, f"Between 1 and {MAX_EVENTS} passes a call; this one has {len(items)}.", "passes")
    now, currency = await ctx.now(), (await ctx.profile()).currency
    results: list[PassResult | None] = [None] * len(items)
    drafts: dict[int, PassDraft] = {}
    new: dict[str, int] = {}
    for index, item in enumerate(items):
        try:
            drafts[index] = validate_pass(item, now, ctx.resources.settings.metadata_bytes, currency)
            new.setdefault(drafts[index].external_id, index)
        except Refused as refused:
            results[index] = PassResult(index=index, status=RecordStatus.REJECTED, card=None, problems=refused.problems)
    new_indexes = list(new.values())
    cards = [
        replace(
            new_pass(ctx, draft.external_id, draft.profile, draft.installed_at, now), gift_currency=draft.gift_currency
        )
        for draft in (drafts[index] for index in new_indexes)
    ]
    cache, workspace_id = ctx.resources.cache, ctx.workspace.id
    if cards:
        cards = await ctx.workspace.passes.reserve(cards)
        subject = ("Pass", cards[0].id) if len(cards) == 1 else ("Workspace", workspace_id)
        await record_audit_entry(ctx, action, *subject, count=str(len(cards)))
    epoch = cache.last_epoch(workspace_id)
    existing = await ctx.workspace.passes.insert(cards)
    for number, index in enumerate(new_indexes):
        if number not in existing:
            results[index] = PassResult(index, RecordStatus.CREATED, cards[number])
            cache.remember_pass(workspace_id, cards[number].id, cards[number].external_id, since=epoch)
    remaining = [index for index in drafts if results[index] is None]
    stored = (
        await ctx.workspace.passes.get_by_external_ids([drafts[i].external_id for i in remaining]) if remaining else {}
    )
    if erased := [drafts[i].external_id for i in remaining if drafts[i].external_id not in stored]:
        # A pass with this external id is being erased; a retry finds the external id free.
        await ctx.workspace.passes.free_names_of_erased(erased)
        raise Unavailable("store")
    for index in remaining:
        results[index] = _compare_with_stored(index, drafts[index], stored[drafts[index].external_id])
    ctx.resources.bus.wake("due", *{range_of(slot_of(card.id)) for card in cards})
    return [result for result in results if result is not None]


def _compare_with_stored(index: int, draft: PassDraft, card: Pass) -> PassResult:
    """Return DUPLICATE if the stored pass was created from the same input, else CONFLICT."""
    stored = (card.initial_profile, card.given_installed_at, card.gift_currency)
    if stored == (draft.profile, draft.installed_at, draft.gift_currency):
        return PassResult(index, RecordStatus.DUPLICATE, card)
    problem = Problem(
        Code.TAKEN, "Another pass has this external id; update that one with updatePass.", ("externalId",)
    )
    return PassResult(index=index, status=RecordStatus.CONFLICT, card=card, problems=(problem,))


async def update_pass(
    ctx: Context,
    pass_id: str,
    *,
    holder: object = None,
    fields: object = None,
    metadata: object = None,
    status: object = None,
) -> Pass:
    """Record a change of a pass and return the pass as it will be after the fold. Null removes a key, others are set.

    The change is an internal event. Safe to repeat. Raises NotFound, Refused and Unavailable.
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
    event = own_event(
        ordered_id("event"),
        pass_id,
        PASS_UPDATED,
        at=now,
        origin=ctx.origin,
        category=Category.FIELD_CHANGE,
        changes=changes,
    )
    profile = card.profile
    for change in await ctx.workspace.events.unfolded(pass_id):
        if change.type in FIELD_EVENTS:
            profile = apply_field_event(profile, change)
    check_profile_size(apply_changes(profile, changes), profile)
    await record_audit_entry(ctx, "updatePass", "Pass", pass_id, changes=" ".join(sorted(changes)))
    await ctx.workspace.events.insert([(event, b"")])
    ctx.resources.wake_fold(ctx.workspace.id, [pass_id])
    profile = apply_field_event(profile, event)
    return replace(card, profile=profile, updated_at=now)
