"""Corrections: events that make good what an earlier one counted too much or too little. The earlier one stays as it is.

Nothing is taken back: a correction counts with its own signed amount at its own instant, like any other event. So sums,
windows and segments follow by themselves, and a rebuild comes to the same.
"""

from __future__ import annotations

from dataclasses import replace

from app.domain.errors import Code, InvalidInput
from app.domain.values.decimals import plain

from .events import INTERNAL_TYPES, SUBTRACTED_TYPES, Category, Event
from .validation import Draft

FIELD = "correctionOf"


def apply_correction(draft: Draft, original: Event | None) -> Draft:
    """The draft of a correction as it counts beside its original, which may be a correction itself; None: the pass has no
    such event.

    A transaction against its original's direction (a refund of a purchase, a charge for a refund) that names no amount
    stands for the whole of it, and one that names an amount stays within it; each by itself, for what others took back
    is not added up. An amount without a currency is in the original's. Points are only those given.
    Raises InvalidInput: UNKNOWN for an original that is not an event of this pass, INVALID, OUT_OF_RANGE.
    """
    if original is None or original.type in INTERNAL_TYPES:
        raise InvalidInput(
            Code.UNKNOWN, "No such event on this pass; give the id of one that was recorded on it.", FIELD
        )
    if original.amount is None:
        return draft
    if draft.sent_currency not in (None, original.currency):
        said = f"What it corrects is in {original.currency}; give that currency, or none."
        raise InvalidInput(Code.INVALID, said, "currency")
    if _opposed(draft, original):
        if draft.amount is None:
            return replace(draft, amount=original.amount, currency=original.currency)
        if draft.amount > original.amount:
            said = f"At most {plain(original.amount)}, the amount of what it corrects."
            raise InvalidInput(Code.OUT_OF_RANGE, said, "amount")
    return draft if draft.amount is None else replace(draft, currency=original.currency)


def _opposed(draft: Draft, original: Event) -> bool:
    both = draft.category is original.category is Category.TRANSACTION
    return both and (draft.type in SUBTRACTED_TYPES) is not (original.type in SUBTRACTED_TYPES)
