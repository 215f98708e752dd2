"""Corrections: events that make good what an earlier event of the pass counted too much or too little.

The earlier event stays unchanged. A correction counts with its own signed amount at its own instant, like any other
event. So sums, windows and segments need no extra rule, and a rebuild gives the same result.
"""

from __future__ import annotations

from dataclasses import replace

from app.domain.errors import Code, InvalidInput, Problem
from app.domain.values.decimals import ZERO, plain

from .events import CHECKOUT, CHECKOUT_CORRECTIONS, INTERNAL_TYPES, Category, Event
from .spend import is_subtracted
from .validation import Draft

FIELD = "correctionOf"


def apply_correction(draft: Draft, original: Event | None) -> Draft:
    """Return the draft of a correction, with its amount and currency derived from the event that it corrects.

    `original` is that event, or None if the pass has no such event; it may be a correction itself. A transaction in the
    opposite direction, such as a refund of a purchase, may omit its amount. It then stands for what is left of the original
    when the walk decides. The walk also declines an amount that exceeds what is left. What would be declined for certain is
    refused here: an amount above that of the original, unless that is a checkout, whose total may rise. An amount without a
    currency gets the currency of the original. Points stay as sent. The draft also gets `corrected_order`, so that the
    correction counts after the original, and the `root` of the original's family.

    Raises InvalidInput: UNKNOWN if the pass has no such event, CAUSED_BY_RULE if a rule made it, NOT_COUNTED if it was
    declined, INVALID for another currency, OUT_OF_RANGE for a larger amount.
    """
    if original is None or original.type in INTERNAL_TYPES:
        raise InvalidInput(
            Code.UNKNOWN, "No such event on this pass; give the id of an event that was recorded on it.", FIELD
        )
    if original.is_made:
        message = "Punchcard made this event; correct the event that caused it, and Punchcard corrects what it made."
        raise InvalidInput(Code.CAUSED_BY_RULE, message, FIELD)
    if original.outcome.is_declined:
        message = "The event to correct was declined and does not count, so there is nothing to correct."
        raise InvalidInput(Code.NOT_COUNTED, message, FIELD)
    draft = replace(draft, corrected_order=original.depth_order, root=original.family)
    if draft.type in CHECKOUT_CORRECTIONS:
        if original.type != CHECKOUT or original.amount is None:
            raise InvalidInput(Code.INVALID, f"A {draft.type} corrects a checkout with an amount; give its id.", FIELD)
        draft = replace(draft, amount=ZERO if draft.amount is None else draft.amount)
    if original.amount is None:
        return draft
    if draft.sent_currency not in (None, original.currency):
        message = f"The corrected event is in {original.currency}; give that currency, or none."
        raise InvalidInput(Code.INVALID, message, "currency")
    if is_opposite(draft, original):
        if draft.amount is not None and draft.amount > original.amount and original.type != CHECKOUT:
            message = f"Give at most {plain(original.amount)}, the amount of the corrected event."
            raise InvalidInput(Code.OUT_OF_RANGE, message, "amount")
        return replace(draft, currency=original.currency)
    return draft if draft.amount is None else replace(draft, currency=original.currency)


def find_kept_points(event: Event, original: Event) -> Problem | None:
    """Return a remark if the event takes back money of the original and leaves the points of the original; else None."""
    if original.points <= 0 or event.points or not is_opposite(event, original):
        return None
    message = (
        f"This {event.type} takes back no points. The corrected event added {plain(original.points)}; they stay unless"
        " another event takes them back. To take points back, record negative `points` with `correctionOf`."
    )
    return Problem(Code.POINTS_KEPT, message, ("points",))


def is_opposite(correction: Draft | Event, original: Event) -> bool:
    """Return whether both are transactions, of which exactly one subtracts from sums of spend."""
    are_transactions = correction.category is original.category is Category.TRANSACTION
    return are_transactions and is_subtracted(correction.type) is not is_subtracted(original.type)
