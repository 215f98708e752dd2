"""Events with what a walk decided about them."""

from __future__ import annotations

from dataclasses import replace

from .events import Event
from .guards import COUNTED, Decision


def with_decision(event: Event, decision: Decision | None) -> Event | None:
    """Return an event of the last walk as its clearing will store it; None if it was declined.

    `decision` is None for an event that counts as recorded.
    """
    if decision is None:
        return replace(event, outcome=COUNTED)
    if decision.is_declined:
        return None
    return replace(
        event,
        amount=event.amount if decision.amount is None else decision.amount,
        step=decision.step or event.step,
        outcome=decision.outcome,
    )
