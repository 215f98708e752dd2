"""Messages to inbound hooks: verify, map, record. Failed messages are kept and can be run again.

However often a message is sent or run again, each of its events is recorded once. The id of an event follows from the
hook's source and the external id that the mapping gives. Without an external id, it follows from the message's identity
and the index of the item. The document of a delivery only reports the attempts.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from hashlib import sha256

from app.clock import SystemClock
from app.commands.context import Context
from app.commands.events.record import record_events
from app.domain.actors import WRITE, Actor
from app.domain.errors import Code, InvalidInput, Problem, Refused, Unauthenticated
from app.domain.events.events import EventInput
from app.domain.events.receipts import RecordStatus
from app.domain.ids import delivery_id, event_id
from app.domain.inbound.deliveries import (
    MAX_PROBLEMS,
    UNKNOWN_NAMES,
    DeliveryStatus,
    InboundDelivery,
    ItemProblem,
    rerun_delay_seconds,
    select_headers,
    waits_for_original,
)
from app.domain.inbound.hooks import InboundHook
from app.domain.inbound.mappings import MappedItem, decode_body, parse_mapping
from app.domain.signatures import TOLERANCE_SECONDS, Scheme, Verification, generate_secret, verify_signature
from app.domain.values.name_hashes import hash_names
from app.resources import Resources
from app.store.workspace.hooks import read_hook

from .hooks import find_hook

CHANNEL = "WEBHOOK"
MAX_USER_AGENT = 255
_UNKNOWN_HOOK_SECRET = generate_secret(secrets.token_bytes(32))
"""Secret for requests to unknown hooks: verifying them takes as long as for others, so timing reveals no hook."""


@dataclass(frozen=True, slots=True)
class Message:
    """Request with a valid signature: its hook, the sender's identity of the message, body and headers."""

    hook: InboundHook
    identity: str
    body: bytes
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ReceivedMessage:
    """Result of one attempt: numbers of events created and found stored, and of items that failed or were skipped."""

    delivery: InboundDelivery
    created: int = 0
    duplicate: int = 0
    failed: int = 0
    skipped: int = 0
    readable: bool = True


@dataclass(frozen=True, slots=True)
class Trial:
    """Expected result of one item: an event with its status, or problems.

    Neither is set if the conditions of the mapping skip the item.
    """

    index: int
    event: EventInput | None = None
    status: RecordStatus | None = None
    problems: tuple[Problem, ...] = ()


async def verify_message(resources: Resources, hook_id: str, headers: Mapping[str, str], body: bytes) -> Message:
    """Return the message of a request after verifying its signature. `headers` are by lower-case names.

    Raises Unauthenticated for an unknown hook, an archived hook and a wrong signature alike. Raises InvalidInput for a
    valid signature whose time differs from the server's by more than five minutes. Raises Unavailable; safe to repeat.
    """
    found = await read_hook(resources.essential_db, hook_id)
    now = await SystemClock().now()
    hook, known_secrets = found if found is not None and found[0].archived_at is None else (None, ())
    usable = [secret.text for secret in known_secrets if secret.is_usable_at(now)] or [_UNKNOWN_HOOK_SECRET]
    signature = verify_signature(Verification() if hook is None else hook.verification, usable, headers, body)
    if hook is None or signature is None:
        raise Unauthenticated
    if signature.is_stale(now.timestamp()):
        message = (
            f"The signature's time is more than {TOLERANCE_SECONDS} s from the server's; sign again at every attempt."
        )
        raise InvalidInput(Code.OUT_OF_RANGE, message, "timestamp")
    return Message(hook=hook, identity=signature.identity, body=body, headers=headers)


async def receive_message(resources: Resources, message: Message, ip_address: str | None = None) -> ReceivedMessage:
    """Record the events of a message, or keep the message with its problems. Safe to repeat.

    A processed message is not recorded again; the result counts its events as duplicates. The signature does not cover
    the headers, so they are no part of a message's identity. But the mapping may read them, so a processed message is
    mapped once more if it comes with other values. Raises Unavailable: the sender repeats the message, and nothing
    acknowledged is lost.
    """
    hook = message.hook
    ctx = hook_context(resources, hook, ip_address, message.headers.get("user-agent"))
    document_id = delivery_id(hook.id, message.identity)
    headers_hash = _hash_mapped_headers(message)
    before = (await ctx.workspace.inbound.get_many([document_id])).get(document_id)
    is_processed = before is not None and before.status is DeliveryStatus.PROCESSED
    if before is not None and is_processed and before.headers_hash == headers_hash:
        return ReceivedMessage(before, duplicate=before.events)
    kept_headers = select_headers(message.headers, hook.verification.header)
    if before is None or before.body != message.body:
        attempts, at = (0, await ctx.now()) if before is None else (before.attempts, before.received_at)
        before = InboundDelivery(
            id=document_id,
            hook_id=hook.id,
            identity=message.identity,
            status=DeliveryStatus.FAILED,
            received_at=at,
            attempts=attempts,
        )
    before = replace(before, body=message.body, headers=kept_headers, headers_hash=headers_hash)
    return await attempt_delivery(ctx, hook, before)


def _hash_mapped_headers(message: Message) -> str:
    """Return a hash of the headers that the mapping reads; "" if it reads none, or if the message has a signed id."""
    names = message.hook.mapping.header_names
    if not names or message.hook.verification.scheme is Scheme.STANDARD:
        return ""
    values = "\n".join(message.headers.get(name, "") for name in names)
    return sha256(values.encode("utf-8", "surrogatepass")).hexdigest()


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
    """Return the expected result of each item of a body, by a hook's settings or the settings given. Writes nothing.

    Raises NotFound; InvalidInput without a hook and a mapping, for the mapping, or at `body`; and Unavailable.
    """
    hook = None if hook_id is None else await find_hook(ctx, hook_id, "hookId")
    if mapping is None and hook is None:
        raise InvalidInput(Code.REQUIRED, "`hookId` and `mapping` are missing; send at least one of them.", "mapping")
    parsed_mapping = parse_mapping(mapping, "mapping") if mapping is not None or hook is None else hook.mapping
    if create_missing_passes is None:
        create_missing_passes = hook is not None and hook.create_missing_passes
    given_headers = (
        {name.lower(): str(value) for name, value in headers.items()} if isinstance(headers, Mapping) else {}
    )
    try:
        items = parsed_mapping.map_items(
            body, given_headers, "test", metadata_bytes=ctx.resources.settings.metadata_bytes
        )
    except Refused as refused:
        raise Refused(*(problem.with_prefix("body") for problem in refused.problems)) from None
    ctx = replace(ctx, channel=CHANNEL)
    recorded = await _record_items(
        ctx,
        items,
        source or (hook.source if hook else "test"),
        create_missing_passes=create_missing_passes,
        dry_run=True,
    )
    trials = []
    for item in items:
        status, problems = recorded.get(item.index, (None, item.problems))
        trials.append(Trial(index=item.index, event=item.event, status=status, problems=problems))
    return trials


async def attempt_delivery(
    ctx: Context, hook: InboundHook, delivery: InboundDelivery, *, keeps_expiry: bool = False
) -> ReceivedMessage:
    """Record the remaining items of a delivery and store the result. Safe to repeat.

    With `keeps_expiry`, a delivery that fails again expires when it would have expired before. Raises Unavailable.
    """
    is_readable, items, body, remaining_items = False, [], None, None
    body_problems: tuple[Problem, ...] = ()
    try:
        body = decode_body(delivery.body or b"", "body")
        is_readable = True
        remaining_items = delivery.remaining_items if delivery.items_path == hook.mapping.items_path else None
        items = hook.mapping.map_items(
            body,
            delivery.headers,
            delivery_id(hook.id, delivery.identity),
            remaining_items,
            metadata_bytes=ctx.resources.settings.metadata_bytes,
        )
    except Refused as refused:
        body_problems = refused.problems
    recorded = await _record_items(
        ctx, items, hook.source, create_missing_passes=hook.create_missing_passes, delivery=delivery
    )
    problems = [ItemProblem(problem) for problem in body_problems]
    failed_items: list[int] = []
    for item in items:
        item_problems = recorded[item.index][1] if item.event is not None else item.problems
        problems += [ItemProblem(problem, item.index) for problem in item_problems]
        if item_problems:
            failed_items.append(item.index)
    statuses = [status for status, _ in recorded.values()]
    created, duplicate = statuses.count(RecordStatus.CREATED), statuses.count(RecordStatus.DUPLICATE)
    now = await SystemClock().now()
    is_waiting = waits_for_original(each.problem for each in problems)
    attempted = replace(
        delivery,
        status=DeliveryStatus.FAILED if problems else DeliveryStatus.PROCESSED,
        attempts=delivery.attempts + 1,
        events=created + duplicate + (delivery.events if body_problems or remaining_items else 0),
        problems=tuple(problems[:MAX_PROBLEMS]),
        items_path=delivery.items_path if body_problems else hook.mapping.items_path,
        remaining_items=delivery.remaining_items if body_problems else tuple(failed_items) or None,
        pass_external_ids=await _find_names(ctx, hook, delivery, body) if problems else (),
        rerun_at=now + timedelta(seconds=rerun_delay_seconds(delivery.reruns)) if is_waiting else None,
    )
    # If a concurrent run stored its result first, that result stays. Both runs recorded the same events.
    await ctx.workspace.inbound.save(attempted, now, after=delivery.attempts, keeps_expiry=keeps_expiry)
    skipped = sum(item.event is None and not item.problems for item in items)
    return ReceivedMessage(
        delivery=attempted,
        created=created,
        duplicate=duplicate,
        failed=len(failed_items) or int(bool(body_problems)),
        skipped=skipped,
        readable=is_readable,
    )


def _has_surrogates(text: str) -> bool:
    return any("\ud800" <= character <= "\udfff" for character in text)


async def _find_names(ctx: Context, hook: InboundHook, delivery: InboundDelivery, body: object) -> tuple[str, ...]:
    """Return the names by which an erasure finds a failed delivery. `body` is None if it is not JSON."""
    external_ids = hook.mapping.find_pass_external_ids(body, delivery.headers)
    is_complete = hook.mapping.names_every_pass(body, delivery.headers)
    if is_complete and not any(map(_has_surrogates, external_ids)):
        known = await ctx.workspace.passes.ids_of(external_ids)
        if all(external_id in known for external_id in external_ids):
            return external_ids
    # The mapping does not find a pass for each item, so any text in the message may name one.
    hashes = None if body is None else hash_names(await ctx.secret(), body, dict(delivery.headers))
    return (*external_ids, *((UNKNOWN_NAMES,) if hashes is None else hashes))


async def _record_items(
    ctx: Context,
    items: list[MappedItem],
    source: str,
    *,
    create_missing_passes: bool,
    delivery: InboundDelivery | None = None,
    dry_run: bool = False,
) -> dict[int, tuple[RecordStatus, tuple[Problem, ...]]]:
    """Record the items that became events and return their status and problems by item index."""
    events = [
        (item.index, _resolve_correction(ctx.workspace.id, source, item.event))
        for item in items
        if item.event is not None
    ]
    if not events:
        return {}
    try:
        outcome = await record_events(
            ctx,
            [event for _, event in events],
            create_missing_passes=create_missing_passes,
            default_source=source,
            # An event without a time occurred when its message arrived first, not when a rerun recorded it.
            default_occurred_at=None if delivery is None else delivery.received_at,
            dry_run=dry_run,
        )
    except Refused as refused:
        return {index: (RecordStatus.REJECTED, refused.problems) for index, _ in events}
    return {events[result.index][0]: (result.status, result.problems) for result in outcome.results}


def _resolve_correction(workspace_id: str, source: str, event: EventInput) -> EventInput:
    """Return the event with `correction_of` as an event id. The sender knows only its own external ids."""
    if not isinstance(event.correction_of, str):
        return event
    return replace(event, correction_of=event_id(workspace_id, source, event.correction_of))


def hook_context(
    resources: Resources, hook: InboundHook, ip_address: str | None = None, user_agent: str | None = None
) -> Context:
    actor = Actor(workspace_id=hook.workspace_id, key_id=hook.id, name=hook.name, scopes=frozenset({WRITE}))
    user_agent = None if user_agent is None else user_agent[:MAX_USER_AGENT]
    return Context(
        workspace=resources.workspace(hook.workspace_id),
        actor=actor,
        resources=resources,
        channel=CHANNEL,
        ip_address=ip_address,
        user_agent=user_agent,
    )
