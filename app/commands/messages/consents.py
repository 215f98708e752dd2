"""recordConsent, and the link in messages that takes a consent back: internal events of the pass."""

from __future__ import annotations

from app.commands.context import Context
from app.commands.events.outcomes import BatchOutcome, ItemResult
from app.commands.events.receipts import RecordedCall
from app.commands.messages.channels import find_usable_channel
from app.domain.errors import Code, InvalidInput, NotFound
from app.domain.events.events import CONSENT_EVENTS, CONSENT_GIVEN, CONSENT_REVOKED, Event, Origin
from app.domain.events.own_events import own_event
from app.domain.events.receipts import RecordStatus
from app.domain.messages.channels import Channel
from app.domain.messages.unsubscribing import is_genuine, read_token
from app.domain.passes.consents import change_consents, consent_metadata
from app.domain.passes.passes import Pass
from app.domain.values.instants import parse_instant
from app.domain.values.text import parse_external_id, parse_optional
from app.resources import Resources
from app.store.mongo.ids import ordered_id

UNSUBSCRIBED = "one-click unsubscribe"
"""How a customer took a consent back who followed the link in a message."""


async def record_consent(
    ctx: Context,
    *,
    pass_id: str | None,
    external_id: object,
    channel_key: object,
    given: bool,
    at: object = None,
    source: object = None,
) -> RecordedCall:
    """Record that a customer gave a consent, or took it back. Safe to repeat: a state that holds already stays.

    `at` is when the customer said so; by default, now. `source` is how. Raises NotFound, Conflict, InvalidInput and
    Unavailable.
    """
    channel = await find_usable_channel(ctx, channel_key, "channelKey")
    if channel.consent_key is None:
        message = "This channel sends without a consent; set its consentKey first."
        raise InvalidInput(Code.UNSUPPORTED, message, "channelKey")
    how, now = parse_optional(source, "source"), await ctx.now()
    occurred_at = now if at is None else parse_instant(at, "at")
    if occurred_at > now:
        raise InvalidInput(Code.OUT_OF_RANGE, "Give an instant that is not in the future.", "at")
    card = await find_pass(ctx, pass_id, external_id)
    event = own_event(
        ordered_id("event"),
        card.id,
        CONSENT_GIVEN if given else CONSENT_REVOKED,
        at=occurred_at,
        recorded_at=now,
        origin=ctx.origin,
        metadata=consent_metadata(channel.consent_key, channel.key, how),
    )
    await _insert(ctx.resources, ctx.workspace.id, event)
    return RecordedCall(BatchOutcome([ItemResult(0, RecordStatus.CREATED, event)], now))


async def find_pass(ctx: Context, pass_id: str | None, external_id: object) -> Pass:
    """Return the pass that exactly one of the two names. Raises InvalidInput, NotFound and Unavailable."""
    if (pass_id is None) == (external_id is None):
        raise InvalidInput(Code.INVALID, "Name the pass by exactly one of passId and passExternalId.", "passId")
    if pass_id is not None:
        card, name = await ctx.workspace.passes.get(pass_id), "passId"
    else:
        name = "passExternalId"
        card = await ctx.workspace.passes.by_external_id(parse_external_id(external_id, name))
    if card is None:
        raise NotFound("pass", name)
    return card


async def find_unsubscription(resources: Resources, token: str) -> tuple[Channel, str] | None:
    """Return the channel of a link in a message, and the pass that answers for its pass; None if the link is not valid.

    A link stays valid as long as the pass and the channel exist. Raises Unavailable.
    """
    named = read_token(token)
    if named is None:
        return None
    workspace = resources.workspace(named.workspace_id)
    try:
        key = await workspace.secret()
    except NotFound:
        return None
    if not is_genuine(key, token, named):
        return None
    channel = (await workspace.channels.get_many([named.channel_id])).get(named.channel_id)
    survivor = (await workspace.passes.existing([named.pass_id])).get(named.pass_id)
    if channel is None or survivor is None or channel.consent_key is None:
        return None
    return channel, survivor


async def unsubscribe(resources: Resources, token: str) -> bool:
    """Record that the customer of a link took the consent back, and return whether the link is valid. Safe to repeat.

    Raises Unavailable.
    """
    found = await find_unsubscription(resources, token)
    if found is None:
        return False
    channel, pass_id = found
    assert channel.consent_key is not None
    workspace = resources.workspace(channel.workspace_id)
    card = await workspace.passes.get(pass_id)
    consents = {} if card is None else dict(card.profile.consents)
    for pending in await workspace.events.unfolded(pass_id):
        if pending.type in CONSENT_EVENTS:
            consents = dict(change_consents(consents, pending))
    consent = consents.get(channel.consent_key)
    if consent is None or not consent.given:
        # Programs may follow a link again and again. Only the first time is news.
        return True
    now = await resources.clock.now()
    event = own_event(
        ordered_id("event"),
        pass_id,
        CONSENT_REVOKED,
        at=now,
        origin=Origin("WEBHOOK"),
        metadata=consent_metadata(channel.consent_key, channel.key, UNSUBSCRIBED),
    )
    await _insert(resources, channel.workspace_id, event)
    return True


async def _insert(resources: Resources, workspace_id: str, event: Event) -> None:
    await resources.workspace(workspace_id).events.insert([(event, b"")])
    resources.wake_fold(workspace_id, [event.pass_id])
