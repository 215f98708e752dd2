"""Enumerations of channels and messages."""

from __future__ import annotations

from app.domain.messages import channels, messages
from app.graphql.types.enums import describe_enum

ChannelKind = channels.ChannelKind
describe_enum(
    ChannelKind,
    "ChannelKind",
    {
        "EMAIL": "An e-mail, to `holder.email` of the pass.",
        "SMS": "A text message, to `holder.phone` of the pass.",
        "PUSH": "A push message, to the token in a field of the pass: `pushToken`, or the setting `addressField`.",
        "HTTP": "A request to your own system, which knows the customer by the external id of the pass.",
    },
)
ChannelProvider = channels.Provider
describe_enum(
    ChannelProvider,
    "ChannelProvider",
    {
        "SMTP": "A mail server. Settings: `host`, `port`, `security` (STARTTLS, TLS or NONE), `username`, `from`, "
        "`fromName`, `replyTo`. Secret: the password.",
        "HTTP": "A URL that takes JSON. Settings: `url`, `authentication` (SIGNATURE, BEARER or NONE), `addressField`. "
        "Secret: the key of signatures by the Standard Webhooks specification, or the bearer token.",
        "BRAZE": "An API-triggered campaign of Braze. Settings: `url` of the REST endpoint, `campaignId`. Secret: the key.",
        "MAILCHIMP": "An event of a list member in Mailchimp, which starts a journey. Settings: `listId`, `event`, `url`. "
        "Secret: the key, with its data center.",
        "INTERCOM": "A message of an admin in Intercom. Settings: `adminId`, `url`. Secret: the access token.",
        "ACTIVECAMPAIGN": "A tracked event in ActiveCampaign, which can start an automation. Settings: `actid`, `event`, "
        "`url`. Secret: the event key.",
        "MAILBOX": "A file on the machine of the worker, for development. Settings: `from`, `fromName`, `replyTo`.",
    },
)
MessageStatus = messages.MessageStatus
describe_enum(
    MessageStatus,
    "MessageStatus",
    {
        "QUEUED": "The message is to be sent at `nextAttemptAt`.",
        "SENT": "The provider took the message.",
        "FAILED": "The message could not be sent; `retryMessages` queues it again.",
        "SUPPRESSED": "The message was not to be sent: no address, no consent, too many messages, or too late.",
    },
)
MessageReason = messages.MessageReason
describe_enum(
    MessageReason,
    "MessageReason",
    {
        "NO_ADDRESS": "The pass has no address for the channel.",
        "BAD_ADDRESS": "The address of the pass is none to which the channel can send.",
        "NO_CONSENT": "The customer did not give the consent that the channel needs, or took it back.",
        "FREQUENCY_CAP": "The pass has had as many messages as the channel allows.",
        "EXPIRED": "The message could not be sent before `validUntil`.",
        "CHANNEL_MISSING": "The channel is archived.",
        "TEMPLATE": "The template cannot be rendered with the values of this pass.",
        "REFUSED": "The provider refused this message for good.",
        "UNREACHABLE": "The provider failed at every attempt.",
    },
)
MessageOrigin = messages.MessageOrigin
describe_enum(
    MessageOrigin,
    "MessageOrigin",
    {
        "RULE": "A rule fired.",
        "BROADCAST": "`broadcastMessage` queued it.",
        "API": "`sendMessage` queued it.",
        "TEST": "`testChannel` sent it. Such a message is not stored.",
    },
)
