"""Terms of an effect that gives or takes points: how many, for the net amount of the event that caused it.

A firing stores the terms of its version. So the points of later corrections follow the version that fired, even if that
version is not kept any more.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import ROUND_DOWN, ROUND_HALF_UP, ROUND_UP, Context, Decimal
from zoneinfo import ZoneInfo

from app.domain.events.events import Event
from app.domain.events.points_expiry import PointsExpiry
from app.domain.events.spend import SPEND_CATEGORY, has_sign, is_subtracted, signed_amount
from app.domain.values.decimals import ZERO, add_exactly, plain
from app.domain.values.instants import DAY_MS
from app.domain.values.periods import days_end_ms, period_end_ms

from .effects import AwardExpiry, AwardPoints, DeductPoints, PointsPerAmount, Rounding
from .matching import is_within
from .rules import OnCorrection, RuleVersion
from .triggers import EventTrigger

MAX_POINTS = 999_999_999_999_999
"""Points that one effect gives at most: as many as a recorded event may have. So sums of them stay exact."""
_EXACT = Context(prec=120)
_ROUNDING = {Rounding.DOWN: ROUND_DOWN, Rounding.HALF_UP: ROUND_HALF_UP, Rounding.UP: ROUND_UP}


@dataclass(frozen=True, slots=True)
class Terms:
    """Terms of one effect of a firing.

    - `sign`: 1 for an award, -1 for a deduction.
    - `fixed` or `per_amount`: the points, one of the two.
    - `low`, `high`: bounds of the net amount, both inclusive; outside, the effect gives nothing.
    - `has_amount`: the event has a positive amount, so that fixed points depend on what is left of it.
    - `expiry`, `matures_ms`: those of the first award.
    """

    sign: int
    fixed: Decimal | None
    per_amount: PointsPerAmount | None
    multiplier: Decimal
    low: Decimal | None = None
    high: Decimal | None = None
    has_amount: bool = False
    expiry: PointsExpiry | None = None
    matures_ms: int | None = None
    label: str | None = None

    def points(self, net: Decimal | None, *, is_removed: bool = False) -> Decimal:
        """Return the points for a net amount, None for an event without one. `is_removed`: it was removed.

        A correction that raises the amount gives MAX_POINTS at most.
        """
        return min(self._points(net, is_removed=is_removed), Decimal(MAX_POINTS))

    def is_too_large(self, net: Decimal | None) -> bool:
        """Return whether the points for a net amount exceed MAX_POINTS. Then the effect fails."""
        return self._points(net) > MAX_POINTS

    def _points(self, net: Decimal | None, *, is_removed: bool = False) -> Decimal:
        if is_removed or not is_within(self.low, self.high, net):
            return ZERO
        if self.per_amount is None:
            if self.has_amount and (net is None or net <= 0):
                return ZERO
            return self.sign * multiply_fixed(self.fixed or ZERO, self.multiplier)
        if net is None or net <= 0:
            return ZERO
        return self.sign * points_per_amount(self.per_amount, self.multiplier, net)

    def to_json(self) -> dict[str, object]:
        """Return the terms as JSON, decimals as text."""
        stored: dict[str, object] = {"sign": self.sign, "multiplier": plain(self.multiplier)}
        for name in ("fixed", "low", "high"):
            value = getattr(self, name)
            if value is not None:
                stored[name] = plain(value)
        if self.per_amount is not None:
            per = self.per_amount
            stored["per"] = [plain(per.points), plain(per.each), per.rounding.value, per.decimals]
        if self.has_amount:
            stored["amount"] = True
        if self.expiry is not None:
            days = self.expiry.after_days
            stored["end"] = {"at": self.expiry.at_ms} if days is None else {"days": days}
        if self.matures_ms is not None:
            stored["from"] = self.matures_ms
        if self.label is not None:
            stored["label"] = self.label
        return stored


def terms_from_json(stored: Mapping[str, object]) -> Terms:
    """Return the terms of their JSON."""

    def number(name: str) -> Decimal | None:
        return Decimal(str(stored[name])) if name in stored else None

    per, end, starts, label = stored.get("per"), stored.get("end"), stored.get("from"), stored.get("label")
    return Terms(
        -1 if stored["sign"] == -1 else 1,
        number("fixed"),
        _per_amount(per) if isinstance(per, list) else None,
        multiplier=number("multiplier") or Decimal(1),
        low=number("low"),
        high=number("high"),
        has_amount=bool(stored.get("amount")),
        expiry=PointsExpiry(end.get("at"), end.get("days")) if isinstance(end, Mapping) else None,
        matures_ms=starts if isinstance(starts, int) else None,
        label=None if label is None else str(label),
    )


def _per_amount(stored: list[object]) -> PointsPerAmount:
    points, each, rounding, decimals = stored
    assert isinstance(decimals, int)
    return PointsPerAmount(Decimal(str(points)), Decimal(str(each)), Rounding(str(rounding)), decimals=decimals)


def terms_of(rule: RuleVersion, effect: AwardPoints | DeductPoints, *, event: Event | None, at_ms: int) -> Terms:
    """Return the terms of an effect that fires at an instant for an event, or for something else if that is None."""
    bounds = rule.trigger if isinstance(rule.trigger, EventTrigger) else None
    low = None if bounds is None else bounds.amount_min
    high = None if bounds is None else bounds.amount_max
    has_amount = event is not None and event.amount is not None and event.amount > 0
    if isinstance(effect, DeductPoints):
        return Terms(
            -1,
            effect.points,
            None,
            multiplier=Decimal(1),
            low=low,
            high=high,
            has_amount=has_amount,
            label=effect.label,
        )
    matures_ms = at_ms + effect.pending_days * DAY_MS if effect.pending_days else None
    return Terms(
        1,
        effect.fixed,
        effect.per_amount,
        multiplier=effect.multiplier,
        low=low,
        high=high,
        has_amount=has_amount,
        expiry=None if effect.expiry is None else find_end(effect.expiry, ZoneInfo(rule.timezone), at_ms),
        matures_ms=matures_ms,
        label=effect.label,
    )


def find_end(expiry: AwardExpiry, zone: ZoneInfo, at_ms: int) -> PointsExpiry:
    """Return when points expire that are awarded at an instant."""
    if expiry.at_ms is not None:
        return PointsExpiry(expiry.at_ms)
    if expiry.after_days is not None:
        return PointsExpiry(days_end_ms(expiry.after_days, zone, at_ms))
    if expiry.after_inactive_days is not None:
        return PointsExpiry(after_days=expiry.after_inactive_days)
    assert expiry.end_of is not None
    return PointsExpiry(period_end_ms(expiry.end_of.unit, expiry.end_of.plus, zone, at_ms))


def round_points(points: Decimal, rounding: Rounding, decimals: int) -> Decimal:
    """Return points rounded to a number of decimals."""
    return points.quantize(Decimal(1).scaleb(-decimals), _ROUNDING[rounding], _EXACT)


def multiply_fixed(fixed: Decimal, multiplier: Decimal) -> Decimal:
    """Return the product, rounded down to as many decimals as the fixed points have."""
    exponent = fixed.as_tuple().exponent
    decimals = -exponent if isinstance(exponent, int) and exponent < 0 else 0
    return round_points(_EXACT.multiply(fixed, multiplier), Rounding.DOWN, decimals)


def points_per_amount(per: PointsPerAmount, multiplier: Decimal, net: Decimal) -> Decimal:
    """Return R(R(net / each) x points x multiplier), where the inner R rounds to whole numbers."""
    full = round_points(_EXACT.divide(net, per.each), per.rounding, 0)
    points = _EXACT.multiply(_EXACT.multiply(full, per.points), multiplier)
    return round_points(points, per.rounding, per.decimals)


def is_reversed(rule: RuleVersion) -> bool:
    """Return whether corrections of the cause correct the points that the rule gave."""
    return rule.on_correction is OnCorrection.REVERSE and isinstance(rule.trigger, EventTrigger)


def net_amount(event: Event, family: Iterable[Event]) -> Decimal | None:
    """Return the amount of an event less what its corrections among the family take back; None without an amount.

    A correction of a correction counts in the other direction. A correction that is no transaction changes nothing.
    """
    if event.amount is None:
        return None
    members = list(family)
    total = signed_net(event, members, frozenset({event.id}))
    return -total if is_subtracted(event.type) else total


def signed_net(event: Event, family: list[Event], seen: frozenset[str]) -> Decimal:
    """Return the signed amount of an event with all its corrections, without those in `seen`."""
    # A rule may ask for the new total that an update of a checkout has, although the total changes no spend.
    total = signed_amount(event) if has_sign(event.type) else event.amount or ZERO
    for each in family:
        # Only transactions take back or add money: a visit that names a purchase as corrected changes its points, not its
        # amount.
        is_counted = each.category is SPEND_CATEGORY and has_sign(each.type) and each.id not in seen
        if is_counted and each.correction_of == event.id and each.currency == event.currency:
            total = add_exactly(total, signed_net(each, family, seen | {each.id}))
    return total
