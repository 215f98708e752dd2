"""Checks of random programs: plain arithmetic over the events that count."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import ROUND_DOWN, ROUND_HALF_UP, ROUND_UP, Decimal

from app.domain.events.events import (
    CHECKOUT,
    CHECKOUT_DIFFERENCES,
    CHECKOUT_REJECT,
    CHECKOUT_UPDATE,
    INTERNAL_TYPES,
    POINT_ADD,
    POINT_SUB,
    RULE_FIRED,
    Event,
)
from app.domain.events.spend import signed_amount
from app.domain.rules.effects import AwardPoints, DeductPoints, Effect, Rounding
from app.domain.rules.rules import OnCorrection, RuleVersion
from app.domain.rules.triggers import EventTrigger
from tests.oracle import OraclePoints, points_until

from .programs import ProgramSimulation

ROUNDINGS = {Rounding.DOWN: ROUND_DOWN, Rounding.HALF_UP: ROUND_HALF_UP, Rounding.UP: ROUND_UP}


def net_of(event: Event, counted: Sequence[Event]) -> Decimal | None:
    """Return what is left of an amount: less refunds, and less the charges of refunds; with the changes of a checkout."""
    if event.amount is None:
        return None
    net = event.amount
    for each in counted:
        if each.correction_of != event.id or each.currency != event.currency:
            continue
        if each.type in ("refund", "charge"):
            net -= net_of(each, counted) or Decimal(0)
        elif each.type in CHECKOUT_DIFFERENCES:
            net += (each.amount or Decimal(0)) * (1 if each.type == "checkout_increased" else -1)
    return net


def points_due(version: RuleVersion, effect: Effect, target: Event | None, net: Decimal | None) -> Decimal:
    """Return what an effect gives for an event; None for an event that was removed."""
    trigger, none = version.trigger, Decimal(0)
    if target is None or not isinstance(effect, AwardPoints | DeductPoints):
        return none
    if isinstance(trigger, EventTrigger) and (trigger.amount_min is not None or trigger.amount_max is not None):
        low, high = trigger.amount_min or none, trigger.amount_max or Decimal(10**9)
        if net is None or not low <= net <= high:
            return none
    if isinstance(effect, DeductPoints):
        return none if net is not None and net <= 0 < (target.amount or none) else -effect.points
    per = effect.per_amount
    if per is None:
        if net is not None and net <= 0 < (target.amount or none):
            return none
        fixed = effect.fixed or none
        return (fixed * effect.multiplier).quantize(fixed, ROUND_DOWN)
    if net is None or net <= 0:
        return none
    full = (net / per.each).quantize(Decimal(1), ROUNDINGS[per.rounding])
    return (full * per.points * effect.multiplier).quantize(Decimal(1).scaleb(-per.decimals), ROUNDINGS[per.rounding])


def check_program(simulation: ProgramSimulation) -> int:
    """Assert that points, balance and checkouts follow from the events that count, and return the number of firings."""
    counted = simulation.counted
    by_id = {event.id: event for event in counted}
    versions = {
        (each.rule_id, each.version): each for each in simulation.program.versions if isinstance(each, RuleVersion)
    }
    fired = [event for event in counted if event.type == RULE_FIRED]
    causes = [(event.origin.rule, event.origin.cause) for event in fired]
    assert len(set(causes)) == len(causes), "a rule fired twice for one cause"
    for event in fired:
        version = versions[event.origin.rule or "", event.origin.rule_version or 0]
        target, is_of_event = by_id.get(event.origin.cause or ""), isinstance(version.trigger, EventTrigger)
        if version.on_correction is OnCorrection.KEEP or not is_of_event or event.metadata.get("control"):
            continue
        net = None if target is None else net_of(target, counted)
        for index, effect in enumerate(version.effects):
            if not isinstance(effect, AwardPoints | DeductPoints):
                continue
            given = [
                each.points for each in counted
                if each.is_made and (each.origin.rule, each.origin.effect) == (event.origin.rule, index)
                and (each.origin.target or each.origin.cause) == event.origin.cause
            ]  # fmt: skip
            due = points_due(version, effect, target, net)
            assert sum(given, Decimal(0)) == due, (event.origin, index, given, due, net)
    for each in simulation.made:
        version_of = versions.get((each.origin.rule or "", each.origin.rule_version or 0))
        if each.origin.target is not None and version_of is not None:
            assert version_of.on_correction is OnCorrection.REVERSE
    _check_checkouts(counted)
    at_ms = simulation.card.evaluated_until_ms
    assert points_until(map(to_oracle, counted), at_ms).balance == simulation.card.points
    numbers = [entry.number for entry in simulation.entries]
    assert numbers == list(range(1, len(numbers) + 1))
    return len(fired)


def _check_checkouts(counted: Sequence[Event]) -> None:
    for checkout in (event for event in counted if event.type == CHECKOUT):
        family = [event for event in counted if event.correction_of == checkout.id]
        corrections = [event for event in family if event.type in (CHECKOUT_UPDATE, CHECKOUT_REJECT)]
        total = checkout.amount
        if corrections:
            last = max(corrections, key=lambda event: (max(event.occurred_ms, checkout.occurred_ms), event.id))
            if last.type == CHECKOUT_REJECT and any(event.type == "refund" for event in family):
                # What a reject takes depends on the refunds that counted before it.
                continue
            total = last.amount if last.type == CHECKOUT_UPDATE else Decimal(0)
        present = (checkout.amount or Decimal(0)) + sum(
            (signed_amount(event) for event in family if event.type in CHECKOUT_DIFFERENCES), Decimal(0)
        )
        assert present == total, (checkout.id, present, total)


def to_oracle(event: Event) -> OraclePoints:
    """Return an event as the oracle of points sees it."""
    expiry = event.points_expiry
    return OraclePoints(
        event.id,
        event.occurred_ms,
        event.points,
        ends_at_ms=None if expiry is None else expiry.at_ms,
        idle_days=None if expiry is None else expiry.after_days,
        corrects=event.correction_of,
        step=event.step,
        is_activity=not event.is_made and event.type not in INTERNAL_TYPES,
        is_award=event.is_made and event.type in (POINT_ADD, POINT_SUB),
        is_reversal=event.metadata.get("reversal") is True,
        is_difference=event.origin.target is not None,
        matures_at_ms=event.matures_ms,
    )


def told(simulation: ProgramSimulation) -> list[object]:
    """Return all that the pass reported, in order."""
    return [
        (each.number, each.type, each.at_ms, dict(each.cause), dict(each.refs), each.made and each.made.id, each.late)
        for each in simulation.entries
    ]
