"""Redemptions of rewards: what an event and its outcome say to the client that redeems."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from app.domain.events.events import REDEMPTION_ROLLBACK, Category, Event, Origin
from app.domain.events.guards import Decisions, Outcome, OutcomeStatus, Reason, RewardGuard
from app.domain.events.own_events import own_event
from app.domain.ids import redemption_id, rollback_event_id
from app.domain.values.decimals import ZERO
from app.domain.values.instants import from_ms

MAX_CODE_ATTEMPTS = 20
"""Codes that a redemption asks for until one is free."""


class RedemptionStatus(StrEnum):
    """Status of a redemption."""

    PENDING = "PENDING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    ROLLED_BACK = "ROLLED_BACK"


@dataclass(frozen=True, slots=True)
class Redemption:
    """Redemption of a reward, or what one would give: then it has no event.

    - `points_spent`: None while it is pending; 0 if it failed or was rolled back.
    - `balance_after`: points of the pass after the decision; None while it is pending.
    - `code`: None unless the redemption succeeded and the reward has codes.
    """

    reward_id: str
    reward_key: str
    quantity: int
    status: RedemptionStatus
    reasons: tuple[Reason, ...] = ()
    points_spent: Decimal | None = None
    balance_after: Decimal | None = None
    code: str | None = None
    event: Event | None = None

    @property
    def id(self) -> str | None:
        """The id; None for one that was only validated."""
        return None if self.event is None else redemption_id(self.event.id)


def redemption_of(event: Event, outcome: Outcome, rollback: Outcome | None = None) -> Redemption | None:
    """Return the redemption that an event records; None if it redeems no reward. `rollback` is the outcome of one."""
    reward = reward_of(event)
    if reward is None:
        return None
    status = {
        OutcomeStatus.UNDECIDED: RedemptionStatus.PENDING,
        OutcomeStatus.DECLINED: RedemptionStatus.FAILED,
        OutcomeStatus.COUNTED: RedemptionStatus.SUCCEEDED,
    }[outcome.status]
    if status is RedemptionStatus.SUCCEEDED and rollback is not None and rollback.status is OutcomeStatus.COUNTED:
        status = RedemptionStatus.ROLLED_BACK
    spent = {RedemptionStatus.PENDING: None, RedemptionStatus.SUCCEEDED: -event.points}.get(status, ZERO)
    is_accepted = status in (RedemptionStatus.SUCCEEDED, RedemptionStatus.ROLLED_BACK)
    return Redemption(
        reward_id=reward.reward_id,
        reward_key=reward.key,
        quantity=reward.quantity,
        status=status,
        reasons=outcome.reasons,
        points_spent=spent,
        balance_after=outcome.balance,
        code=reward.code if is_accepted else None,
        event=event,
    )


def reward_of(event: Event) -> RewardGuard | None:
    """Return what an event redeems; None if it redeems no reward."""
    return None if event.guard is None else event.guard.reward


def outcome_of(event: Event, decisions: Decisions) -> Outcome:
    """Return the outcome of an event: as its pass decided it, if the event is not cleared yet, else its own."""
    decision = decisions.get(event.id)
    return event.outcome if decision is None else decision.outcome


def rollback_of(event: Event, *, at_ms: int, origin: Origin, reason: str | None) -> Event:
    """Return the event that rolls the redemption of a reward back. It is a correction, so the walk decides it."""
    redeemed, reward = redemption_id(event.id), reward_of(event)
    assert reward is not None
    metadata: Mapping[str, object] = {
        "redemption": redeemed,
        "reward": reward.reward_id,
        "rewardKey": reward.key,
        "quantity": reward.quantity,
        **({} if reason is None else {"reason": reason}),
    }
    return own_event(
        rollback_event_id(redeemed),
        event.pass_id,
        REDEMPTION_ROLLBACK,
        at=from_ms(at_ms),
        origin=origin,
        category=Category.ACTIVITY,
        metadata=metadata,
        root=event.family,
        points=-event.points,
        correction_of=event.id,
        corrected_order=event.depth_order,
    )
