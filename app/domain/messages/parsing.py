"""Parsers of channels: keys, settings of each provider, frequency caps and quiet hours."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from app.domain.errors import Code, InvalidInput, refuse_if
from app.domain.rules.parsing_triggers import DAY_MINUTES, parse_time
from app.domain.rules.reading import Problems, parse_body, parse_integer, parse_member
from app.domain.values.instants import DAY_MS
from app.domain.values.periods import PeriodUnit
from app.domain.values.text import parse_text
from app.domain.values.windows import parse_within
from app.domain.values.zones import parse_zone

from .addresses import find_address_fault
from .channels import ChannelKind, FrequencyCap, Provider, QuietHours

MAX_CAP = 1_000
"""Messages that a frequency cap allows, at most."""
MAX_CAP_DAYS = 92
"""Days of the window of a frequency cap, at most. Messages are kept longer than that."""
MAX_SECRET_CHARACTERS = 4_096
"""Characters of the secret of a channel."""
MAX_EVENT_NAME_CHARACTERS = 30
"""Characters of the name under which a message reaches Mailchimp or ActiveCampaign; the shorter limit of the two."""
SMTP_PORTS = {"STARTTLS": 587, "TLS": 465, "NONE": 25}
"""Encryption of an SMTP connection, with the usual port of each."""
AUTHENTICATIONS = ("SIGNATURE", "BEARER", "NONE")
DEFAULT_EVENT_NAME = "punchcard_message"
KINDS: Mapping[Provider, frozenset[ChannelKind]] = {
    Provider.SMTP: frozenset({ChannelKind.EMAIL}),
    Provider.MAILBOX: frozenset({ChannelKind.EMAIL}),
    Provider.MAILCHIMP: frozenset({ChannelKind.EMAIL}),
    Provider.ACTIVECAMPAIGN: frozenset({ChannelKind.EMAIL}),
    Provider.INTERCOM: frozenset({ChannelKind.EMAIL, ChannelKind.PUSH}),
    Provider.BRAZE: frozenset(ChannelKind),
    Provider.HTTP: frozenset(ChannelKind),
}
"""Kinds of channel that each provider sends for."""
NEEDS_SECRET = frozenset({Provider.BRAZE, Provider.MAILCHIMP, Provider.INTERCOM, Provider.ACTIVECAMPAIGN})
"""Providers that accept no message without a key."""
_KEY = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_URL = re.compile(r"https?://[^/?#@\s]+(?:/[^?#\s]*)?(?:\?[^#\s]*)?")
_HOST = re.compile(r"[A-Za-z0-9.:_\[\]-]{1,255}")


def parse_key(raw: object, *path: str) -> str:
    """Return the key of a channel or consent: 1 to 63 small letters, digits, `_` or `-`. Raises InvalidInput."""
    if not isinstance(raw, str) or not _KEY.fullmatch(raw):
        raise InvalidInput(Code.INVALID, "Give 1 to 63 small letters, digits, '_' or '-'.", *path)
    return raw


def parse_cap(raw: object, *path: str) -> FrequencyCap:
    """Return a frequency cap. Raises Refused."""
    body, problems = parse_body(raw, *path), Problems()
    message = "Give the number of messages that are allowed."
    count = problems.require(parse_integer, body, *path, "count", message=message, least=1, most=MAX_CAP)
    within = problems.read(parse_within, body.get("within"), *path, "within")
    calendar = problems.read(parse_member, body.get("calendar"), *path, "calendar", members=PeriodUnit)
    if (body.get("within") is None) == (body.get("calendar") is None):
        problems.add(Code.INVALID, "Give exactly one of within and calendar.", *path, "within")
    if within is not None and within > MAX_CAP_DAYS * DAY_MS:
        problems.add(Code.OUT_OF_RANGE, f"Give a window of at most {MAX_CAP_DAYS} days.", *path, "within")
    if calendar is PeriodUnit.YEAR:
        problems.add(Code.OUT_OF_RANGE, "Give DAY, WEEK, MONTH or QUARTER.", *path, "calendar")
    refuse_if(problems.found)
    return FrequencyCap(count or 1, within, calendar)


def parse_quiet_hours(raw: object, *path: str, timezone: str) -> QuietHours:
    """Return quiet hours; `timezone` is that of the workspace. Raises Refused."""
    body, problems = parse_body(raw, *path), Problems()
    start, end = (
        problems.require(parse_time, body, *path, name, message='Give a time of day as "HH:MM".')
        for name in ("from", "to")
    )
    zone = problems.read(parse_zone, body.get("timezone"), *path, "timezone")
    if start is not None and end is not None and start % DAY_MINUTES == end % DAY_MINUTES:
        problems.add(Code.INVALID, "Give a to that differs from from.", *path, "to")
    refuse_if(problems.found)
    return QuietHours((start or 0) % DAY_MINUTES, (end or 0) % DAY_MINUTES, timezone if zone is None else zone.key)


def parse_secret(raw: object, *path: str) -> str:
    """Return the secret of a channel. Raises InvalidInput."""
    return parse_text(raw, *path, max_length=MAX_SECRET_CHARACTERS)


@dataclass(frozen=True, slots=True)
class _Setting:
    parse: Callable[..., object]
    is_required: bool = False
    default: object = None


def _parse_host(raw: object, *path: str) -> str:
    if not isinstance(raw, str) or not _HOST.fullmatch(raw):
        raise InvalidInput(Code.INVALID, "Give the name or the address of a host.", *path)
    return raw


def _parse_port(raw: object, *path: str) -> int:
    return parse_integer(raw, *path, least=1, most=65_535)


def _parse_address(raw: object, *path: str) -> str:
    text = parse_text(raw, *path)
    if (fault := find_address_fault(ChannelKind.EMAIL, text)) is not None:
        raise InvalidInput(Code.INVALID, fault, *path)
    return text


def _parse_url(raw: object, *path: str) -> str:
    text = parse_text(raw, *path, max_length=2_048)
    if not _URL.fullmatch(text):
        raise InvalidInput(Code.INVALID, "Give an http or https URL without user and fragment.", *path)
    return text


def _parse_one_of(*names: str) -> Callable[..., str]:
    def parse(raw: object, *path: str) -> str:
        if raw not in names:
            raise InvalidInput(Code.UNKNOWN, f"Give one of {', '.join(names)}.", *path)
        return str(raw)

    return parse


def _parse_event_name(raw: object, *path: str) -> str:
    return parse_text(raw, *path, max_length=MAX_EVENT_NAME_CHARACTERS)


_EMAIL_ADDRESS = {"from": _Setting(_parse_address, is_required=True), "fromName": _Setting(parse_text),
                  "replyTo": _Setting(_parse_address)}  # fmt: skip
_SETTINGS: Mapping[Provider, Mapping[str, _Setting]] = {
    Provider.SMTP: {
        "host": _Setting(_parse_host, is_required=True),
        "port": _Setting(_parse_port),
        "security": _Setting(_parse_one_of(*SMTP_PORTS), default="STARTTLS"),
        "username": _Setting(parse_text),
        **_EMAIL_ADDRESS,
    },
    Provider.MAILBOX: _EMAIL_ADDRESS,
    Provider.HTTP: {
        "url": _Setting(_parse_url, is_required=True),
        "authentication": _Setting(_parse_one_of(*AUTHENTICATIONS), default="SIGNATURE"),
        "addressField": _Setting(parse_text),
    },
    Provider.BRAZE: {
        "url": _Setting(_parse_url, is_required=True),
        "campaignId": _Setting(parse_text, is_required=True),
    },
    Provider.MAILCHIMP: {
        "url": _Setting(_parse_url),
        "listId": _Setting(parse_text, is_required=True),
        "event": _Setting(_parse_event_name, default=DEFAULT_EVENT_NAME),
    },
    Provider.INTERCOM: {
        "url": _Setting(_parse_url, default="https://api.intercom.io"),
        "adminId": _Setting(parse_text, is_required=True),
    },
    Provider.ACTIVECAMPAIGN: {
        "url": _Setting(_parse_url, default="https://trackcmp.net"),
        "actid": _Setting(parse_text, is_required=True),
        "event": _Setting(_parse_event_name, default=DEFAULT_EVENT_NAME),
    },
}


def parse_settings(raw: object, *path: str, provider: Provider, has_secret: bool) -> dict[str, object]:
    """Return the settings of a channel, with defaults filled in. Raises Refused with all problems."""
    body, problems, known = parse_body({} if raw is None else raw, *path), Problems(), _SETTINGS[provider]
    for name in body:
        if name not in known:
            problems.add(Code.UNKNOWN, f"{provider} has the settings {', '.join(known)}.", *path, str(name))
    found: dict[str, object] = {}
    for name, setting in known.items():
        if setting.is_required and body.get(name) is None:
            problems.add(Code.REQUIRED, f"{provider} needs this setting.", *path, name)
        value = problems.read(setting.parse, body.get(name), *path, name)
        value = setting.default if value is None else value
        if value is not None:
            found[name] = value
    if provider is Provider.SMTP:
        found.setdefault("port", SMTP_PORTS[str(found["security"])])
        if "username" in found and found["security"] == "NONE":
            message = "A password is not sent without encryption; choose STARTTLS or TLS, or leave out the username."
            problems.add(Code.INVALID, message, *path, "security")
    if provider is Provider.HTTP and not has_secret and body.get("authentication") is None:
        found["authentication"] = "NONE"
    refuse_if(problems.found)
    return found
