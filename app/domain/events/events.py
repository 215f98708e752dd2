"""Events of passes, as clients send them and as they are stored. A recorded event is immutable."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from functools import cache
from types import MappingProxyType

from app.domain.values.instants import to_ms
from app.domain.values.path_values import PathValues
from app.domain.values.paths import Steps, iter_values

from .guards import UNDECIDED, Guard, Outcome
from .points_expiry import PointsExpiry


class Category(StrEnum):
    """Category of an event type. Types that a workspace defines have any category except FIELD_CHANGE."""

    TRANSACTION = "TRANSACTION"
    ACTIVITY = "ACTIVITY"
    FIELD_CHANGE = "FIELD_CHANGE"
    CUSTOM = "CUSTOM"

    @classmethod
    def of_stored(cls, value: str) -> Category:
        """Return the category of a stored value.

        A later version may have stored another one. It keeps its value, so that a fold stores it again as it is.
        """
        return _category_of(value)


@cache
def _category_of(value: str) -> Category:
    if value in Category.__members__:
        return Category(value)
    category = str.__new__(Category, value)
    category._name_ = category._value_ = value
    return category


TYPES: Mapping[str, Category] = MappingProxyType(
    dict.fromkeys(("purchase", "refund", "payment", "charge", "credit", "checkout"), Category.TRANSACTION)
    | dict.fromkeys(
        (
            "check_in", "check_out", "visit", "scan", "app_open", "link_click", "notification_received",
            "notification_opened", "pass_installed", "pass_uninstalled", "pass_registered", "custom", "redemption",
            "login", "opt_in", "opt_out", "share", "checkout_update", "checkout_reject", "redemption_rollback",
            "pass_confirmed", "pass_referred", "friend_referred",
        ),
        Category.ACTIVITY,
    )
    | dict.fromkeys(("point_add", "point_sub", "points_transferred", "points_returned", "gift_balance_added",
                     "gift_balance_spent"), Category.CUSTOM)
    | dict.fromkeys(("field_updated", "field_increment", "field_decrement"), Category.FIELD_CHANGE)
)  # fmt: skip
"""The built-in types and their categories."""

STEPS = frozenset({"field_increment", "field_decrement"})
"""Types that increase or decrease a number in a field."""

INSTALLED, UNINSTALLED = "pass_installed", "pass_uninstalled"
"""Types that make an inactive pass active, and an active one inactive."""

PASS_UPDATED = "pass_updated"
"""Internal type that updatePass records. The event's `changes` hold the new values."""
EVENT_REMOVED = "event_removed"
"""Internal type of the tombstone of one event. `removes` is the id of that event."""
PASS_ERASED = "pass_erased"
"""Internal type of the tombstone of an erased pass."""
PASS_MERGED = "pass_merged"
"""Internal type of the tombstone of a merged pass. `into` is the id of the survivor."""
REDEMPTION, REDEMPTION_ROLLBACK = "redemption", "redemption_rollback"
"""Type of what redeems a reward or points, and of the correction that takes the redemption of a reward back."""
POINT_ADD, POINT_SUB = "point_add", "point_sub"
"""Types of points given and taken apart from other events. Rules make events of these types."""
RULE_FIRED = "rule_fired"
"""Internal type of the event that each firing of a rule makes."""
RULE_RETRIED, RULE_INCLUDED = "rule_retried", "rule_included"
"""Internal types that ask the walk to make the failed effects of a firing again, and to ask a rule about a member."""
MERGE_FINISHED = "merge_finished"
"""Internal type recorded on the survivor when all events of a merged pass have moved to it."""
LIST_ADDED, LIST_REMOVED = "list_added", "list_removed"
"""Internal types by which a pass gets onto a list of a segment, and off it. `metadata` names the segment and the list."""
LIST_EVENTS = frozenset({LIST_ADDED, LIST_REMOVED})
POINTS_TRANSFERRED, POINTS_RETURNED = "points_transferred", "points_returned"
"""Types of points that one pass sends and another receives, and of points that go back because the other pass is gone."""
TRANSFERS = frozenset({POINTS_TRANSFERRED, POINTS_RETURNED})
GIFT_ADDED, GIFT_SPENT = "gift_balance_added", "gift_balance_spent"
"""Types whose amounts are added to the balance of a gift card, and taken from it."""
GIFTS = frozenset({GIFT_ADDED, GIFT_SPENT})
PASS_CONFIRMED = "pass_confirmed"
"""Type of the customer's confirmation, for example of an address."""
PASS_REFERRED, FRIEND_REFERRED = "pass_referred", "friend_referred"
"""Types of a referral: on the pass of the customer who joined, and on that of the customer who recommended it."""
RECORDED_BY: Mapping[str, str] = MappingProxyType({
    PASS_CONFIRMED: "confirmPass", **dict.fromkeys((PASS_REFERRED, FRIEND_REFERRED), "recordReferral"),
    REDEMPTION_ROLLBACK: "rollbackRedemption", **dict.fromkeys(TRANSFERS, "transferPoints"),
})  # fmt: skip
"""Built-in types whose events only one mutation records."""
CONSENT_GIVEN, CONSENT_REVOKED = "consent_given", "consent_revoked"
"""Internal types by which a customer agrees to receive messages, and takes it back. `metadata` names the consent."""
CONSENT_EVENTS = frozenset({CONSENT_GIVEN, CONSENT_REVOKED})
MESSAGE_SENT, MESSAGE_FAILED = "message_sent", "message_failed"
"""Internal types of the outcome of a message. `metadata` names the message, its channel, and why it was not sent."""
MESSAGE_EVENTS = frozenset({MESSAGE_SENT, MESSAGE_FAILED})
INTERNAL_TYPES = frozenset({
    PASS_UPDATED, EVENT_REMOVED, PASS_ERASED, PASS_MERGED, RULE_FIRED, RULE_RETRIED, RULE_INCLUDED, MERGE_FINISHED,
    *LIST_EVENTS, *CONSENT_EVENTS, *MESSAGE_EVENTS,
})  # fmt: skip
TOMBSTONES = frozenset({EVENT_REMOVED, PASS_ERASED, PASS_MERGED})
"""Types that remove something from a pass. Their events count in no aggregate and appear in no list."""

TOKEN_CHANNEL = "PASS"
"""Channel of the events that holders of tokens for one pass record."""
TOKEN_SOURCE = "pass"
"""Source of these events. Their external ids begin with the id of the pass, so that no two passes share one."""
RULE_CHANNEL = "RULE"
"""Channel of the events that rules make."""
RESERVED_PREFIX = "customer."
"""Beginning of the names of activities, which no event type may have."""
OWN_SOURCE = "punchcard"
"""Source of the events that Punchcard records itself."""

CHECKOUT, CHECKOUT_UPDATE, CHECKOUT_REJECT = "checkout", "checkout_update", "checkout_reject"
"""Types of a purchase whose total may change, of a new total, and of the end that takes back what is left."""
CHECKOUT_CORRECTIONS = frozenset({CHECKOUT_UPDATE, CHECKOUT_REJECT})
CHECKOUT_INCREASED, CHECKOUT_DECREASED = "checkout_increased", "checkout_decreased"
"""Types of the differences that the walk makes for such a correction. They count in spend."""
CHECKOUT_DIFFERENCES = frozenset({CHECKOUT_INCREASED, CHECKOUT_DECREASED})

DEFAULT_SOURCE = "api"
FIELD_ROOTS = ("fields", "metadata", "holder")


@dataclass(frozen=True, slots=True)
class EventInput:
    """One unchecked item of recordEvents, exactly as the client sent it. None means that the client sent no value.

    `repeat_metadata` is the metadata by which a repeat is recognized, or None if that is `metadata` itself.
    """

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
    repeat_metadata: object = None
    guard: object = None


@dataclass(frozen=True, slots=True)
class Origin:
    """Origin of an event: the channel (API, BATCH, IMPORT, WEBHOOK, MANUAL, PASS, RULE, INTERNAL) and the actor.

    `actor` names the API key or inbound hook. `staff` is the member of staff who acted by hand, as the client sent it.
    `batch` names the batch of the job that recorded the event. After a crash, the next worker repeats the batch and
    finds its events by that name.

    An event that a rule made names the `rule` by its id, the `rule_version`, and the index of the `effect`. `cause` is the
    id of an event or activity. `depth` is 1 for what follows from a recorded event. If the cause corrects points that a
    rule gave before, `target` is the id of the event for which it gave them.
    """

    channel: str
    actor: str | None = None
    ip_address: str | None = None
    user_agent: str | None = None
    batch: str | None = None
    staff: str | None = None
    rule: str | None = None
    rule_version: int | None = None
    depth: int = 0
    cause: str | None = None
    effect: int | None = None
    target: str | None = None


@dataclass(frozen=True, slots=True)
class Move:
    """Move of an event to the survivor of a merge.

    - `home_pass_id`: pass that the event was recorded on.
    - `count`: number of moves so far; the fold clears an event only with the count that it read.
    - `was_published`: the event counted in a merged pass before, so its activity is published already.
    """

    home_pass_id: str
    count: int
    was_published: bool


@dataclass(frozen=True, slots=True)
class Event:
    """Recorded event.

    - `occurred_at`, `recorded_at`: instant that the client gave, and instant of the server.
    - `amount`: never negative; `spend.py` has its sign in sums.
    - `correction_of`: id of the event that this one corrects.
    - `corrected_order`: instant and depth of the corrected event, see `order`. None for other events.
    - `historical`: recorded by an import.
    - `split_metadata`: the metadata with keys split at their points; None if no key has a point.
    - `changes`: new values, for PASS_UPDATED.
    - `removes`, `into`: target of a tombstone.
    - `definition_version`: version of the event type that the event was checked against.
    - `step`: number of the first activity of an event that a walk made, or of an accepted guarded event; else 0.
    - `root`: id of the first event of the family: of a correction, and of what rules made for an event.
    - `matures_ms`: instant from which the points of an award are in the balance; None for at once.
    - `guard`: what the walk asks before the event counts. None for an event that counts as recorded.
    - `performed_at`: instant that the client gave for a guarded event, which occurs when it is recorded.
    - `outcome`: as the document has it. A walk may have decided it, and the worker may not have cleared the event yet.
    """

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
    corrected_order: tuple[int, int] | None = None
    historical: bool = False
    changes: Mapping[str, object] = field(default_factory=dict)
    removes: str | None = None
    into: str | None = None
    move: Move | None = None
    points_expiry: PointsExpiry | None = None
    label: str | None = None
    definition_version: int | None = None
    split_metadata: Mapping[str, object] | None = None
    step: int = 0
    root: str | None = None
    matures_ms: int | None = None
    guard: Guard | None = None
    performed_at: datetime | None = None
    outcome: Outcome = field(default=UNDECIDED, compare=False)
    _values: dict[Steps, PathValues] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def details(self) -> Mapping[str, object]:
        """The metadata in the form in which conditions, sums and attributes read it."""
        return self.metadata if self.split_metadata is None else self.split_metadata

    def values_at(self, steps: Steps) -> PathValues:
        """Return the values at a path of the metadata. All conditions and sums of that path share them."""
        found = self._values.get(steps)
        if found is None:
            found = self._values[steps] = PathValues(iter_values(self.details, steps))
        return found

    @property
    def occurred_ms(self) -> int:
        """`occurred_at` in milliseconds since 1970-01-01T00:00:00Z."""
        return to_ms(self.occurred_at)

    @property
    def recorded_ms(self) -> int:
        """`recorded_at` in milliseconds since 1970-01-01T00:00:00Z."""
        return to_ms(self.recorded_at)

    @property
    def is_made(self) -> bool:
        """Whether the walk made the event, for a rule or a checkout. Such an event is no activity of the customer."""
        return self.origin.channel == RULE_CHANNEL or self.type in CHECKOUT_DIFFERENCES

    @property
    def family(self) -> str:
        """The id of the first event of the family: the event, its corrections, and what rules made for any of them."""
        return self.root or self.correction_of or self.id

    @property
    def order(self) -> tuple[int, int, int, str]:
        """The key by which events count one after the other: (instant in ms, step, depth, id).

        What a walk made at an instant follows the recorded events of the instant. A correction follows what it
        corrects. If it is dated at or before the corrected event, it takes the instant of that event and the next depth.
        All other events have the depth 0.
        """
        occurred_ms = self.occurred_ms
        if self.corrected_order is None or occurred_ms > self.corrected_order[0]:
            return occurred_ms, self.step, 0, self.id
        corrected_ms, depth = self.corrected_order
        return corrected_ms, self.step, depth + 1, self.id

    @property
    def depth_order(self) -> tuple[int, int]:
        """The instant and the depth in `order`, which corrections of this event store."""
        at_ms, _, depth, _ = self.order
        return at_ms, depth

    @property
    def order_ms(self) -> int:
        """The instant in `order`: `occurred_ms`, or for an earlier correction the instant of the corrected event."""
        occurred_ms = self.occurred_ms
        return occurred_ms if self.corrected_order is None else max(occurred_ms, self.corrected_order[0])

    @property
    def home_pass_id(self) -> str:
        """The id of the pass that the event was recorded on. After a merge, `pass_id` is that of the survivor."""
        return self.pass_id if self.move is None else self.move.home_pass_id
