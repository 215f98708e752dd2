"""Addresses of customers: where a pass holds them, and which of them a message can be sent to."""

from __future__ import annotations

import re

from app.domain.passes.passes import Profile

from .channels import Channel, ChannelKind, Provider

MAX_ADDRESS_CHARACTERS = 254
"""Characters of an e-mail address. (Source: RFC 5321, section 4.5.3.1.3, less the angle brackets.)"""
DEFAULT_PUSH_FIELD = "pushToken"
# One address, without display name, comments, quotes or lists: nothing that could add a header or a second recipient.
_EMAIL = re.compile(r"[^\s@<>()\[\]\",;:\\\x00-\x1f\x7f]{1,64}@[^\s@<>()\[\]\",;:\\\x00-\x1f\x7f]+")
_PHONE = re.compile(r"\+?[0-9](?:[ ()./-]{0,2}[0-9]){3,18}")
_BY_EXTERNAL_ID = frozenset({Provider.BRAZE})
"""Providers that know the customer by the external id of the pass."""
_BY_EMAIL = frozenset({Provider.SMTP, Provider.MAILBOX, Provider.MAILCHIMP, Provider.ACTIVECAMPAIGN, Provider.INTERCOM})


def address_of(channel: Channel, external_id: str, profile: Profile) -> str | None:
    """Return where a channel reaches the holder of a pass; None if the pass does not say."""
    if channel.provider in _BY_EXTERNAL_ID:
        return external_id
    if channel.provider in _BY_EMAIL or channel.kind is ChannelKind.EMAIL:
        return profile.holder.get("email") or None
    if channel.kind is ChannelKind.SMS:
        return profile.holder.get("phone") or None
    if channel.kind is ChannelKind.PUSH:
        token = profile.fields.get(channel.setting("addressField", DEFAULT_PUSH_FIELD))
        return str(token) if isinstance(token, (str, int)) and token != "" else None
    return external_id


def find_fault(channel: Channel, address: str) -> str | None:
    """Return why a channel cannot send to an address; None if it can."""
    if channel.provider in _BY_EXTERNAL_ID:
        return None
    return find_address_fault(ChannelKind.EMAIL if channel.provider in _BY_EMAIL else channel.kind, address)


def find_address_fault(kind: ChannelKind, address: str) -> str | None:
    """Return why nothing can be sent to an address; None if it can."""
    if kind is ChannelKind.EMAIL:
        if len(address) > MAX_ADDRESS_CHARACTERS or not _EMAIL.fullmatch(address):
            return "This is no e-mail address: give one address without blanks, line breaks, quotes or a name."
    elif kind is ChannelKind.SMS and not _PHONE.fullmatch(address):
        return "This is no telephone number: give 4 to 19 digits, with + in front for other countries."
    return None
