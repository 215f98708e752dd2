"""Events: what happened on a pass, as sent and as stored. Immutable once recorded."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from types import MappingProxyType

from app.domain.errors import Code, InvalidInput
from app.domain.values.conditions import Condition
from app.domain.values.decimals import ZERO
from app.domain.values.instants import to_ms

from .points_expiry import PointsExpiry


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

OWN_SOURCE = "punchcard"
"""The source of what Punchcard records itself."""

SUBTRACTED_TYPES = frozenset({"refund", "credit"})
"""Types whose amount, stored positive, subtracts from a sum of spend."""

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

    home_pass_id: str
    count: int
    was_published: bool


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
    points_expiry: PointsExpiry | None = None
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
    def home_pass_id(self) -> str:
        """The pass that it was recorded on, whichever it came to since."""
        return self.pass_id if self.move is None else self.move.home_pass_id

    @property
    def signed_amount(self) -> Decimal:
        """The amount as it counts in a sum of spend: refunds and credits subtract; 0 without an amount."""
        if self.amount is None:
            return ZERO
        return -self.amount if self.type in SUBTRACTED_TYPES else self.amount


def move_count(event: Event) -> int:
    """How often the event came to another pass by a merge."""
    return 0 if event.move is None else event.move.count


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


@dataclass(frozen=True, slots=True)
class EventQuery:
    """Which events to list; an empty part means any. "after" is inclusive, "before" exclusive."""

    pass_id: str | None = None
    categories: Sequence[Category] = ()
    types: Sequence[str] = ()
    sources: Sequence[str] = ()
    currency: str | None = None
    occurred_after: datetime | None = None
    occurred_before: datetime | None = None
    recorded_after: datetime | None = None
    recorded_before: datetime | None = None
    amount_min: Decimal | None = None
    amount_max: Decimal | None = None
    external_id: str | None = None
    metadata: Sequence[Condition] = ()
