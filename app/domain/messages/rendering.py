"""What a message says and whether it may be sent: decided and rendered when it is sent, from values only."""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from zoneinfo import ZoneInfo

from app.domain.events.events import Event
from app.domain.passes.passes import Pass
from app.domain.rules.message_templates import MessageTemplate
from app.domain.rules.texts import TextFault, Texts, text_values
from app.domain.values.instants import to_ms

from .addresses import address_of, find_fault
from .channels import Channel
from .messages import Message, MessageReason

MAX_RENDERED_SUBJECT_CHARACTERS = 255
"""Characters of a subject after rendering; the rest is left out."""


@dataclass(frozen=True, slots=True)
class Rendered:
    """A message ready to be sent: once, to one address. It is never stored.

    `message_id` is the same at every attempt. `unsubscribe_url` takes the consent back; None without one.
    """

    message_id: str
    address: str
    external_id: str
    text: str
    sent_for: datetime
    subject: str | None = None
    html: str | None = None
    unsubscribe_url: str | None = None
    names: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Why a message is not sent: a code, and a sentence for people."""

    reason: MessageReason
    sentence: str


def find_obstacle(message: Message, channel: Channel, card: Pass, at: datetime) -> Obstacle | None:
    """Return why a message may not be sent at an instant, apart from quiet hours and the frequency cap; None if it may.

    `at` is business time. The profile of the pass has all changes that are recorded.
    """
    if message.expires_at is not None and at >= message.expires_at:
        return Obstacle(MessageReason.EXPIRED, "The message was valid until then, and could not be sent before.")
    address = address_of(channel, card.external_id, card.profile)
    if address is None:
        return Obstacle(MessageReason.NO_ADDRESS, f"The pass has no address for a channel of the kind {channel.kind}.")
    if (fault := find_fault(channel, address)) is not None:
        return Obstacle(MessageReason.BAD_ADDRESS, fault)
    if channel.consent_key is not None:
        consent = card.profile.consents.get(channel.consent_key)
        if consent is None or not consent.given:
            state = "did not give" if consent is None else "took back"
            return Obstacle(MessageReason.NO_CONSENT, f"The customer {state} the consent '{channel.consent_key}'.")
    return None


def render(
    message: Message,
    template: MessageTemplate,
    *,
    channel: Channel,
    card: Pass,
    event: Event | None,
    texts: Texts,
    zone: ZoneInfo,
    unsubscribe_url: str | None,
) -> Rendered | Obstacle:
    """Return the message for the present values of the pass, or why its template fails.

    `now` in templates is the instant for which the message was queued, so every attempt has the same one. Values in the
    HTML part are escaped. A subject becomes one line.
    """
    values = text_values(
        rule_key=message.cause.rule_key or "",
        external_id=card.external_id,
        profile=card.profile,
        points=card.points,
        tier=card.tier_key,
        event=event,
        at_ms=to_ms(message.queued_at),
        zone=zone,
    )
    values |= {"unsubscribeUrl": unsubscribe_url or "", "channel": {"key": channel.key, "name": channel.name}}
    parts: dict[str, str] = {}
    for name, part in template.to_json().items():
        rendered = texts.render(part, _escape(values) if name == "html" else values)
        if isinstance(rendered, TextFault):
            return Obstacle(MessageReason.TEMPLATE, f"{name}: {rendered.message}"[:200])
        parts[name] = rendered
    subject = " ".join(parts["subject"].split())[:MAX_RENDERED_SUBJECT_CHARACTERS] if "subject" in parts else None
    return Rendered(
        message_id=message.id,
        address=address_of(channel, card.external_id, card.profile) or "",
        external_id=card.external_id,
        text=parts["text"],
        sent_for=message.queued_at,
        subject=subject,
        html=parts.get("html"),
        unsubscribe_url=unsubscribe_url,
        names={"channel": channel.key, "kind": channel.kind.value.lower(), "rule": message.cause.rule_key or ""},
    )


def _escape(value: object) -> Mapping[str, object]:
    escaped = _escape_value(value)
    assert isinstance(escaped, dict)
    return escaped


def _escape_value(value: object) -> object:
    if isinstance(value, str):
        return html.escape(value)
    if isinstance(value, Mapping):
        return {key: _escape_value(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_escape_value(item) for item in value]
    return value
