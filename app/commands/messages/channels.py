"""createChannel, updateChannel, archiveChannel and testChannel. All of them require the scope `admin`.

A channel is stored first, and then what workers need to find its work. If the process crashes in between, the next update of
the channel inserts that.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

from app.clock import SystemClock, system_ms
from app.commands.audit import record_audit_entry
from app.commands.context import Context
from app.commands.inbound.hooks import new_secret
from app.commands.jobs.remote_files import PROGRESS_SHARE
from app.domain.errors import Code, Conflict, InvalidInput, LimitExceeded, NotFound, refuse_if
from app.domain.ids import channel_id
from app.domain.messages.addresses import find_fault
from app.domain.messages.channels import MAX_CHANNELS, Channel, ChannelKind, FrequencyCap, Provider, QuietHours
from app.domain.messages.messages import Message, MessageCause, MessageOrigin, MessageReason, MessageStatus
from app.domain.messages.parsing import (
    KINDS,
    NEEDS_SECRET,
    parse_cap,
    parse_key,
    parse_quiet_hours,
    parse_secret,
    parse_settings,
)
from app.domain.messages.rendering import Rendered
from app.domain.rules.reading import Problems, parse_member
from app.domain.values.instants import to_ms
from app.domain.values.text import parse_text
from app.outbound.addresses import Allowed
from app.outbound.http_client import RequestFailed, check_url
from app.outbound.message_sender import SEND_TIMEOUT_SECONDS, open_sender
from app.outbound.sending import SendOutcome
from app.store.mongo.ids import new_id

KIND = "Channel"
TEST_TEXT = "This message tests the channel '{}' of Punchcard."


async def create_channel(ctx: Context, sent: Mapping[str, object]) -> tuple[Channel, str | None]:
    """Create a channel and return it, with the secret that Punchcard made for it, if it made one.

    A channel over HTTP that signs gets a secret if none is given. `sent` has the fields of the input by their names in the
    API. Raises Refused with all problems, Conflict for a key that another channel has, LimitExceeded, and Unavailable.
    """
    problems = Problems()
    key = problems.require(parse_key, sent, "key", message="Give the channel a key.")
    name = problems.require(parse_text, sent, "name", message="Give the channel a name.")
    kind = problems.require(parse_member, sent, "kind", message="Give the kind.", members=ChannelKind)
    provider = problems.require(parse_member, sent, "provider", message="Give the provider.", members=Provider)
    refuse_if(problems.found)
    assert key is not None
    assert name is not None
    now = await SystemClock().now()
    assert kind is not None
    assert provider is not None
    blank = Channel(
        id=channel_id(ctx.workspace.id, key),
        workspace_id=ctx.workspace.id,
        key=key,
        name=name,
        kind=kind,
        provider=provider,
        created_at=now,
        updated_at=now,
    )
    given_secret = problems.read(parse_secret, sent.get("secret"), "secret")
    refuse_if(problems.found)
    made = new_secret() if given_secret is None and _signs(provider, sent.get("settings")) else None
    secret = given_secret or made
    channel = await _with_changes(ctx, blank, sent, has_secret=secret is not None)
    if await ctx.workspace.channels.count() >= MAX_CHANNELS:
        raise LimitExceeded(f"At most {MAX_CHANNELS} channels, archived ones included; change one instead.")
    await record_audit_entry(ctx, "createChannel", KIND, channel.id, key=key, provider=provider.value)
    if not await ctx.workspace.channels.insert(channel, secret):
        raise Conflict("Another channel has this key; choose another one.", "key", code=Code.TAKEN)
    await _announce(ctx, channel, now)
    return channel, made


async def update_channel(ctx: Context, channel_key: str, sent: Mapping[str, object]) -> Channel:
    """Update a channel and return it. Safe to repeat.

    Values that are absent stay; None removes the consent, the frequency cap or the quiet hours. Settings are replaced as a
    whole. Raises NotFound, Refused, Conflict after a concurrent change, and Unavailable.
    """
    before = await find_channel(ctx, channel_key, "id")
    if before.is_archived:
        raise Conflict("This channel is archived; create another one.", "id")
    problems = Problems()
    secret = problems.read(parse_secret, sent.get("secret"), "secret")
    refuse_if(problems.found)
    changed = await _with_changes(ctx, before, sent, has_secret=before.has_secret or secret is not None)
    now = await SystemClock().now()
    if changed != before or secret is not None:
        changed = replace(changed, updated_at=now)
        await record_audit_entry(ctx, "updateChannel", KIND, before.id, key=before.key, fields=" ".join(sorted(sent)))
        if not await ctx.workspace.channels.save(changed, secret):
            raise Conflict("Another call changed this channel at the same time; read it and repeat.", "id")
        changed = replace(changed, version=before.version + 1)
    await _announce(ctx, changed, now)
    return changed


async def archive_channel(ctx: Context, channel_key: str) -> Channel:
    """Archive a channel: its queued messages fail, and rules that name it send nothing. Safe to repeat.

    Raises NotFound, Conflict after a concurrent change, and Unavailable.
    """
    before = await find_channel(ctx, channel_key, "id")
    now = await SystemClock().now()
    if before.is_archived:
        await _announce(ctx, before, now)
        return before
    changed = replace(before, is_archived=True, updated_at=now)
    await record_audit_entry(ctx, "archiveChannel", KIND, before.id, key=before.key)
    if not await ctx.workspace.channels.save(changed):
        raise Conflict("Another call changed this channel at the same time; read it and repeat.", "id")
    await _announce(ctx, changed, now)
    return replace(changed, version=before.version + 1)


async def test_channel(ctx: Context, channel_key: str, to: object = None) -> Message:
    """Send a test message now, from this process, and return its result. Nothing is stored, and no consent is asked.

    It goes to the address `to`; without one, a mail goes to the sender of the channel. Raises NotFound, InvalidInput and
    Unavailable.
    """
    channel = await find_channel(ctx, channel_key, "id")
    address = channel.setting("from") if to is None else parse_text(to, "to")
    if not address:
        raise InvalidInput(Code.REQUIRED, "Give the address to which the test message goes.", "to")
    if (fault := find_fault(channel, address)) is not None:
        raise InvalidInput(Code.INVALID, fault, "to")
    found = await ctx.workspace.channels.get_with_secret(channel.id)
    secret = None if found is None else found[1]
    await record_audit_entry(ctx, "testChannel", KIND, channel.id, key=channel.key)
    now, settings = await SystemClock().now(), ctx.resources.settings
    message = Message(
        id=new_id("msg"),
        channel_id=channel.id,
        pass_id="",
        template_id="",
        cause=MessageCause(MessageOrigin.TEST),
        queued_at=now,
        created_at=now,
        updated_at=now,
    )
    text = TEST_TEXT.format(channel.name)
    test = Rendered(
        message_id=message.id, address=address, external_id=address, text=text, sent_for=now, subject="Test"
    )
    timeout_seconds = min(SEND_TIMEOUT_SECONDS, PROGRESS_SHARE * settings.operation_seconds)
    async with open_sender(channel, secret, Allowed.parse(settings.egress_allow), settings.mailbox) as sender:
        result = await sender.send(test, system_ms, timeout_seconds)
    message = message.with_attempt(result.attempt)
    if result.outcome is SendOutcome.ACCEPTED:
        return replace(message.ended(MessageStatus.SENT, now), sent_at=now)
    reason = MessageReason.REFUSED if result.outcome is SendOutcome.REFUSED else MessageReason.UNREACHABLE
    return message.ended(MessageStatus.FAILED, now, reason, result.attempt.error)


async def find_channel(ctx: Context, name: str, *field: str) -> Channel:
    """Return the channel with an id. Raises NotFound and Unavailable."""
    channel = (await ctx.workspace.channels.get_many([name])).get(name)
    if channel is None:
        raise NotFound("channel", *field)
    return channel


async def find_usable_channel(ctx: Context, key: object, *field: str) -> Channel:
    """Return the channel with a key, which is not archived. Raises NotFound, Conflict, InvalidInput and Unavailable."""
    channel = await find_channel(ctx, channel_id(ctx.workspace.id, parse_key(key, *field)), *field)
    if channel.is_archived:
        raise Conflict("This channel is archived; name another one.", *field)
    return channel


async def _with_changes(ctx: Context, channel: Channel, sent: Mapping[str, object], *, has_secret: bool) -> Channel:
    """Return the channel with the values of an input. Raises Refused with all problems."""
    problems = Problems()
    if channel.kind not in KINDS[channel.provider]:
        kinds = ", ".join(sorted(KINDS[channel.provider]))
        problems.add(Code.UNSUPPORTED, f"{channel.provider} sends for channels of the kind {kinds}.", "provider")
    if channel.provider is Provider.MAILBOX and ctx.resources.settings.mailbox is None:
        message = "This installation has no mailbox file; an operator sets one with PUNCHCARD_MAILBOX, for development."
        problems.add(Code.UNSUPPORTED, message, "provider")
    if channel.provider in NEEDS_SECRET and not has_secret:
        problems.add(Code.REQUIRED, f"{channel.provider} needs its API key as the secret.", "secret")
    settings: Mapping[str, object] | None = channel.settings
    if not channel.settings or sent.get("settings") is not None:
        settings = problems.read(
            parse_settings, sent.get("settings") or {}, "settings", provider=channel.provider, has_secret=has_secret
        )
    if settings is not None and isinstance(url := settings.get("url"), str):
        try:
            check_url(url, Allowed.parse(ctx.resources.settings.egress_allow))
        except RequestFailed as error:
            problems.add(error.code, error.message, "settings", "url")
    zone = (await ctx.profile()).timezone
    cap: FrequencyCap | None = channel.frequency_cap
    quiet: QuietHours | None = channel.quiet_hours
    consent = channel.consent_key
    if "frequencyCap" in sent:
        cap = problems.read(parse_cap, sent["frequencyCap"], "frequencyCap")
    if "quietHours" in sent:
        quiet = problems.read(parse_quiet_hours, sent["quietHours"], "quietHours", timezone=zone)
    if "consentKey" in sent:
        consent = problems.read(parse_key, sent["consentKey"], "consentKey")
    name = problems.read(parse_text, sent.get("name"), "name") or channel.name
    refuse_if(problems.found)
    return replace(
        channel,
        name=name,
        settings=settings or {},
        frequency_cap=cap,
        quiet_hours=quiet,
        consent_key=consent,
        has_secret=has_secret,
    )


def _signs(provider: Provider, settings: object) -> bool:
    if provider is not Provider.HTTP:
        return False
    authentication = settings.get("authentication") if isinstance(settings, Mapping) else None
    return authentication in (None, "SIGNATURE")


async def _announce(ctx: Context, channel: Channel, now: datetime) -> None:
    """Let workers find the work of a channel, close its circuit, and announce the change."""
    work, now_ms = ctx.workspace.messages.work, to_ms(now)
    await work.insert(channel.id, 0, now_ms)
    await work.set_enabled(channel.id, True, now_ms)
    ctx.resources.bus.wake("send", ctx.workspace.id)
