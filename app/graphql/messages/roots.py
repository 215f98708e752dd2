"""Fields of Query and Mutation for channels, consents and messages."""

from __future__ import annotations

import strawberry

from app.graphql.types.paging import Connection

from . import channels, consents, messages
from .channels import (
    ArchiveChannelPayload,
    Channel,
    CreateChannelPayload,
    TestChannelPayload,
    UpdateChannelPayload,
)
from .consents import RecordConsentPayload
from .messages import BroadcastMessagePayload, Message, RetryMessagesPayload, SendMessagePayload


@strawberry.type
class MessageQueries:
    """Fields of Query that read channels and messages."""

    channels: Connection[Channel] = strawberry.field(resolver=channels.list_channels)
    messages: Connection[Message] = strawberry.field(resolver=messages.list_messages)


@strawberry.type
class MessageMutations:
    """Fields of Mutation that change channels, record consents and send messages."""

    create_channel: CreateChannelPayload = strawberry.mutation(resolver=channels.create_channel)
    update_channel: UpdateChannelPayload = strawberry.mutation(resolver=channels.update_channel)
    archive_channel: ArchiveChannelPayload = strawberry.mutation(resolver=channels.archive_channel)
    test_channel: TestChannelPayload = strawberry.mutation(resolver=channels.test_channel)
    record_consent: RecordConsentPayload = strawberry.mutation(resolver=consents.record_consent)
    send_message: SendMessagePayload = strawberry.mutation(resolver=messages.send_message)
    broadcast_message: BroadcastMessagePayload = strawberry.mutation(resolver=messages.broadcast_message)
    retry_messages: RetryMessagesPayload = strawberry.mutation(resolver=messages.retry_messages)
