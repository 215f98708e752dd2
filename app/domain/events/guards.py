"""Guards: what a walk asks of a recorded event before the event counts, and the outcome, which it decides once.

(Source: docs/explanation/declined-events.md.)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from app.domain.errors import Code, InvalidInput
from app.domain.values.decimals import ZERO, canonical, parse_decimal

GUARDED_TYPES = frozenset({"redemption", "point_sub"})
"""Types whose events with negative points are guarded if the workspace allows no negative balance."""

INSUFFICIENT_POINTS = "INSUFFICIENT_POINTS"
OVER_CORRECTED = "OVER_CORRECTED"
NOT_COUNTED = "NOT_COUNTED"


@dataclass(frozen=True, slots=True)
class RewardGuard:
    """Redemption of a reward: its id and key, and the number of units asked for.

    `sold_out` says that the units could not be taken. `code` is the code that the customer gets.
    """

    reward_id: str
    key: str
    quantity: int = 1
    sold_out: bool = False
    code: str | None = None


@dataclass(frozen=True, slots=True)
class Guard:
    """What a walk asks of an event, at the instant at which the event would count. All that is given must hold.

    - `min_balance`: points that must remain when the event has counted.
    - `reward`: the reward that the event redeems.
    - `gift`: the amount must be in the gift balance of its currency.
    """

    min_balance: Decimal | None = None
    reward: RewardGuard | None = None
    gift: bool = False

    @property
    def fingerprint_texts(self) -> tuple[str, ...]:
        """What a client asks for, in the text by which a repeat is recognized."""
        least = () if self.min_balance is None else ("guard", canonical(self.min_balance))
        reward = () if self.reward is None else ("reward", self.reward.reward_id, str(self.reward.quantity))
        return (*least, *reward, *(("gift",) if self.gift else ()))


NO_DEBT = Guard(min_balance=ZERO)


def parse_guard(raw: object, *path: str) -> Guard:
    """Return the guard that a client asks for: `{"minBalance": decimal}`. Raises Refused."""
    least = raw.get("minBalance") if isinstance(raw, Mapping) else None
    if least is None:
        raise InvalidInput(Code.REQUIRED, "Give the balance that must remain, usually 0.", *path, "minBalance")
    return Guard(min_balance=parse_decimal(least, *path, "minBalance"))


@dataclass(frozen=True, slots=True)
class Reason:
    """Reason why an event was declined: a code for programs, and one sentence for people."""

    code: str
    message: str


class OutcomeStatus(StrEnum):
    """Whether an event counts: not decided yet, counted, or declined."""

    UNDECIDED = "UNDECIDED"
    COUNTED = "COUNTED"
    DECLINED = "DECLINED"


@dataclass(frozen=True, slots=True)
class Outcome:
    """Outcome of an event. A declined one has reasons and counts nowhere.

    - `amount`: what a correction without an amount stands for: what was left of the corrected event.
    - `balance`: the points of the pass after the decision about a guarded event; None for other events.
    """

    status: OutcomeStatus
    reasons: tuple[Reason, ...] = ()
    amount: Decimal | None = None
    balance: Decimal | None = None

    @property
    def is_declined(self) -> bool:
        """Whether the event counts nowhere."""
        return self.status is OutcomeStatus.DECLINED


UNDECIDED = Outcome(OutcomeStatus.UNDECIDED)
COUNTED = Outcome(OutcomeStatus.COUNTED)


@dataclass(frozen=True, slots=True)
class Decision:
    """Decision of a walk about one event, which the pass stores until the event has it: declined, if there are reasons.

    - `amount`, `balance`: see Outcome.
    - `step`: number of the first activity of an accepted guarded event, by which the event counts after that before it.
    """

    reasons: tuple[Reason, ...] = ()
    amount: Decimal | None = None
    balance: Decimal | None = None
    step: int = 0

    @property
    def is_declined(self) -> bool:
        """Whether the event counts nowhere."""
        return bool(self.reasons)

    @property
    def outcome(self) -> Outcome:
        """The outcome that the event gets."""
        status = OutcomeStatus.DECLINED if self.reasons else OutcomeStatus.COUNTED
        return Outcome(status, self.reasons, amount=self.amount, balance=self.balance)


Decisions = Mapping[str, Decision]
"""Decisions by the id of the event. Events that count as recorded have none."""
