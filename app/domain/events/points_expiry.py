"""Expiry of points: at an instant, or a number of days after the last activity of the pass."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from app.domain.errors import Code, InvalidInput, Problem, Refused, refuse_if
from app.domain.values.instants import DAY_MS, parse_instant, to_ms

MAX_DAYS = 3_650
AT, DAYS = "pointsExpireAt", "pointsExpireAfterDays"


@dataclass(frozen=True, slots=True)
class PointsExpiry:
    """Expiry of points: an instant in ms, or a number of days of 24 h after the last activity of the pass.

    Exactly one of the two fields has a value.
    """

    at_ms: int | None = None
    after_days: int | None = None

    def expires_ms(self, active_ms: int) -> int:
        """Return the instant of expiry in ms, if `active_ms` is the last activity of the pass."""
        return self.at_ms if self.at_ms is not None else active_ms + (self.after_days or 0) * DAY_MS

    @property
    def fingerprint_text(self) -> str:
        """The text that stands for the expiry in a fingerprint. Equal instants give equal texts."""
        return f"{AT}={self.at_ms}" if self.at_ms is not None else f"{DAYS}={self.after_days}"


def parse_points_expiry(
    at: object, days: object, *, points: Decimal | None, corrects: bool, occurred_at: datetime | None
) -> PointsExpiry | None:
    """Return the expiry from pointsExpireAt (`at`) or pointsExpireAfterDays (`days`); None if both are None.

    The event must earn `points`. A correction (`corrects`) may instead have no points: it moves the expiry of the
    points that the corrected event gave. Points that the event earns must expire after `occurred_at`, if the client
    sent that instant. Raises Refused with all problems.
    """
    if at is None and days is None:
        return None
    path = DAYS if at is None else AT
    problems: list[Problem] = []
    if at is not None and days is not None:
        problems.append(Problem(Code.INVALID, f"Give only one of {AT} and {DAYS}.", (DAYS,)))
    earns_points, moves_expiry = points is not None and points > 0, corrects and not points
    if not (earns_points or moves_expiry):
        message = (
            "Only earned points expire: give positive points. To move the expiry of an event's points, give"
            " correctionOf and no points."
        )
        problems.append(Problem(Code.INVALID, message, (path,)))
    expiry = PointsExpiry()
    try:
        if at is None:
            expiry = PointsExpiry(after_days=_parse_days(days, path))
        else:
            expires_at = parse_instant(at, path)
            expiry = PointsExpiry(at_ms=to_ms(expires_at))
            if earns_points and occurred_at is not None and expires_at <= occurred_at:
                message = "The points would expire before they are earned; give an instant after occurredAt."
                problems.append(Problem(Code.OUT_OF_RANGE, message, (path,)))
    except Refused as refused:
        problems.extend(refused.problems)
    refuse_if(problems)
    return expiry


def _parse_days(raw: object, *field: str) -> int:
    if isinstance(raw, str) and raw.isascii() and raw.isdigit() and len(raw) <= len(str(MAX_DAYS)):
        raw = int(raw)
    if not isinstance(raw, int) or isinstance(raw, bool):
        raise InvalidInput(Code.INVALID, "Give a whole number of days.", *field)
    if not 1 <= raw <= MAX_DAYS:
        raise InvalidInput(Code.OUT_OF_RANGE, f"Give 1 to {MAX_DAYS} days.", *field)
    return raw
