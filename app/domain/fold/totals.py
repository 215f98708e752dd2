"""Points of a pass at an instant of its walk, as rules compare them."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal


@dataclass(frozen=True, slots=True)
class Totals:
    """Points of a pass: the balance, and what was earned in all if a rule asks for it."""

    balance: Decimal
    earned: Decimal
