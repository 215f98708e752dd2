"""Validation of new passes, as clients send them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from app.domain.errors import Code, InvalidInput, Problem, Refused
from app.domain.values.currencies import parse_currency
from app.domain.values.instants import parse_instant
from app.domain.values.text import check_visible, parse_external_id

from .passes import GIFT_CARD, KINDS, Profile, apply_changes, check_profile_size, validate_changes


@dataclass(frozen=True, slots=True)
class PassInput:
    """One unchecked item of createPasses, exactly as the client sent it. None means that the client sent no value."""

    external_id: object
    holder: object = None
    fields: object = None
    metadata: object = None
    installed_at: object = None
    kind: object = None
    currency: object = None


@dataclass(frozen=True, slots=True)
class PassDraft:
    """Checked input of a new pass."""

    external_id: str
    profile: Profile
    installed_at: datetime | None
    gift_currency: str | None = None


def validate_pass(sent: PassInput, now: datetime, metadata_bytes: int, default_currency: str) -> PassDraft:
    """Return the checked draft of one input. Raises Refused with all problems.

    `default_currency` is that of a gift card for which the client gave none.
    """
    problems: list[Problem] = []
    external_id = ""
    installed_at = None
    try:
        external_id = check_visible(parse_external_id(sent.external_id, "externalId"), "externalId")
    except Refused as refused:
        problems.extend(refused.problems)
    changes = validate_changes(
        sent.holder, sent.fields, sent.metadata, status=None, max_bytes=metadata_bytes, problems=problems
    )
    if sent.installed_at is not None:
        try:
            installed_at = parse_instant(sent.installed_at, "installedAt")
            if installed_at > now:
                raise InvalidInput(Code.OUT_OF_RANGE, "Give an instant that is not in the future.", "installedAt")
        except Refused as refused:
            problems.extend(refused.problems)
    gift_currency = None
    try:
        gift_currency = _parse_gift_currency(sent, default_currency)
    except Refused as refused:
        problems.extend(refused.problems)
    if problems:
        raise Refused(*problems)
    profile = apply_changes(Profile(), changes)
    check_profile_size(profile, Profile())
    return PassDraft(external_id, profile, installed_at, gift_currency=gift_currency)


def _parse_gift_currency(sent: PassInput, default: str) -> str | None:
    """Return the currency of a new gift card; None for another pass. Raises InvalidInput."""
    if sent.kind not in (None, *KINDS):
        raise InvalidInput(Code.UNKNOWN, f"Give one of {', '.join(KINDS)}.", "kind")
    if sent.kind == GIFT_CARD:
        return default if sent.currency is None else parse_currency(sent.currency, "currency")
    if sent.currency is not None:
        raise InvalidInput(Code.INVALID, "Only a gift card has a currency; give kind GIFT_CARD, or none.", "currency")
    return None
