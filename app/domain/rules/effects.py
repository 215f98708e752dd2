"""Effects of rules.

The walk makes an event for each effect inside the pass, in the write that counts its cause. `react` makes those outside.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum

from app.domain.events.events import Category
from app.domain.values.periods import PeriodUnit

from .message_templates import MessageTemplate

ONE = Decimal(1)


class Rounding(StrEnum):
    """Rounding of computed points: towards zero, to the nearest with halves away from zero, or away from zero."""

    DOWN = "DOWN"
    HALF_UP = "HALF_UP"
    UP = "UP"


@dataclass(frozen=True, slots=True)
class PointsPerAmount:
    """`points` for each full `each` of the event's net amount, rounded to 0 to 6 decimals."""

    points: Decimal
    each: Decimal
    rounding: Rounding = Rounding.DOWN
    decimals: int = 0


@dataclass(frozen=True, slots=True)
class EndOfPeriod:
    """End of the calendar period `plus` periods after the present one; 0 is the end of the present period."""

    unit: PeriodUnit
    plus: int = 0


@dataclass(frozen=True, slots=True)
class AwardExpiry:
    """When awarded points expire; exactly one field has a value.

    - `at_ms`: at an instant.
    - `after_days`: at local midnight of the rule's zone, a number of days after the day of the award.
    - `after_inactive_days`: a number of days without activity of the customer.
    - `end_of`: at the end of a calendar period.
    """

    at_ms: int | None = None
    after_days: int | None = None
    after_inactive_days: int | None = None
    end_of: EndOfPeriod | None = None


@dataclass(frozen=True, slots=True)
class AwardPoints:
    """Give points: `fixed`, or computed by `per_amount`; exactly one of them has a value.

    The points enter the balance after `pending_days` days of 24 hours.
    """

    fixed: Decimal | None = None
    per_amount: PointsPerAmount | None = None
    multiplier: Decimal = ONE
    expiry: AwardExpiry | None = None
    pending_days: int = 0
    label: str | None = None


@dataclass(frozen=True, slots=True)
class DeductPoints:
    """Take points from the balance, which may become negative."""

    points: Decimal
    label: str | None = None


@dataclass(frozen=True, slots=True)
class RecordEvent:
    """Record an event. Texts in `metadata` are Liquid templates. `category` is that of a type that is not built in."""

    type: str
    amount: Decimal | None = None
    currency: str | None = None
    points: Decimal | None = None
    metadata: Mapping[str, object] = field(default_factory=dict)
    category: Category = Category.CUSTOM


@dataclass(frozen=True, slots=True)
class UpdatePass:
    """Set fields and metadata of the pass. Texts are Liquid templates; None removes a key."""

    fields: Mapping[str, object] = field(default_factory=dict)
    metadata: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ChangeList:
    """Add the pass to a segment's list of members, or remove it from the list if `adds` is false."""

    segment_id: str
    adds: bool


@dataclass(frozen=True, slots=True)
class IssueReward:
    """Give a reward to the customer. It leaves the pass: `react` takes a unit and records the redemption."""

    reward_key: str


@dataclass(frozen=True, slots=True)
class SendMessage:
    """Send a message to the holder of the pass over a channel. It leaves the pass: `react` queues it.

    `valid_for_hours` counts from the instant of the firing; a message that was not sent by then is not sent any more.
    """

    channel_key: str
    template: MessageTemplate
    valid_for_hours: int = 24


Effect = AwardPoints | DeductPoints | RecordEvent | UpdatePass | ChangeList | IssueReward | SendMessage
