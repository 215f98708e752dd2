"""Events: what happened on a pass, as sent and as stored. Immutable once recorded."""

from __future__ import annotations

import hmac
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from hashlib import sha256
from types import MappingProxyType
from typing import TypeVar

from .conditions import number_of
from .currencies import parse_currency
from .decimals import ZERO, canonical, parse_decimal
from .errors import Code, InvalidInput, Problem, Refused
from .instants import parse_instant, to_ms
from .point_ends import PointsEnd, parse_end
from .texts import parse_object, parse_text

T = TypeVar("T")


class Category(StrEnum):
    """The four kinds of event."""

    TRANSACTION = "TRANSACTION"
    ACTIVITY = "ACTIVITY"
    FIELD_CHANGE = "FIELD_CHANGE"
    CUSTOM = "CUSTOM"


TYPES: Mapping[str, Category] = MappingProxyType(
    dict.fromkeys(("purchase", "refund", "payment", "charge", "credit"), Category.TRANSACTION)
    | dict.fromkeys(
        (
            "check_in", "check_out", "visit", "scan", "app_open", "link_click", "notification_received",
            "notification_opened", "pass_installed", "pass_uninstalled", "pass_registered", "custom", "redemption",
        ),
        Category.ACTIVITY,
    )
    | dict.fromkeys(("field_updated", "field_increment", "field_decrement"), Category.FIELD_CHANGE)
)  # fmt: skip
"""The built-in types and their categories."""

STEPS = frozenset({"field_increment", "field_decrement"})
"""Types that move a number by a step."""

PASS_UPDATED = "pass_updated"
"""Internal: what updatePass records. Its `changes` hold the fields set."""
EVENT_REMOVED = "event_removed"
"""Internal: a tombstone; `removes` is the event that no longer counts."""
PASS_ERASED = "pass_erased"
"""Internal: the tombstone of a whole pass."""
PASS_MERGED = "pass_merged"
"""Internal: the end of a pass of its own; `into` is the pass that answers for it from then on."""
INTERNAL_TYPES = frozenset({PASS_UPDATED, EVENT_REMOVED, PASS_ERASED, PASS_MERGED})
TOMBSTONES = frozenset({EVENT_REMOVED, PASS_ERASED, PASS_MERGED})
"""What takes something away from a pass: it never counts itself, and no list shows it."""

RETURNS = frozenset({"refund", "credit"})
"""Types whose amount, stored positive, subtracts from a sum of spend."""

_spelt = json.JSONEncoder().encode
_TYPE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:\-]{0,99}")
DEFAULT_SOURCE = "api"
FIELD_ROOTS = ("fields", "metadata", "holder")


@dataclass(frozen=True, slots=True)
class EventInput:
    """One item of recordEvents exactly as it was sent; nothing in it is checked yet. None means not given."""

    type: object
    pass_id: object = None
    pass_external_id: object = None
    category: object = None
    amount: object = None
    currency: object = None
    points: object = None
    field_name: object = None
    old_value: object = None
    new_value: object = None
    occurred_at: object = None
    external_id: object = None
    source: object = None
    metadata: object = None
    correction_of: object = None
    points_expire_at: object = None
    points_expire_after_days: object = None
    label: object = None
    staff: object = None


@dataclass(frozen=True, slots=True)
class Origin:
    """Where an event came from: channel (API, BATCH, IMPORT, WEBHOOK, MANUAL, RULE, INTERNAL), and who was acting.

    `actor` is the acting key, `staff` the member of staff who acted by hand, as the key says. `batch` names the part of
    a job that recorded it: a worker that goes on after a death knows what was its own.
    """

    channel: str
    actor: str | None = None
    ip_address: str | None = None
    user_agent: str | None = None
    batch: str | None = None
    staff: str | None = None


@dataclass(frozen=True, slots=True)
class Move:
    """That an event came to its pass from another one, by a merge: the pass it was recorded on, how often it moved since,
    and whether it had counted, and so had been told, before.
    """

    home: str
    times: int
    told: bool


@dataclass(frozen=True, slots=True)
class Event:
    """A recorded event. `occurred_at` is the caller's instant, `recorded_at` the server's; amount is never negative."""

    id: str
    pass_id: str
    category: Category
    type: str
    amount: Decimal | None
    currency: str | None
    points: Decimal
    source: str
    external_id: str | None
    metadata: Mapping[str, object]
    occurred_at: datetime
    recorded_at: datetime
    origin: Origin
    field_name: str | None = None
    old_value: str | None = None
    new_value: str | None = None
    correction_of: str | None = None
    historical: bool = False
    changes: Mapping[str, object] = field(default_factory=dict)
    removes: str | None = None
    into: str | None = None
    move: Move | None = None
    points_end: PointsEnd | None = None
    label: str | None = None
    definition_version: int | None = None

    @property
    def occurred_ms(self) -> int:
        """`occurred_at` in milliseconds since the epoch."""
        return to_ms(self.occurred_at)

    @property
    def recorded_ms(self) -> int:
        """`recorded_at` in milliseconds since the epoch."""
        return to_ms(self.recorded_at)

    @property
    def signed_amount(self) -> Decimal:
        """The amount as it counts in a sum of spend: refunds and credits subtract; 0 without an amount."""
        if self.amount is None:
            return ZERO
        return -self.amount if self.type in RETURNS else self.amount


def times_moved(event: Event) -> int:
    """How often the event came to another pass by a merge."""
    return 0 if event.move is None else event.move.times


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
    points_end: PointsEnd | None = None
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
class Rules:
    """What a workspace and its settings say about the events it accepts."""

    now: datetime
    default_currency: str
    metadata_bytes: int = 32_768
    future_tolerance: timedelta = timedelta(minutes=5)
    default_source: str = DEFAULT_SOURCE
    default_occurred_at: datetime | None = None


def check(sent: EventInput, rules: Rules) -> Draft:
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
        points_end = parse_end(
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


def parse_type(raw: object, *path: str) -> str:
    """The name of an event type: letters, digits, _ . : - and at most 100 of them. Raises InvalidInput."""
    if not isinstance(raw, str) or not _TYPE.fullmatch(raw):
        raise InvalidInput(
            Code.INVALID,
            "A type is 1 to 100 letters, digits, '_', '.', ':' or '-', beginning with a letter or digit.",
            *path,
        )
    if raw in INTERNAL_TYPES:
        raise InvalidInput(Code.INVALID, "This type is recorded by Punchcard itself.", *path)
    return raw


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
    later: tuple[str, ...] = () if draft.points_end is None else (draft.points_end.sent,)
    if draft.label is not None:
        later += ("label", draft.label)
    if draft.staff is not None:
        later += ("staff", draft.staff)
    text = _spelt((pass_id, draft.type, amount, *draft.sent, draft.metadata_text, *later))
    return hmac.digest(key, text.encode(), sha256)[:16]
