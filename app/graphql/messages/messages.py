"""The type Message, the query that lists messages, and the mutations that queue them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

import strawberry

from app.commands.messages import messages as commands
from app.domain.errors import Refused
from app.domain.messages import messages as domain
from app.domain.messages.messages import MessageQuery
from app.domain.values.instants import to_ms
from app.domain.values.text import parse_text
from app.graphql.context import Info, RequestContext
from app.graphql.jobs.jobs import Job, fetch_job, job_of
from app.graphql.passes.passes import Pass
from app.graphql.segments.criteria import to_mapping
from app.graphql.types.ids import database_id, given_id, names_segment, to_global_id
from app.graphql.types.node import Node, fetch_node, fetcher
from app.graphql.types.paging import After, Before, Connection, First, Last, Pagination
from app.graphql.types.payloads import UserError, user_errors

from .channels import Channel, fetch_channel
from .enums import MessageOrigin, MessageReason, MessageStatus


@strawberry.type
class MessageAttempt:
    """One attempt to hand a message to the provider of its channel."""

    attempted_at: datetime = strawberry.field(description="Time of the attempt, in system time.")
    status_code: int | None = strawberry.field(
        description="Status of the answer, of HTTP or of SMTP; null if there was no answer."
    )
    error: str | None = strawberry.field(
        description="Explanation of the failure, for people; null if the provider took the message."
    )
    duration_ms: int = strawberry.field(description="Duration of the attempt in milliseconds.")


@strawberry.type
class Message(Node):
    """Message to the holder of a pass. Punchcard stores neither its text nor its address.

    It is removed 100 days after its outcome. Each outcome is also an activity of the pass, for example
    `customer.email.sent`.
    """

    status: MessageStatus = strawberry.field(description="State of the message.")
    reason: MessageReason | None = strawberry.field(description="Why it was not sent; null if it is queued or sent.")
    error: str | None = strawberry.field(description="The reason as a sentence, for people.")
    origin: MessageOrigin = strawberry.field(description="What queued it.")
    rule_key: str | None = strawberry.field(description="Key of the rule that fired, if one did.")
    queued_at: datetime = strawberry.field(
        description="Instant of the firing or call, from which its validity counts. Templates have it as `now`."
    )
    valid_until: datetime | None = strawberry.field(description="Instant from which it is not sent any more.")
    next_attempt_at: datetime | None = strawberry.field(
        description="Time at which it is sent next, in system time; null unless it is QUEUED. The attempt is made later if "
        "the circuit of the channel is open then."
    )
    sent_at: datetime | None = strawberry.field(description="Instant at which the provider took it; null before.")
    attempts: list[MessageAttempt] = strawberry.field(description="Last ten attempts, the newest last.")
    stored: strawberry.Private[domain.Message]

    @strawberry.field
    async def channel(self, info: Info) -> Channel | None:
        """Channel over which it is sent."""
        return await fetch_channel(info.context, self.stored.channel_id)

    @strawberry.field(name="pass")
    async def card(self, info: Info) -> Pass | None:
        """Pass to whose holder it goes. Null for a test."""
        if not self.stored.pass_id:
            return None
        card: Pass | None = await fetch_node(info.context, "Pass", self.stored.pass_id)
        return card

    @strawberry.field
    async def job(self, info: Info) -> Job | None:
        """Broadcast that queued it; null for other origins."""
        job_id = self.stored.cause.job_id
        return None if job_id is None else await fetch_job(info.context, job_id)


def message_of(message: domain.Message) -> Message:
    """Return the GraphQL object of a message."""
    return Message(
        id=strawberry.ID(to_global_id("Message", message.id)),
        status=message.status,
        reason=message.reason,
        error=message.error,
        origin=message.cause.origin,
        rule_key=message.cause.rule_key,
        queued_at=message.queued_at,
        valid_until=message.expires_at,
        next_attempt_at=message.due_at,
        sent_at=message.sent_at,
        attempts=[
            MessageAttempt(
                attempted_at=each.at, status_code=each.status_code, error=each.error, duration_ms=each.duration_ms
            )
            for each in message.attempts
        ],
        stored=message,
    )


@fetcher("Message")
async def fetch_message(context: RequestContext, message_id: str) -> Message | None:
    """Return the message with a database id, or None."""
    message = await context.load.messages.load(message_id)
    return None if message is None else message_of(message)


@strawberry.input
class MessageFilter:
    """Filter of messages. A message must meet every given condition; an omitted one allows any value."""

    pass_id: strawberry.ID | None = strawberry.field(
        default=None, description="Pass to whose holder the messages go. Those of passes merged into it count, too."
    )
    channel_key: str | None = strawberry.field(default=None, description="Key of the channel.")
    statuses: list[MessageStatus] | None = strawberry.field(
        default=None, description="States, one of which the message must have."
    )
    job_id: strawberry.ID | None = strawberry.field(default=None, description="Broadcast that queued the messages.")
    rule_id: strawberry.ID | None = strawberry.field(default=None, description="Rule that fired for the messages.")


listing = Pagination[domain.Message]("message", (int, str), lambda message: (to_ms(message.created_at), message.id))


async def list_messages(
    info: Info,
    filter: Annotated[
        MessageFilter | None, strawberry.argument(description="Conditions that select the messages.")
    ] = None,
    first: First = None,
    after: After = None,
    last: Last = None,
    before: Before = None,
) -> Connection[Message]:
    """List messages, newest first. Needs the scope `read`. An unknown id gives an empty list."""
    span = listing.span(first, after, last, before)
    query = await _query_of(info, filter or MessageFilter())
    store = info.context.workspace.messages
    return listing.connection(await store.page(query, span), span, message_of, lambda: store.count(query))


async def _query_of(info: Info, sent: MessageFilter) -> MessageQuery:
    pass_ids: Sequence[str] = ()
    if sent.pass_id is not None:
        pass_ids = await info.context.workspace.with_aliases(database_id(sent.pass_id, "Pass") or "")
    return MessageQuery(
        pass_ids=pass_ids,
        channel_id=None
        if sent.channel_key is None
        else commands.channel_id_of(info.context.commands, sent.channel_key, "filter", "channelKey"),
        statuses=sent.statuses or (),
        job_id=None if sent.job_id is None else database_id(sent.job_id, "Job") or "",
        rule_id=None if sent.rule_id is None else database_id(sent.rule_id, "Rule") or "",
    )


@strawberry.input
class MessageContentInput:
    """Channel and text of a message."""

    channel_key: str = strawberry.field(description="Key of the channel.")
    template: str = strawberry.field(description="Text as a Liquid template, at most 4,000 characters.")
    subject: str | None = strawberry.field(
        default=None,
        description="Subject of an e-mail, or title of a push message, as a Liquid template of at most 255 characters.",
    )
    html: str | None = strawberry.field(
        default=None,
        description="HTML part of an e-mail as a Liquid template, at most 4,000 characters. Values are escaped.",
    )
    valid_for_hours: int = strawberry.field(
        default=24,
        description="Hours after the call in which the message may be sent: 1 to 720. Later it is `SUPPRESSED`.",
    )


@strawberry.input
class SendOneMessageInput(MessageContentInput):
    """Message to send to the holder of a pass."""

    pass_id: strawberry.ID | None = strawberry.field(
        default=None, description="Id of the pass. Give exactly one of `passId` and `passExternalId`."
    )
    pass_external_id: str | None = strawberry.field(default=None, description="External id of the pass.")
    idempotency_key: str | None = strawberry.field(
        default=None,
        description="Identity of the message in your system, at most 255 characters. With it, a repeated call sends nothing "
        "more and returns the first message.",
    )


@names_segment("segment_id")
@strawberry.input
class BroadcastMessageInput(MessageContentInput):
    """Message to send to all members of a segment."""

    segment_id: strawberry.ID = strawberry.field(description="Id of the segment.")
    key: str = strawberry.field(
        description="Key of the broadcast: 1 to 63 small letters, digits, `_` or `-`. A repeated call returns the first job."
    )


@strawberry.input
class RetryMessagesInput:
    """Messages to queue again. Give exactly one of `ids` and `channelKey`."""

    ids: list[strawberry.ID] | None = strawberry.field(
        default=None, description="Ids of FAILED or SUPPRESSED messages: 1 to 1,000."
    )
    channel_key: str | None = strawberry.field(
        default=None, description="Key of a channel, all of whose FAILED messages are meant: about 10,000 in one call."
    )


@strawberry.type
class SendMessagePayload:
    """Result of `sendMessage`."""

    message: Message | None = strawberry.field(default=None, description="Queued message; null if the call failed.")
    user_errors: list[UserError] = strawberry.field(
        default_factory=list, description="Problems with the input; empty if the call succeeded."
    )


@strawberry.type
class BroadcastMessagePayload:
    """Result of `broadcastMessage`."""

    job: Job | None = strawberry.field(default=None, description="Job that queues the messages; null if it failed.")
    user_errors: list[UserError] = strawberry.field(
        default_factory=list, description="Problems with the input; empty if the call succeeded."
    )


@strawberry.type
class RetryMessagesPayload:
    """Result of `retryMessages`."""

    count: int = strawberry.field(default=0, description="Number of messages that were queued again.")
    user_errors: list[UserError] = strawberry.field(
        default_factory=list, description="Problems with the input; empty if the call succeeded."
    )


async def send_message(
    info: Info, input: Annotated[SendOneMessageInput, strawberry.argument(description="Message to send.")]
) -> SendMessagePayload:
    """Send a message to the holder of a pass, a moment later. Needs the scope `write`.

    The channel's consent, quiet hours and frequency cap hold. Safe to repeat with the same `idempotencyKey`.
    """
    try:
        message = await commands.send_message(
            info.context.commands,
            to_mapping(input),
            pass_id=None if input.pass_id is None else parse_text(given_id(input.pass_id, "Pass"), "passId"),
            external_id=input.pass_external_id,
            idempotency_key=input.idempotency_key,
        )
    except Refused as refused:
        return SendMessagePayload(user_errors=user_errors(refused.problems))
    return SendMessagePayload(message=message_of(message))


async def broadcast_message(
    info: Info, input: Annotated[BroadcastMessageInput, strawberry.argument(description="Message to send.")]
) -> BroadcastMessagePayload:
    """Send a message to each member of a segment, by a job. Needs the scope `write`. Safe to repeat with the same `key`.

    Passes that were merged get one message, as the pass that answers for them. A template that fails for one customer
    fails for this one alone.
    """
    try:
        job = await commands.broadcast_message(
            info.context.commands, to_mapping(input), segment_id=str(given_id(input.segment_id, "Segment"))
        )
    except Refused as refused:
        return BroadcastMessagePayload(user_errors=user_errors(refused.problems))
    return BroadcastMessagePayload(job=job_of(job))


async def retry_messages(
    info: Info, input: Annotated[RetryMessagesInput, strawberry.argument(description="Messages to queue again.")]
) -> RetryMessagesPayload:
    """Queue messages again that failed; their validity begins anew. Needs the scope `write`.

    Mend the cause first. Safe to repeat: a message that is queued or sent stays as it is.
    """
    try:
        count = await commands.retry_messages(
            info.context.commands,
            ids=None if input.ids is None else [database_id(each, "Message") for each in input.ids],
            channel_key=input.channel_key,
        )
    except Refused as refused:
        return RetryMessagesPayload(user_errors=user_errors(refused.problems))
    return RetryMessagesPayload(count=count)
