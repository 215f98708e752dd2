"""Figures as an owner reads them: numbers with thousands, money with its currency, and changes in percent."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal

from app.domain.values.currencies import minor_units
from app.domain.values.decimals import WIDE_ROUNDED

NO_VALUE = "–"


@dataclass(frozen=True, slots=True)
class Figure:
    """Figure of a month and of the month before, with its name. `currency` is None for a count.

    A value is None if there is none, such as an average without orders.
    """

    name: str
    value: Decimal | None
    before: Decimal | None
    currency: str | None = None

    @property
    def text(self) -> str:
        """The value, as an owner reads it."""
        return _show_any(self.value, self.currency)

    @property
    def text_before(self) -> str:
        """The value of the month before."""
        return _show_any(self.before, self.currency)

    @property
    def change(self) -> str:
        """The change since the month before, such as "+12 %". Of nothing, there is no change in percent."""
        if self.value is None or self.before is None:
            return NO_VALUE
        if self.value == self.before:
            return "±0 %"
        if self.before <= 0:
            return NO_VALUE
        ratio = WIDE_ROUNDED.divide(self.value - self.before, self.before)
        return f"{_rounded(ratio * 100, 1 if abs(ratio) < Decimal('0.1') else 0):+,} %"

    @property
    def direction(self) -> str:
        """Whether the figure went "up" or "down", or stayed the "same"."""
        if self.value is None or self.before is None or self.value == self.before:
            return "same"
        return "up" if self.value > self.before else "down"


def show(value: Decimal, currency: str | None = None) -> str:
    """Return a count such as "1,234", or an amount with the decimal places of its currency, such as "1,234.50 EUR"."""
    if currency is None:
        return f"{value:,f}"
    places = minor_units(currency)
    return f"{value if places is None else _rounded(value, places):,f} {currency}"


def shorten(number: int) -> str:
    """Return a count in a few characters, such as "950", "9.5k", "95k" or "1.2M"."""
    if number < 1_000:
        return str(number)
    size, unit = (1_000, "k") if number < 999_500 else (1_000_000, "M")
    scaled = Decimal(number) / size
    return f"{_rounded(scaled, 1 if scaled < Decimal('9.95') else 0):,f}{unit}"


def percent(part: int, whole: int) -> str:
    """Return a share in whole percent, such as "42 %"."""
    return f"{_rounded(WIDE_ROUNDED.divide(100 * Decimal(part), Decimal(whole)), 0):f} %"


def _show_any(value: Decimal | None, currency: str | None) -> str:
    return NO_VALUE if value is None else show(value, currency)


def _rounded(value: Decimal, places: int) -> Decimal:
    rounded = value.quantize(Decimal(1).scaleb(-places), rounding=ROUND_HALF_EVEN, context=WIDE_ROUNDED)
    return rounded if rounded else abs(rounded)
