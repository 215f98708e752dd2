"""Drafts: inputs that were checked, and the fingerprint by which a repeat of one is told from a conflict."""

from __future__ import annotations

import hmac
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from hashlib import sha256
from typing import TypeVar

from app.domain.errors import Code, Problem, Refused
from app.domain.values.conditions import number_of
from app.domain.values.currencies import parse_currency
from app.domain.values.decimals import ZERO, canonical, parse_decimal
from app.domain.values.instants import parse_instant, to_ms
from app.domain.values.text import parse_object, parse_text

from .events import DEFAULT_SOURCE, STEPS, TYPES, Category, EventInput, parse_type
from .points_expiry import PointsExpiry, parse_points_expiry

T = TypeVar("T")
_spelt = json.JSONEncoder().encode


@dataclass(frozen=True, slots=True)
class Draft:
    """A checked input: everything but the pass it resolves to, its id and the server's instants."""

    pass_id: str | None
    pass_external_id: str | None
    category: Category
    type: str
    amount: Decimal | None
    currency: str | None
    points: Decimal
    field_name: str | None
    old_value: str | None
    new_value: str | None
    occurred_at: datetime | None
    external_id: str | None
    source: str
    metadata: Mapping[str, object]
    metadata_text: str
    correction_of: str | None
    sent: tuple[str | None, ...]
    points_expiry: PointsExpiry | None = None
    label: str | None = None
    staff: str | None = None

    @property
    def sent_category(self) -> str | None:
        """The category as it was sent; None where that of the type is welcome."""
        return self.sent[0]

    @property
    def sent_currency(self) -> str | None:
        """The currency as it was sent; None where the server's choice is welcome."""
        return self.sent[1]


@dataclass(frozen=True, slots=True)
class ValidationRules:
    """What a workspace and its settings say about the events it accepts."""

    now: datetime
    default_currency: str
    metadata_bytes: int = 32_768
    future_tolerance: timedelta = timedelta(minutes=5)
    default_source: str = DEFAULT_SOURCE
    default_occurred_at: datetime | None = None


def validate_event(sent: EventInput, rules: ValidationRules) -> Draft:
    """The checked draft of one input. Raises Refused with the first problem of each field at fault."""
    problems: list[Problem] = []

    def tried(parse: Callable[..., T], raw: object, *path: str, **limits: int) -> T | None:
        if raw is None:
            return None
        try:
            return parse(raw, *path, **limits)
        except Refused as refused:
            problems.extend(refused.problems)
            return None

    pass_id = tried(parse_text, sent.pass_id, "passId")
    pass_external_id = tried(parse_text, sent.pass_external_id, "passExternalId")
    if (sent.pass_id is None) == (sent.pass_external_id is None):
        code = Code.REQUIRED if sent.pass_id is None else Code.INVALID
        problems.append(Problem(code, "Name the pass by exactly one of passId and passExternalId.", ("passId",)))
    kind, category = _kind(sent, problems)
    amount = tried(parse_decimal, sent.amount, "amount")
    if amount is not None and amount < 0:
        problems.append(
            Problem(Code.OUT_OF_RANGE, "Amounts are never negative; record a refund or a credit instead.", ("amount",))
        )
    currency = tried(parse_currency, sent.currency, "currency")
    points = tried(parse_decimal, sent.points, "points")
    field_name = tried(parse_text, sent.field_name, "fieldName", most=100)
    if category is Category.FIELD_CHANGE and sent.field_name is None:
        problems.append(Problem(Code.REQUIRED, "A field change names its field.", ("fieldName",)))
    old_value = tried(parse_text, sent.old_value, "oldValue", most=2000)
    new_value = tried(parse_text, sent.new_value, "newValue", most=2000)
    if kind in STEPS and sent.amount is None and number_of(new_value) is None:
        problems.append(Problem(Code.REQUIRED, "Give the step as amount, or a number as newValue.", ("amount",)))
    occurred_at = tried(parse_instant, sent.occurred_at, "occurredAt")
    if occurred_at is not None and occurred_at > rules.now + rules.future_tolerance:
        seconds = int(rules.future_tolerance.total_seconds())
        problems.append(
            Problem(Code.OUT_OF_RANGE, f"More than {seconds} s ahead of the server's clock.", ("occurredAt",))
        )
    external_id = tried(parse_text, sent.external_id, "externalId")
    source = tried(parse_text, sent.source, "source", most=100)
    correction_of = tried(parse_text, sent.correction_of, "correctionOf")
    label = tried(parse_text, sent.label, "label")
    staff = tried(parse_text, sent.staff, "staff")
    metadata, metadata_text = (
        tried(parse_object, sent.metadata, "metadata", most_bytes=rules.metadata_bytes) or ({}, "{}")
    )  # fmt: skip
    points_end = None
    try:
        # Of points that cannot be read, nothing can be said about their end.
        if points is not None or sent.points is None:
            points_end = parse_points_expiry(
                sent.points_expire_at, sent.points_expire_after_days,
                points=points, corrects=sent.correction_of is not None, occurred_at=occurred_at,
            )  # fmt: skip
    except Refused as refused:
        problems.extend(refused.problems)
    if problems:
        raise Refused(*problems)
    return Draft(
        pass_id, pass_external_id, category, kind, amount,
        # A currency without an amount says nothing, and would make a row of sums that counts what it cannot average.
        None if amount is None else currency or rules.default_currency, points if points is not None else ZERO,
        field_name, old_value, new_value, occurred_at or rules.default_occurred_at, external_id,
        source or rules.default_source, metadata,
        metadata_text, correction_of,
        (
            None if sent.category is None else str(sent.category),
            currency, None if points is None else canonical(points), field_name, old_value, new_value,
            None if occurred_at is None else str(to_ms(occurred_at)), external_id, source, correction_of,
        ),
        points_end, label, staff,
    )  # fmt: skip


def _kind(sent: EventInput, problems: list[Problem]) -> tuple[str, Category]:
    if sent.category is None and isinstance(sent.type, str) and sent.type in TYPES:
        return sent.type, TYPES[sent.type]
    try:
        kind = parse_type(sent.type, "type")
    except Refused as refused:
        problems.extend(refused.problems)
        return "", Category.CUSTOM
    built_in = TYPES.get(kind)
    if sent.category is None:
        return kind, built_in or Category.CUSTOM
    category = Category.__members__.get(str(sent.category))
    if category is None:
        problems.append(Problem(Code.UNKNOWN, f"One of {', '.join(Category)}.", ("category",)))
    elif built_in is None and category is Category.FIELD_CHANGE:
        problems.append(Problem(Code.UNSUPPORTED, "Fields are changed by the built-in types only.", ("category",)))
    elif built_in not in (None, category):
        problems.append(Problem(Code.INVALID, f"The category of '{kind}' is {built_in}.", ("category",)))
    return kind, category or Category.CUSTOM


def fingerprint(key: bytes, draft: Draft, pass_id: str) -> bytes:
    """The keyed hash by which a repeat is told from a conflict: 16 bytes over the input as sent.

    Two inputs agree exactly when they name the same pass and the same values, however decimals, offsets or key orders
    were spelt; what the server filled in does not count.
    """
    amount = None if draft.amount is None else canonical(draft.amount)
    # What came to be sent later goes behind the rest, and only where it is sent: stored fingerprints stay as they are.
    later: tuple[str, ...] = () if draft.points_expiry is None else (draft.points_expiry.sent,)
    if draft.label is not None:
        later += ("label", draft.label)
    if draft.staff is not None:
        later += ("staff", draft.staff)
    text = _spelt((pass_id, draft.type, amount, *draft.sent, draft.metadata_text, *later))
    return hmac.digest(key, text.encode(), sha256)[:16]
