"""The type Channel, the query that lists channels, and the mutations that change and test them."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import strawberry

from app.commands.messages import channels as commands
from app.domain.actors import ADMIN
from app.domain.errors import Refused
from app.domain.messages import channels as domain
from app.domain.rules.parsing_triggers import format_time
from app.domain.values.instants import from_ms, to_ms
from app.domain.values.periods import PeriodUnit
from app.domain.values.text import parse_text
from app.graphql.context import Info, RequestContext
from app.graphql.segments.criteria import sent_values, to_mapping
from app.graphql.segments.windows import RollingWindow, RollingWindowCriteria, rolling_window_of
from app.graphql.types.ids import given_id, to_global_id
from app.graphql.types.node import Node, fetcher
from app.graphql.types.paging import After, Before, Connection, First, Last, Pagination
from app.graphql.types.payloads import UserError, user_errors
from app.graphql.types.scalars import JSON

from .enums import ChannelKind, ChannelProvider

if TYPE_CHECKING:
    from .messages import Message

SETTINGS = "Settings of the provider as a JSON object; `ChannelProvider` names those of each."


@strawberry.type
class FrequencyCap:
    """Largest number of messages of a channel to one pass."""

    count: int = strawberry.field(description="Number of messages.")
    within: RollingWindowCriteria | None = strawberry.field(description="Window in which sent messages count.")
    calendar: PeriodUnit | None = strawberry.field(
        description="Calendar period, in the time zone of the workspace, in which sent messages count."
    )


@strawberry.type
class QuietHours:
    """Hours of the day in which a channel sends nothing. Messages wait for their end."""

    from_: str = strawberry.field(name="from", description='Time of day at which they begin, as "HH:MM".')
    to: str = strawberry.field(description="Time of day at which they end.")
    timezone: str = strawberry.field(description="IANA time zone.")


@strawberry.type
class Channel(Node):
    """Way in which messages reach customers. A workspace may have up to 50 channels."""

    key: str = strawberry.field(description="Key by which rules and calls name the channel.")
    name: str = strawberry.field(description="Name for people.")
    kind: ChannelKind = strawberry.field(description="What the customer receives.")
    provider: ChannelProvider = strawberry.field(description="Service that sends the messages.")
    consent_key: str | None = strawberry.field(
        description="Consent that the customer must have given; null if the channel needs none."
    )
    frequency_cap: FrequencyCap | None = strawberry.field(description="Largest number of messages to one pass.")
    quiet_hours: QuietHours | None = strawberry.field(description="Hours in which the channel sends nothing.")
    archived: bool = strawberry.field(description="Whether the channel is archived, so that nothing is sent over it.")
    has_secret: bool = strawberry.field(description="Whether the channel has a secret. Punchcard never shows it.")
    created_at: datetime = strawberry.field(description="Time of creation, in system time.")
    updated_at: datetime = strawberry.field(description="Time of the last change, in system time.")
    stored: strawberry.Private[domain.Channel]

    @strawberry.field
    def settings(self, info: Info) -> JSON:
        """Settings of the provider. Needs the scope `admin`."""
        info.context.actor.require(ADMIN)
        return JSON(dict(self.stored.settings))

    @strawberry.field
    async def away_since(self, info: Info) -> datetime | None:
        """Time since which the circuit of the channel is open, in system time; null while it is closed.

        The circuit opens after 10 failures in a row over at least 10 seconds. While it is open, Punchcard sends single
        messages as probes, at intervals from 5 seconds up to 5 minutes. All other messages wait.
        """
        state = await info.context.load.channel_states.load(self.stored.id)
        opened_ms = None if state is None else state.health.circuit_opened_ms
        return None if opened_ms is None else from_ms(opened_ms)


def channel_of(channel: domain.Channel) -> Channel:
    """Return the GraphQL object of a channel."""
    cap, quiet = channel.frequency_cap, channel.quiet_hours
    within = None if cap is None else rolling_window_of(cap.within_ms)
    return Channel(
        id=strawberry.ID(to_global_id("Channel", channel.id)),
        key=channel.key,
        name=channel.name,
        kind=channel.kind,
        provider=channel.provider,
        consent_key=channel.consent_key,
        frequency_cap=None if cap is None else FrequencyCap(count=cap.count, within=within, calendar=cap.calendar),
        quiet_hours=None
        if quiet is None
        else QuietHours(from_=format_time(quiet.from_minute), to=format_time(quiet.to_minute), timezone=quiet.timezone),
        archived=channel.is_archived,
        has_secret=channel.has_secret,
        created_at=channel.created_at,
        updated_at=channel.updated_at,
        stored=channel,
    )


@fetcher("Channel")
async def fetch_channel(context: RequestContext, channel_id: str) -> Channel | None:
    """Return the channel with a database id, or None."""
    channel = await context.load.channels.load(channel_id)
    return None if channel is None else channel_of(channel)


listing = Pagination[domain.Channel]("channel", (int, str), lambda channel: (to_ms(channel.created_at), channel.id))


async def list_channels(
    info: Info, first: First = None, after: After = None, last: Last = None, before: Before = None
) -> Connection[Channel]:
    """List the channels, newest first, archived ones included. Needs the scope `read`."""
    span = listing.span(first, after, last, before)
    store = info.context.workspace.channels
    return listing.connection(await store.page(span), span, channel_of, store.count)


@strawberry.input
class FrequencyCapInput:
    """Largest number of messages of a channel to one pass. Give exactly one of `within` and `calendar`."""

    count: int = strawberry.field(description="Number of messages: 1 to 1,000.")
    within: RollingWindow | None = strawberry.field(
        default=None, description="Window in which sent messages count, at most 92 days."
    )
    calendar: PeriodUnit | None = strawberry.field(
        default=None, description="Calendar period in which sent messages count; not `YEAR`."
    )


@strawberry.input
class QuietHoursInput:
    """Hours of the day in which a channel sends nothing. They may run over midnight."""

    from_: str = strawberry.field(name="from", description='Time of day at which they begin, as "HH:MM".')
    to: str = strawberry.field(description="Time of day at which they end.")
    timezone: str | None = strawberry.field(
        default=None, description="IANA time zone. Default: the time zone of the workspace."
    )


@strawberry.input
class CreateChannelInput:
    """Channel to create."""

    key: str = strawberry.field(
        description="Key by which rules and calls name the channel: 1 to 63 small letters, digits, `_` or `-`. It cannot "
        "be changed."
    )
    name: str = strawberry.field(description="Name for people, at most 255 characters.")
    kind: ChannelKind = strawberry.field(description="What the customer receives.")
    provider: ChannelProvider = strawberry.field(description="Service that sends the messages.")
    settings: JSON | None = strawberry.field(default=None, description=SETTINGS)
    secret: str | None = strawberry.field(
        default=None,
        description="Password or key of the provider. Punchcard stores it and never shows it. A channel over HTTP that "
        "signs gets one if none is given.",
    )
    consent_key: str | None = strawberry.field(
        default=None,
        description="Consent that the customer must have given. Channels may share it. Default: none is needed, as for "
        "receipts and reminders that the customer ordered.",
    )
    frequency_cap: FrequencyCapInput | None = strawberry.field(
        default=None, description="Largest number of messages to one pass. Further ones are `SUPPRESSED`."
    )
    quiet_hours: QuietHoursInput | None = strawberry.field(
        default=None, description="Hours in which messages wait. One that is not valid at their end is `SUPPRESSED`."
    )


@strawberry.input
class UpdateChannelInput:
    """Changes to a channel. Values that are left out stay as they are."""

    id: strawberry.ID = strawberry.field(description="Id of the channel.")
    name: str | None = strawberry.field(default=strawberry.UNSET, description="New name.")
    settings: JSON | None = strawberry.field(
        default=strawberry.UNSET, description=f"{SETTINGS} They replace the present ones as a whole."
    )
    secret: str | None = strawberry.field(
        default=strawberry.UNSET, description="New password or key, which replaces the present one at once."
    )
    consent_key: str | None = strawberry.field(
        default=strawberry.UNSET, description="Consent that the customer must have given. Null: none is needed."
    )
    frequency_cap: FrequencyCapInput | None = strawberry.field(
        default=strawberry.UNSET, description="Largest number of messages to one pass. Null removes it."
    )
    quiet_hours: QuietHoursInput | None = strawberry.field(
        default=strawberry.UNSET, description="Hours in which messages wait. Null removes them."
    )


@strawberry.input
class ArchiveChannelInput:
    """Channel to archive."""

    id: strawberry.ID = strawberry.field(description="Id of the channel.")


@strawberry.input
class TestChannelInput:
    """Channel to test."""

    id: strawberry.ID = strawberry.field(description="Id of the channel.")
    to: str | None = strawberry.field(
        default=None,
        description="Address to which the test message goes. Default, for e-mail: the sender of the channel.",
    )


@strawberry.type
class CreateChannelPayload:
    """Result of `createChannel`."""

    channel: Channel | None = strawberry.field(default=None, description="New channel; null if the call failed.")
    secret: str | None = strawberry.field(
        default=None,
        description="Secret that Punchcard made for a channel over HTTP, to verify its signatures. Store it: Punchcard "
        "shows it only once. Null if you gave the secret, or if the channel needs none.",
    )
    user_errors: list[UserError] = strawberry.field(
        default_factory=list, description="Problems with the input; empty if the call succeeded."
    )


@strawberry.type
class UpdateChannelPayload:
    """Result of `updateChannel`."""

    channel: Channel | None = strawberry.field(default=None, description="Channel after the change; null if it failed.")
    user_errors: list[UserError] = strawberry.field(
        default_factory=list, description="Problems with the input; empty if the call succeeded."
    )


@strawberry.type
class ArchiveChannelPayload:
    """Result of `archiveChannel`."""

    channel: Channel | None = strawberry.field(default=None, description="Archived channel; null if the call failed.")
    user_errors: list[UserError] = strawberry.field(
        default_factory=list, description="Problems with the input; empty if the call succeeded."
    )


@strawberry.type
class TestChannelPayload:
    """Result of `testChannel`."""

    message: Annotated[Message, strawberry.lazy(".messages")] | None = strawberry.field(
        default=None, description="Test message with its outcome, which is not stored; null if the call failed."
    )
    user_errors: list[UserError] = strawberry.field(
        default_factory=list, description="Problems with the input; empty if the message was tried."
    )


async def create_channel(
    info: Info, input: Annotated[CreateChannelInput, strawberry.argument(description="Channel to create.")]
) -> CreateChannelPayload:
    """Create a channel. Needs the scope `admin`.

    Not safe to repeat: a second call fails with `TAKEN`.
    """
    info.context.actor.require(ADMIN)
    try:
        channel, secret = await commands.create_channel(info.context.commands, to_mapping(input))
    except Refused as refused:
        return CreateChannelPayload(user_errors=user_errors(refused.problems))
    return CreateChannelPayload(channel=channel_of(channel), secret=secret)


async def update_channel(
    info: Info, input: Annotated[UpdateChannelInput, strawberry.argument(description="Channel and its changes.")]
) -> UpdateChannelPayload:
    """Change a channel and close its circuit. Needs the scope `admin`. Safe to repeat.

    Messages that wait are sent as the channel is when they are sent.
    """
    info.context.actor.require(ADMIN)
    try:
        channel = await commands.update_channel(info.context.commands, _channel_id(input.id), sent_values(input))
    except Refused as refused:
        return UpdateChannelPayload(user_errors=user_errors(refused.problems))
    return UpdateChannelPayload(channel=channel_of(channel))


async def archive_channel(
    info: Info, input: Annotated[ArchiveChannelInput, strawberry.argument(description="Channel to archive.")]
) -> ArchiveChannelPayload:
    """Archive a channel. Needs the scope `admin`. Safe to repeat.

    Its queued messages fail with the reason `CHANNEL_MISSING`, and so do those of rules that still name it.
    """
    info.context.actor.require(ADMIN)
    try:
        channel = await commands.archive_channel(info.context.commands, _channel_id(input.id))
    except Refused as refused:
        return ArchiveChannelPayload(user_errors=user_errors(refused.problems))
    return ArchiveChannelPayload(channel=channel_of(channel))


async def test_channel(
    info: Info, input: Annotated[TestChannelInput, strawberry.argument(description="Channel to test.")]
) -> TestChannelPayload:
    """Send a test message over a channel now, and return what became of it. Needs the scope `admin`.

    No consent, quiet hours or frequency cap hold it back. Each call sends another message.
    """
    from .messages import message_of  # the two types name each other

    info.context.actor.require(ADMIN)
    try:
        message = await commands.test_channel(info.context.commands, _channel_id(input.id), input.to)
    except Refused as refused:
        return TestChannelPayload(user_errors=user_errors(refused.problems))
    return TestChannelPayload(message=message_of(message))


def _channel_id(given: strawberry.ID) -> str:
    return parse_text(given_id(given, "Channel"), "id")
