"""Decisions about events that may be declined: guarded events and corrections. A walk makes each of them once.

(Source: docs/explanation/declined-events.md.)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from decimal import Decimal

from app.domain.definitions import iter_event_criteria
from app.domain.events.corrections import is_opposite
from app.domain.events.events import CHECKOUT, CHECKOUT_REJECT, CHECKOUT_UPDATE, REDEMPTION_ROLLBACK, Event
from app.domain.events.guards import (
    INSUFFICIENT_POINTS,
    NOT_COUNTED,
    OVER_CORRECTED,
    Decision,
    Guard,
    OutcomeStatus,
    Reason,
)
from app.domain.passes.gifts import why_not_gift
from app.domain.rewards.decisions import Redeemer, why_not
from app.domain.rewards.rewards import RewardVersion
from app.domain.rules.terms import net_amount
from app.domain.state.redeemed import Redeemed
from app.domain.values.decimals import ZERO, add, plain, subtract

from .checkouts import refunded_of, total_of
from .lacks import DataMissing
from .walk import Walk


def must_be_decided(event: Event) -> bool:
    """Return whether the walk decides if the event counts. An event that counted in a merged pass was decided there."""
    if event.guard is None and event.correction_of is None:
        return False
    is_decided = event.move is not None and event.move.was_published
    return not is_decided and not event.is_made and event.outcome.status is OutcomeStatus.UNDECIDED


def is_guarded(event: Event) -> bool:
    """Return whether the walk decides about the event after the unguarded events of its instant."""
    return event.guard is not None and must_be_decided(event)


def split_guarded(events: Sequence[Event]) -> tuple[list[Event], list[Event]]:
    """Return the unguarded events of an instant, and the guarded ones with their corrections, both in counting order.

    The guarded ones follow each other by (instant, id), and the corrections of each follow it directly.
    """
    if not any(event.guard is not None for event in events):
        return list(events), []
    unguarded: list[Event] = []
    heads: list[Event] = []
    followers: dict[str, list[Event]] = {}
    waiting: set[str] = set()
    for event in events:
        if event.correction_of in waiting:
            followers.setdefault(event.correction_of or "", []).append(event)
        elif is_guarded(event):
            heads.append(event)
        else:
            unguarded.append(event)
            continue
        waiting.add(event.id)
    guarded: list[Event] = []
    rest = sorted(heads, key=lambda event: (event.occurred_ms, event.id), reverse=True)
    while rest:
        guarded.append(rest.pop())
        rest += reversed(followers.get(guarded[-1].id, ()))
    return unguarded, guarded


def decide(walk: Walk, event: Event, at_ms: int) -> Event | None:
    """Return the event as it counts, or None if it is declined. The walk notes the decision. Raises DataMissing."""
    if not must_be_decided(event):
        return event
    reasons: tuple[Reason, ...] = ()
    accepted, step = event, 0
    number = walk.new_entries.last_number + 1
    if event.correction_of is not None:
        original = _find_original(walk, event)
        reasons, accepted = _decide_correction(walk, event, original)
        if original is not None and original.step and event.order_ms == original.order_ms:
            # Without it, the correction would sort before the guarded event that it corrects.
            step = max(number, original.step)
    balance: Decimal | None = None
    if event.guard is not None:
        balance, step = walk.balance, number
        reasons = reasons or tuple(_iter_guard_reasons(walk, event, event.guard, at_ms))
    if reasons:
        walk.decline(event, Decision(reasons, balance=balance), at_ms)
        return None
    amount = None if accepted.amount == event.amount else accepted.amount
    if amount is not None or step or balance is not None:
        walk.decisions[event.id] = Decision(amount=amount, balance=balance, step=step)
    return replace(accepted, step=step) if step else accepted


def _iter_guard_reasons(walk: Walk, event: Event, guard: Guard, at_ms: int) -> Iterator[Reason]:
    """Iterate over the reasons why a guarded event cannot count now; none if it can."""
    if guard.reward is not None:
        asked = guard.reward
        reward = _find_reward(walk, asked.reward_id, at_ms)
        redeemer = Redeemer(walk.context(at_ms), walk.derived.redeemed.get(asked.reward_id, Redeemed()))
        yield from why_not(reward, redeemer, asked.quantity, cost=-event.points, is_sold_out=asked.sold_out)
    if guard.gift:
        rows = (walk.derived.aggregates, walk.derived.made_aggregates)
        yield from why_not_gift(event, walk.card.gift_currency, *rows)
    if guard.min_balance is not None and add(walk.balance, event.points) < guard.min_balance:
        needed = subtract(guard.min_balance, event.points)
        message = f"The balance is {plain(walk.balance)} points; this needs {plain(needed)}."
        yield Reason(INSUFFICIENT_POINTS, message)


def _find_reward(walk: Walk, reward_id: str, at_ms: int) -> RewardVersion | None:
    """Return the version of a reward that a redemption at an instant is decided by; None if it is archived.

    Versions of the instant itself count: a client that redeems a reward has seen it. Measures that are new to the pass are
    built for the decision.
    """
    reward = walk.active.rewards.get(reward_id)
    for version in walk.definitions.after(walk.revision):
        if isinstance(version, RewardVersion) and version.reward_id == reward_id and version.at_ms <= at_ms:
            reward = version if version.is_in_force else None
    if reward is not None and reward.revision > walk.revision:
        for leaf in iter_event_criteria([reward]):
            if leaf.measure.key not in walk.active.measure_keys:
                walk.derived.begin_measure(leaf.measure, at_ms)
    return reward


def _find_original(walk: Walk, event: Event) -> Event | None:
    """Return the corrected event, if it counts. Raises DataMissing."""
    declined = walk.decisions.get(event.correction_of or "")
    if declined is not None and declined.is_declined:
        return None
    if not walk.has_family(event.family):
        raise DataMissing(families=frozenset({event.family}))
    return next((each for each in walk.members_until_now(event.family) if each.id == event.correction_of), None)


def _decide_correction(walk: Walk, event: Event, original: Event | None) -> tuple[tuple[Reason, ...], Event]:
    """Return why a correction cannot count, and the correction with the amount that it stands for."""
    if original is None:
        return (Reason(NOT_COUNTED, "The corrected event does not count: it was declined or removed."),), event
    members = walk.members_until_now(event.family)
    if event.type == REDEMPTION_ROLLBACK and any(_is_rollback(each, original) for each in members):
        return (Reason(OVER_CORRECTED, "The redemption was rolled back before."),), event
    if original.amount is None or event.type == CHECKOUT_REJECT:
        return (), event
    if event.type == CHECKOUT_UPDATE:
        refunded, total = refunded_of(original, members), event.amount or ZERO
        if total < refunded:
            message = f"The new total {plain(total)} is below {plain(refunded)}, which was refunded."
            return (Reason(OVER_CORRECTED, message),), event
        return (), event
    if not is_opposite(event, original):
        return (), event
    left = _left_of(original, members)
    if event.amount is None:
        return (), replace(event, amount=left, currency=original.currency)
    if event.currency == original.currency and event.amount > left:
        message = f"The amount {plain(event.amount)} exceeds {plain(left)}, which is left of the corrected event."
        return (Reason(OVER_CORRECTED, message),), event
    return (), event


def _is_rollback(event: Event, original: Event) -> bool:
    return event.type == REDEMPTION_ROLLBACK and event.correction_of == original.id


def _left_of(original: Event, members: Sequence[Event]) -> Decimal:
    """Return what corrections may still take back of an event."""
    if original.type == CHECKOUT:
        # The differences to a total of this instant are made only after all events of the instant.
        left = subtract(total_of(original, members), refunded_of(original, members))
    else:
        left = net_amount(original, members) or ZERO
    return max(left, ZERO)
