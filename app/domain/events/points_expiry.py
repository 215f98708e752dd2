"""Ends of points: at an instant, or a number of days after the last activity. What callers may say, and how it is read."""

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
    """When points end: at an instant in ms, or whole days of 24 h after the pass's last activity. Exactly one is given."""

    at_ms: int | None = None
    after_days: int | None = None

    def ms(self, active_ms: int) -> int:
        """The instant of the end, as long as nothing happens after `active_ms`."""
        return self.at_ms if self.at_ms is not None else active_ms + (self.after_days or 0) * DAY_MS

    @property
    def sent(self) -> str:
        """The end as part of a fingerprint: the same end, however it was spelt, gives the same text."""
        return f"{AT}={self.at_ms}" if self.at_ms is not None else f"{DAYS}={self.after_days}"


def parse_points_expiry(
    at: object, days: object, *, points: Decimal | None, corrects: bool, occurred_at: datetime | None
) -> PointsExpiry | None:
    """The end from what was sent as pointsExpireAt and pointsExpireAfterDays; None where neither was.

    `points` of the same event must be positive, or absent where it `corrects` another. `occurred_at` is the event's instant
    if it was sent; its own points cannot end by then. Raises Refused with every problem found.
    """
    if at is None and days is None:
        return None
    path = DAYS if at is None else AT
    problems: list[Problem] = []
    if at is not None and days is not None:
        problems.append(Problem(Code.INVALID, f"Give one of {AT} and {DAYS}.", (DAYS,)))
    earned, moved = points is not None and points > 0, corrects and not points
    if not (earned or moved):
        says = "Only points that are earned can end; to move the end of an event's points, give none and correctionOf."
        problems.append(Problem(Code.INVALID, says, (path,)))
    end = PointsExpiry()
    try:
        if at is None:
            end = PointsExpiry(after_days=_parse_days(days, path))
        else:
            expires_at = parse_instant(at, path)
            end = PointsExpiry(at_ms=to_ms(expires_at))
            if earned and occurred_at is not None and expires_at <= occurred_at:
                problems.append(Problem(Code.OUT_OF_RANGE, "The points would end before they are earned.", (path,)))
    except Refused as refused:
        problems.extend(refused.problems)
    refuse_if(problems)
    return end


def _parse_days(raw: object, *field: str) -> int:
    if isinstance(raw, str) and raw.isascii() and raw.isdigit() and len(raw) <= len(str(MAX_DAYS)):
        raw = int(raw)
    if not isinstance(raw, int) or isinstance(raw, bool):
        raise InvalidInput(Code.INVALID, "Give a whole number of days.", *field)
    if not 1 <= raw <= MAX_DAYS:
        raise InvalidInput(Code.OUT_OF_RANGE, f"Between 1 and {MAX_DAYS} days.", *field)
    return raw
