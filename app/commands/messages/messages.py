"""sendMessage, retryMessages and broadcastMessage: they queue messages, which workers send."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from app.clock import SystemClock
from app.commands.audit import record_audit_entry
from app.commands.context import Context
from app.domain.errors import Code, Conflict, InvalidInput, NotFound, refuse_if
from app.domain.ids import broadcast_job_id, channel_id, direct_message_id
from app.domain.jobs import Job, JobKind, JobStatus, Tally, too_many_jobs
from app.domain.messages.messages import Message, MessageCause, MessageOrigin, MessageQuery, MessageStatus
from app.domain.messages.parsing import parse_key
from app.domain.rules.message_templates import MessageTemplate, parse_template
from app.domain.rules.parsing_effects import DEFAULT_VALID_HOURS, MAX_VALID_HOURS
from app.domain.rules.reading import Problems, parse_integer
from app.domain.values.instants import to_ms
from app.domain.values.text import parse_optional
from app.store.codecs.jobs import BroadcastOrder
from app.store.mongo.ids import new_id
from app.store.mongo.paging import PageRequest
from app.templates.rendering import LiquidTexts

from .channels import find_usable_channel
from .consents import find_pass

MAX_RETRIED_IDS = 1_000
"""Messages that one call of retryMessages names."""
MAX_RETRIED = 10_000
"""Messages of a channel that one call of retryMessages queues again."""
RETRY_PAGE_SIZE = 500
TEXTS = LiquidTexts()


@dataclass(frozen=True, slots=True)
class _Content:
    template: MessageTemplate
    valid_for_hours: int


def _parse_content(sent: Mapping[str, object]) -> _Content:
    problems, template = Problems(), parse_template(sent, texts=TEXTS)
    hours = problems.read(parse_integer, sent.get("validForHours"), "validForHours", least=1, most=MAX_VALID_HOURS)
    refuse_if(problems.found)
    return _Content(template, hours or DEFAULT_VALID_HOURS)


async def send_message(
    ctx: Context, sent: Mapping[str, object], *, pass_id: str | None, external_id: object, idempotency_key: object
) -> Message:
    """Queue a message to the holder of a pass and return it. Safe to repeat with the same `idempotency_key`.

    Without a key, each call sends another message. Raises Refused, Conflict for a key of another message, and Unavailable.
    """
    content, key = _parse_content(sent), parse_optional(idempotency_key, "idempotencyKey")
    channel = await find_usable_channel(ctx, sent.get("channelKey"), "channelKey")
    card = await find_pass(ctx, pass_id, external_id)
    now = await SystemClock().now()
    message = Message.queued(
        new_id("msg") if key is None else direct_message_id(ctx.workspace.id, key),
        workspace_id=ctx.workspace.id,
        channel_key=channel.key,
        pass_id=card.id,
        template_id=content.template.id_in(ctx.workspace.id, card.id),
        cause=MessageCause(MessageOrigin.API),
        at=await ctx.now(),
        now=now,
        valid_for_hours=content.valid_for_hours,
    )
    # The template may hold personal data, so it belongs to the pass and is erased with it.
    await ctx.workspace.messages.templates.insert({message.template_id: (content.template, card.id)})
    existing = await ctx.workspace.messages.insert_queued([message], to_ms(now))
    ctx.resources.bus.wake("send", ctx.workspace.id)
    if not existing:
        return message
    stored = (await ctx.workspace.messages.get_many([message.id])).get(message.id)
    if stored is None or (stored.channel_id, stored.pass_id, stored.template_id) != (
        message.channel_id, message.pass_id, message.template_id,
    ):  # fmt: skip
        raise Conflict(
            "Another message was sent with this key; send that one again, or use another key.", "idempotencyKey"
        )
    return stored


async def retry_messages(ctx: Context, *, ids: Sequence[str | None] | None, channel_key: object) -> int:
    """Queue messages again and return how many: FAILED and SUPPRESSED ones by id, or the FAILED ones of a channel.

    Their validity begins anew. Safe to repeat: a message that is queued stays so. Raises InvalidInput, NotFound, Conflict
    and Unavailable.
    """
    if (ids is None) == (channel_key is None):
        raise InvalidInput(Code.INVALID, "Name messages by exactly one of ids and channelKey.", "ids")
    if ids is not None:
        if not 0 < len(ids) <= MAX_RETRIED_IDS:
            raise InvalidInput(
                Code.TOO_MANY if ids else Code.REQUIRED, f"Name 1 to {MAX_RETRIED_IDS:,} messages.", "ids"
            )
        found = await ctx.workspace.messages.get_many([each for each in ids if each is not None])
        for index, each in enumerate(ids):
            if each not in found:
                raise NotFound("message", "ids", str(index))
        await record_audit_entry(ctx, "retryMessages", "Workspace", ctx.workspace.id, count=str(len(ids)))
        return await _queue_again(ctx, list(found.values()))
    channel = await find_usable_channel(ctx, channel_key, "channelKey")
    await record_audit_entry(ctx, "retryMessages", "Channel", channel.id, key=channel.key)
    count, after = 0, None
    while count < MAX_RETRIED:
        query = MessageQuery(channel_id=channel.id, statuses=(MessageStatus.FAILED,))
        page = await ctx.workspace.messages.page(query, PageRequest(RETRY_PAGE_SIZE, after))
        count += await _queue_again(ctx, page.items)
        if not page.has_more:
            break
        after = (to_ms(page.items[-1].created_at), page.items[-1].id)
    return count


async def _queue_again(ctx: Context, messages: Sequence[Message]) -> int:
    at, now = await ctx.now(), await SystemClock().now()
    failed = [each for each in messages if each.status in (MessageStatus.FAILED, MessageStatus.SUPPRESSED)]
    count = 0
    for message in failed:
        count += await ctx.workspace.messages.queue_again(message.queued_again(at, now))
    for channel in {each.channel_id for each in failed}:
        await ctx.workspace.messages.work.announce_work(to_ms(now), channel)
    ctx.resources.bus.wake("send", ctx.workspace.id)
    return count


async def broadcast_message(ctx: Context, sent: Mapping[str, object], *, segment_id: str) -> Job:
    """Create the job that queues a message to each member of a segment, and return it.

    Safe to repeat: a call with the same `key` returns the first job. Raises Refused, NotFound, Conflict and Unavailable.
    """
    content = _parse_content(sent)
    key = parse_key(sent.get("key"), "key")
    channel = await find_usable_channel(ctx, sent.get("channelKey"), "channelKey")
    segment = await ctx.workspace.segments.get(segment_id)
    if segment is None:
        raise NotFound("segment", "segmentId")
    if segment.archived:
        raise Conflict("This segment is archived, so it has no members.", "segmentId")
    template_id = content.template.id_in(ctx.workspace.id)
    order = BroadcastOrder(
        segment_id=segment.id,
        channel_key=channel.key,
        template_id=template_id,
        at_ms=to_ms(await ctx.now()),
        valid_for_hours=content.valid_for_hours,
    )
    job = Job(
        id=broadcast_job_id(ctx.workspace.id, key),
        kind=JobKind.BROADCAST,
        status=JobStatus.QUEUED,
        tally=Tally(),
        total=0,
        created_at=await SystemClock().now(),
    )
    stored = await ctx.workspace.jobs.get_with_order(job.id)
    if stored is None:
        await record_audit_entry(ctx, "broadcastMessage", "Segment", segment.id, job=job.id, channel=channel.key)
        await ctx.workspace.messages.templates.insert({template_id: (content.template, None)})
        if not await ctx.workspace.jobs.insert(job, order, ctx.actor.key_id, None):
            raise too_many_jobs()
        stored = await ctx.workspace.jobs.get_with_order(job.id) or (job, order)
        ctx.resources.bus.wake("jobs", job.id)
    found, its_order = stored
    if not isinstance(its_order, BroadcastOrder) or not order.says_the_same(its_order):
        raise Conflict("Another broadcast has this key; choose another key.", "key", code=Code.TAKEN)
    return found


def channel_id_of(ctx: Context, key: object, *field: str) -> str:
    """Return the id of the channel with a key, which may not exist. Raises InvalidInput."""
    return channel_id(ctx.workspace.id, parse_key(key, *field))
