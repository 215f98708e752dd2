"""What is sent to inbound hooks: verified, mapped, recorded; what fails is kept and can be run again.

However often a message is sent or run again, it makes each of its events once: an event's identity is the hook's source
and the external id that the mapping gives it, else the message's own identity and the item's place. The document of a
delivery is only the account of it.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace

from app.clock import SystemClock
from app.commands.audit import record_audit_entry
from app.commands.context import Context
from app.commands.events.record import record_events
from app.domain.actors import WRITE, Actor
from app.domain.errors import Code, InvalidInput, NotFound, Problem, Refused, Unauthenticated
from app.domain.events.events import EventInput
from app.domain.events.receipts import RecordStatus
from app.domain.ids import delivery_id, event_id
from app.domain.inbound.deliveries import MAX_PROBLEMS, DeliveryStatus, InboundDelivery, ItemProblem, select_headers
from app.domain.inbound.hooks import InboundHook
from app.domain.inbound.mappings import MappedItem, decode_body, parse_mapping
from app.domain.signatures import TOLERANCE_SECONDS, Scheme, Verification, generate_secret, verify_signature
from app.resources import Resources
from app.store.mongo.paging import Key, PageRequest
from app.store.workspace.hooks import hook_of

from .hooks import find_hook, find_live_hook

CHANNEL = "WEBHOOK"
MAX_RERUNS = 100
MAX_USER_AGENT = 255
_UNKNOWN_HOOK_SECRET = generate_secret(secrets.token_bytes(32))
"""What requests to unknown hooks are held against, so that they are refused no sooner than others."""


@dataclass(frozen=True, slots=True)
class Message:
    """A request that its signature vouches for: to which hook, known to its sender as what, and what it says."""

    hook: InboundHook
    identity: str
    body: bytes
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ReceivedMessage:
    """What became of one attempt: events recorded now, found recorded before, items that failed or were left out."""

    delivery: InboundDelivery
    created: int = 0
    duplicate: int = 0
    failed: int = 0
    skipped: int = 0
    readable: bool = True


@dataclass(frozen=True, slots=True)
class Trial:
    """What would become of one item: an event and its fate, problems, or neither where the conditions leave it out."""

    index: int
    event: EventInput | None = None
    status: RecordStatus | None = None
    problems: tuple[Problem, ...] = ()


async def verify_message(resources: Resources, hook_id: str, headers: Mapping[str, str], body: bytes) -> Message:
    """The message of a request; `headers` are by their names in small letters.

    Raises Unauthenticated alike for an unknown hook, an archived one and a signature that is not good; InvalidInput for a
    good one that is older than five minutes, or ahead by more; Unavailable, safe to repeat.
    """
    found = await hook_of(resources.db, hook_id)
    now = await SystemClock().now()
    hook, known = found if found is not None and found[0].archived_at is None else (None, ())
    usable = [secret.text for secret in known if secret.usable_at(now)] or [_UNKNOWN_HOOK_SECRET]
    signature = verify_signature(Verification() if hook is None else hook.verification, usable, headers, body)
    if hook is None or signature is None:
        raise Unauthenticated
    if signature.stale(now.timestamp()):
        says = (
            f"The signature's time is more than {TOLERANCE_SECONDS} s from the server's; sign again when sending again."
        )
        raise InvalidInput(Code.OUT_OF_RANGE, says, "timestamp")
    return Message(hook, signature.identity, body, headers)


async def receive_message(resources: Resources, message: Message, ip_address: str | None = None) -> ReceivedMessage:
    """What became of a message, recorded or kept with the reason. Safe to repeat: what was processed is told again.

    Raises Unavailable, with nothing lost that was acknowledged; the sender repeats it.
    """
    hook = message.hook
    ctx = _context(resources, hook, ip_address, message.headers.get("user-agent"))
    standard = hook.verification.scheme is Scheme.STANDARD
    # Without an id of its own, a message is its body, and the headers that the mapping looks at.
    told = [] if standard else [message.headers.get(name, "") for name in hook.mapping.headers]
    known_as = delivery_id(hook.id, "\n".join([message.identity, *told]))
    before = (await ctx.workspace.inbound.get_many([known_as])).get(known_as)
    if before is not None and before.status is DeliveryStatus.PROCESSED:
        return ReceivedMessage(before, duplicate=before.events)
    kept = select_headers(message.headers, hook.verification.header)
    if before is None or before.body != message.body:
        attempts, at = (0, await ctx.now()) if before is None else (before.attempts, before.received_at)
        before = InboundDelivery(known_as, hook.id, message.identity, DeliveryStatus.FAILED, at, attempts)
    return await _attempted(ctx, hook, replace(before, body=message.body, headers=kept))


async def rerun_inbound_delivery(ctx: Context, delivery_id: str) -> InboundDelivery:
    """The delivery after its failed items were mapped and recorded anew, by the mapping as it is now.

    Safe to repeat: what was recorded stays, one that is processed stays as it is. Raises NotFound, Conflict for an
    archived hook, Unavailable.
    """
    delivery = (await ctx.workspace.inbound.get_many([delivery_id])).get(delivery_id)
    if delivery is None:
        raise NotFound("delivery", "id")
    hook = await find_live_hook(ctx, delivery.hook_id, "id")
    await record_audit_entry(ctx, "rerunInboundDelivery", "InboundDelivery", delivery_id)
    return await _rerun(ctx, hook, delivery)


async def rerun_inbound_deliveries(
    ctx: Context, hook_id: str, limit: int = MAX_RERUNS, after: Key | None = None
) -> tuple[list[InboundDelivery], bool]:
    """Up to `limit` failed deliveries of a hook, the oldest first, as they stand after a rerun; and whether more follow.

    `after` is the key of the last one of the call before: (received ms, id). Safe to repeat. Raises InvalidInput,
    NotFound, Conflict for an archived hook, Unavailable with those before it done.
    """
    if not 1 <= limit <= MAX_RERUNS:
        raise InvalidInput(Code.OUT_OF_RANGE, f"From 1 to {MAX_RERUNS}.", "first")
    hook = await find_live_hook(ctx, hook_id, "hookId")
    # The list begins with the newest: its end, read backwards.
    page = await ctx.workspace.inbound.page(
        hook_id, DeliveryStatus.FAILED, PageRequest(limit, before=after, backward=True)
    )
    await record_audit_entry(ctx, "rerunInboundDeliveries", "InboundHook", hook_id, count=str(len(page.items)))
    done = []
    for listed in reversed(page.items):
        # One whole body in memory at a time.
        whole = await ctx.workspace.inbound.get_many([listed.id])
        if listed.id in whole:
            done.append(await _rerun(ctx, hook, whole[listed.id]))
    return done, page.has_more


async def discard_inbound_delivery(ctx: Context, delivery_id: str) -> str:
    """The id of a failed delivery whose body is now forgotten; its events stay. Raises NotFound, Unavailable."""
    delivery = (await ctx.workspace.inbound.get_many([delivery_id])).get(delivery_id)
    if delivery is None or delivery.status is not DeliveryStatus.FAILED:
        raise NotFound("failed delivery", "id")
    await record_audit_entry(ctx, "discardInboundDelivery", "InboundDelivery", delivery_id)
    await ctx.workspace.inbound.discard(delivery_id)
    return delivery_id


async def test_inbound_hook(
    ctx: Context,
    body: object,
    headers: object = None,
    *,
    hook_id: str | None = None,
    mapping: object = None,
    source: str | None = None,
    create_missing_passes: bool | None = None,
) -> list[Trial]:
    """What would become of each item of a body, by a hook's settings or in place of them those given; writes nothing.

    Raises NotFound; InvalidInput where there is neither hook nor mapping, for the mapping, or at `body`; Unavailable.
    """
    hook = None if hook_id is None else await find_hook(ctx, hook_id, "hookId")
    if mapping is None and hook is None:
        raise InvalidInput(Code.REQUIRED, "Give a hook, a mapping, or both.", "mapping")
    by = parse_mapping(mapping, "mapping") if mapping is not None or hook is None else hook.mapping
    if create_missing_passes is None:
        create_missing_passes = hook is not None and hook.create_missing_passes
    told = {name.lower(): str(value) for name, value in headers.items()} if isinstance(headers, Mapping) else {}
    try:
        items = by.items_of(body, told, "test")
    except Refused as refused:
        raise Refused(*(problem.under("body") for problem in refused.problems)) from None
    ctx = replace(ctx, channel=CHANNEL)
    recorded = await _recorded(
        ctx,
        items,
        source or (hook.source if hook else "test"),
        create_missing_passes=create_missing_passes,
        dry_run=True,
    )
    found = []
    for item in items:
        status, problems = recorded.get(item.index, (None, item.problems))
        found.append(Trial(item.index, item.event, status, problems))
    return found


async def _rerun(ctx: Context, hook: InboundHook, delivery: InboundDelivery) -> InboundDelivery:
    if delivery.status is DeliveryStatus.PROCESSED:
        return delivery
    return (await _attempted(_context(ctx.resources, hook), hook, delivery)).delivery


async def _attempted(ctx: Context, hook: InboundHook, delivery: InboundDelivery) -> ReceivedMessage:
    """The attempt to record what is left of a delivery, and the account of it."""
    readable, items, body, only = False, [], None, None
    whole: tuple[Problem, ...] = ()
    try:
        body = decode_body(delivery.body or b"", "body")
        readable = True
        only = delivery.rest if delivery.place == hook.mapping.place else None
        items = hook.mapping.items_of(body, delivery.headers, delivery_id(hook.id, delivery.identity), only)
    except Refused as refused:
        whole = refused.problems
    recorded = await _recorded(
        ctx, items, hook.source, create_missing_passes=hook.create_missing_passes, delivery=delivery
    )
    problems = [ItemProblem(problem) for problem in whole]
    rest: list[int] = []
    for item in items:
        found = recorded[item.index][1] if item.event is not None else item.problems
        problems += [ItemProblem(problem, item.index) for problem in found]
        if found:
            rest.append(item.index)
    statuses = [status for status, _ in recorded.values()]
    created, duplicate = statuses.count(RecordStatus.CREATED), statuses.count(RecordStatus.DUPLICATE)
    tried = replace(
        delivery,
        status=DeliveryStatus.FAILED if problems else DeliveryStatus.PROCESSED,
        attempts=delivery.attempts + 1,
        events=created + duplicate + (delivery.events if whole or only else 0),
        problems=tuple(problems[:MAX_PROBLEMS]),
        place=delivery.place if whole else hook.mapping.place,
        rest=delivery.rest if whole else tuple(rest) or None,
        named=hook.mapping.named(body, delivery.headers) if problems else (),
    )
    # Where another run was quicker, its account stands; the events are the same whoever recorded them.
    await ctx.workspace.inbound.save(tried, await SystemClock().now(), after=delivery.attempts)
    skipped = sum(item.event is None and not item.problems for item in items)
    return ReceivedMessage(tried, created, duplicate, len(rest) or int(bool(whole)), skipped, readable)


async def _recorded(
    ctx: Context,
    items: list[MappedItem],
    source: str,
    *,
    create_missing_passes: bool,
    delivery: InboundDelivery | None = None,
    dry_run: bool = False,
) -> dict[int, tuple[RecordStatus, tuple[Problem, ...]]]:
    """The fate of each item that became an event, by its place."""
    made = [(item.index, _named(ctx.workspace.id, source, item.event)) for item in items if item.event is not None]
    if not made:
        return {}
    try:
        outcome = await record_events(
            ctx,
            [event for _, event in made],
            create_missing_passes=create_missing_passes,
            default_source=source,
            # What failed first and is recorded later happened when it was told, not when it was put right.
            default_occurred_at=None if delivery is None else delivery.received_at,
            dry_run=dry_run,
        )
    except Refused as refused:
        return {index: (RecordStatus.REJECTED, refused.problems) for index, _ in made}
    return {made[result.index][0]: (result.status, result.problems) for result in outcome.results}


def _named(workspace_id: str, source: str, event: EventInput) -> EventInput:
    """The event with what it corrects named as Punchcard names it: the sender knows its own ids only."""
    if not isinstance(event.correction_of, str):
        return event
    return replace(event, correction_of=event_id(workspace_id, source, event.correction_of))


def _context(
    resources: Resources, hook: InboundHook, ip_address: str | None = None, user_agent: str | None = None
) -> Context:
    actor = Actor(hook.workspace_id, hook.id, hook.name, frozenset({WRITE}))
    agent = None if user_agent is None else user_agent[:MAX_USER_AGENT]
    return Context(resources.workspace(hook.workspace_id), actor, resources, CHANNEL, ip_address, agent)
