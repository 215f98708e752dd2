"""Validation of events that clients send, and the fingerprints that separate repeats from conflicts."""

from __future__ import annotations

import hmac
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from hashlib import sha256
from typing import TypeVar, cast

from app.domain.errors import Code, Problem, Refused
from app.domain.values.currencies import parse_currency
from app.domain.values.decimals import ZERO, canonical, parse_decimal, read_number
from app.domain.values.instants import parse_instant, to_ms
from app.domain.values.paths import split_keys
from app.domain.values.text import encode_canonical, parse_external_id, parse_object, parse_text

from .checkouts import find_checkout_problems, find_total
from .events import DEFAULT_SOURCE, GIFTS, RECORDED_BY, STEPS, TYPES, Category, EventInput
from .guards import Guard, parse_guard
from .points_expiry import PointsExpiry, parse_points_expiry
from .type_names import parse_type

T = TypeVar("T")
_encode = json.JSONEncoder().encode


@dataclass(frozen=True, slots=True)
class Draft:
    """Checked input of an event. The pass, the event's id and the instants of the server are added later.

    `metadata_text` is the canonical text of the metadata by which a repeat is recognized. `split_metadata` has the keys of
    the metadata split at their points; None if no key has one. `sent` holds the values as the client sent them, before
    defaults; fingerprints are made from it. `corrected_order` and `root` are those of the event, set by `apply_correction`.
    """

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
    corrected_order: tuple[int, int] | None = None
    root: str | None = None
    points_expiry: PointsExpiry | None = None
    label: str | None = None
    staff: str | None = None
    split_metadata: Mapping[str, object] | None = None
    guard: Guard | None = None

    @property
    def details(self) -> Mapping[str, object]:
        """The metadata in the form in which conditions, sums and attributes read it."""
        return self.metadata if self.split_metadata is None else self.split_metadata

    @property
    def sent_category(self) -> str | None:
        """The category that the client sent; None if it sent none."""
        return self.sent[0]

    @property
    def sent_currency(self) -> str | None:
        """The currency that the client sent; None if it sent none."""
        return self.sent[1]


@dataclass(frozen=True, slots=True)
class ValidationRules:
    """Limits and defaults for the events of a workspace.

    `is_import`: the events are past ones of a file, so types that only one mutation records are accepted, too.
    """

    now: datetime
    default_currency: str
    metadata_bytes: int = 32_768
    future_tolerance: timedelta = timedelta(minutes=5)
    default_source: str = DEFAULT_SOURCE
    default_occurred_at: datetime | None = None
    is_import: bool = False


def validate_event(sent: EventInput, rules: ValidationRules) -> Draft:
    """Return the checked draft of one input. Raises Refused with the first problem of each invalid field."""
    problems: list[Problem] = []

    def parse_field(parse: Callable[..., T], raw: object, *path: str, **limits: int) -> T | None:
        if raw is None:
            return None
        try:
            return parse(raw, *path, **limits)
        except Refused as refused:
            problems.extend(refused.problems)
            return None

    pass_id = parse_field(parse_text, sent.pass_id, "passId")
    pass_external_id = parse_field(parse_external_id, sent.pass_external_id, "passExternalId")
    if (sent.pass_id is None) == (sent.pass_external_id is None):
        code = Code.REQUIRED if sent.pass_id is None else Code.INVALID
        problems.append(Problem(code, "Name the pass by exactly one of passId and passExternalId.", ("passId",)))
    event_type, category = _parse_type_and_category(sent, problems, is_import=rules.is_import)
    amount = parse_field(parse_decimal, sent.amount, "amount")
    if amount is not None and amount < 0:
        problems.append(
            Problem(
                Code.OUT_OF_RANGE, "An amount must not be negative; record a refund or a credit instead.", ("amount",)
            )
        )
    currency = parse_field(parse_currency, sent.currency, "currency")
    points = parse_field(parse_decimal, sent.points, "points")
    field_name = parse_field(parse_text, sent.field_name, "fieldName", max_length=100)
    if category is Category.FIELD_CHANGE and sent.field_name is None:
        problems.append(Problem(Code.REQUIRED, "Name the field that the event changes.", ("fieldName",)))
    old_value = parse_field(parse_text, sent.old_value, "oldValue", max_length=2000)
    new_value = parse_field(parse_text, sent.new_value, "newValue", max_length=2000)
    if event_type in STEPS and sent.amount is None:
        problems.extend(_find_step_problems(old_value, new_value))
    occurred_at = parse_field(parse_instant, sent.occurred_at, "occurredAt")
    if occurred_at is not None and occurred_at > rules.now + rules.future_tolerance:
        seconds = int(rules.future_tolerance.total_seconds())
        message = f"This instant is more than {seconds} s ahead of the server's clock; send it later, or correct it."
        problems.append(Problem(Code.OUT_OF_RANGE, message, ("occurredAt",)))
    guard = parse_field(parse_guard, sent.guard, "guard")
    external_id = parse_field(parse_text, sent.external_id, "externalId")
    source = parse_field(parse_text, sent.source, "source", max_length=100)
    correction_of = parse_field(parse_text, sent.correction_of, "correctionOf")
    label = parse_field(parse_text, sent.label, "label")
    staff = parse_field(parse_text, sent.staff, "staff")
    metadata, metadata_text = (
        parse_field(parse_object, sent.metadata, "metadata", max_bytes=rules.metadata_bytes, splits_keys=True)
        or ({}, "{}")
    )  # fmt: skip
    if amount is None and sent.amount is None:
        amount = find_total(event_type, metadata, problems)
        if amount is not None and amount < 0:
            problems.append(Problem(Code.OUT_OF_RANGE, "A total must not be negative.", ("amount",)))
    problems.extend(find_checkout_problems(event_type, amount, sent.correction_of))
    if event_type in GIFTS:
        problems.extend(_find_gift_problems(amount, sent))
    # Without a point in the whole text, no key has one.
    split = split_keys(metadata) if "." in metadata_text else metadata
    points_expiry = None
    try:
        # The expiry is checked against the points, so check it only if they are valid or absent.
        if points is not None or sent.points is None:
            points_expiry = parse_points_expiry(
                sent.points_expire_at, sent.points_expire_after_days,
                points=points, corrects=sent.correction_of is not None, occurred_at=occurred_at,
            )  # fmt: skip
    except Refused as refused:
        problems.extend(refused.problems)
    if problems:
        raise Refused(*problems)
    return Draft(
        pass_id=pass_id,
        pass_external_id=pass_external_id,
        category=category,
        type=event_type,
        amount=amount,
        # A currency without an amount would create an aggregate row that has a count, but no amounts to average.
        currency=None if amount is None else currency or rules.default_currency,
        points=points if points is not None else ZERO,
        field_name=field_name,
        old_value=old_value,
        new_value=new_value,
        occurred_at=occurred_at or rules.default_occurred_at,
        external_id=external_id,
        source=source or rules.default_source,
        metadata=metadata,
        split_metadata=None if split is metadata else cast(Mapping[str, object], split),
        metadata_text=metadata_text if sent.repeat_metadata is None else encode_canonical(sent.repeat_metadata),
        correction_of=correction_of,
        sent=(
            None if sent.category is None else str(sent.category),
            currency,
            None if points is None else canonical(points),
            field_name,
            old_value,
            new_value,
            None if occurred_at is None else str(to_ms(occurred_at)),
            external_id,
            source,
            correction_of,
        ),
        points_expiry=points_expiry,
        label=label,
        staff=staff,
        guard=guard,
    )


def _parse_type_and_category(sent: EventInput, problems: list[Problem], *, is_import: bool) -> tuple[str, Category]:
    if not is_import and isinstance(sent.type, str) and sent.type in RECORDED_BY:
        message = f"Only the mutation {RECORDED_BY[sent.type]} records this type; call it instead."
        problems.append(Problem(Code.INVALID, message, ("type",)))
    if sent.category is None and isinstance(sent.type, str) and sent.type in TYPES:
        return sent.type, TYPES[sent.type]
    try:
        event_type = parse_type(sent.type, "type")
    except Refused as refused:
        problems.extend(refused.problems)
        return "", Category.CUSTOM
    built_in = TYPES.get(event_type)
    if sent.category is None:
        return event_type, built_in or Category.CUSTOM
    category = Category.__members__.get(str(sent.category))
    if category is None:
        problems.append(Problem(Code.UNKNOWN, f"Give one of {', '.join(Category)}.", ("category",)))
    elif built_in is None and category is Category.FIELD_CHANGE:
        message = "Only built-in types change fields; give another category."
        problems.append(Problem(Code.UNSUPPORTED, message, ("category",)))
    elif built_in not in (None, category):
        message = f"The category of '{event_type}' is {built_in}; give that category, or none."
        problems.append(Problem(Code.INVALID, message, ("category",)))
    return event_type, category or Category.CUSTOM


def _find_gift_problems(amount: Decimal | None, sent: EventInput) -> Iterator[Problem]:
    """Yield the problems of an event that changes the balance of a gift card."""
    if sent.amount is None or amount == 0:
        code = Code.REQUIRED if sent.amount is None else Code.OUT_OF_RANGE
        yield Problem(code, "Give the amount by which the balance of the gift card changes, above 0.", ("amount",))
    if sent.correction_of is not None:
        message = "Events of this type correct no other event; record the opposite change without correctionOf."
        yield Problem(Code.INVALID, message, ("correctionOf",))


def _find_step_problems(old_value: str | None, new_value: str | None) -> Iterator[Problem]:
    """Yield the problems of a step that is given as the difference of two values instead of an amount."""
    if read_number(new_value) is None:
        yield Problem(Code.REQUIRED, "Give the step as amount, or a number as newValue.", ("amount",))
    if old_value is not None and read_number(old_value) is None:
        message = f"'{old_value[:100]}' is not a number, so it gives no step; give the step as amount, or no oldValue."
        yield Problem(Code.INVALID, message, ("oldValue",))


def fingerprint(key: bytes, draft: Draft, pass_id: str) -> bytes:
    """Return a keyed hash of the input as sent, in 16 bytes. It separates a repeat from a conflict.

    Two fingerprints are equal if the pass and all values are. Other digits of the same decimal, other offsets of the
    same instant, other orders of keys and the defaults of the server make no difference.
    """
    amount = None if draft.amount is None else canonical(draft.amount)
    # Fields that were added later go to the end, and only if they were sent: stored fingerprints must stay valid.
    added_later: tuple[str, ...] = () if draft.points_expiry is None else (draft.points_expiry.fingerprint_text,)
    if draft.label is not None:
        added_later += ("label", draft.label)
    if draft.staff is not None:
        added_later += ("staff", draft.staff)
    if draft.guard is not None:
        added_later += draft.guard.fingerprint_texts
    text = _encode((pass_id, draft.type, amount, *draft.sent, draft.metadata_text, *added_later))
    return hmac.digest(key, text.encode(), sha256)[:16]
