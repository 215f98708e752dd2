"""Parsers of the two kinds of window of a criterion: rolling (the last N days) and fixed (from, to)."""

from __future__ import annotations

from collections.abc import Mapping

from app.domain.errors import Code, InvalidInput

from .instants import DAY_MS, HOUR_MS, MINUTE_MS, parse_instant, to_ms

MAX_WITHIN_MS = 3660 * DAY_MS
UNITS = {"days": DAY_MS, "hours": HOUR_MS, "minutes": MINUTE_MS}


def parse_within(raw: object, *path: str) -> int:
    """Return a rolling window in ms from exactly one of {days, hours, minutes}.

    A window lasts from one minute to 3,660 days. Raises InvalidInput.
    """
    present = {unit: amount for unit, amount in raw.items() if amount is not None} if isinstance(raw, Mapping) else {}
    if len(present) != 1 or next(iter(present)) not in UNITS:
        raise InvalidInput(Code.INVALID, "Give exactly one of days, hours and minutes.", *path)
    [(unit, amount)] = present.items()
    if isinstance(amount, bool) or not isinstance(amount, int):
        raise InvalidInput(Code.INVALID, "Give a whole number.", *path, unit)
    if not 0 < amount * UNITS[unit] <= MAX_WITHIN_MS:
        raise InvalidInput(Code.OUT_OF_RANGE, "Give a window from one minute to 3,660 days.", *path, unit)
    return amount * UNITS[unit]


def within_dict(within_ms: int) -> dict[str, int]:
    """Return the window as {unit: amount}, in the largest unit of which it is a whole multiple."""
    unit, size = next((u, s) for u, s in UNITS.items() if within_ms % s == 0)
    return {unit: within_ms // size}


def parse_between(raw: object, path: tuple[str, ...]) -> tuple[int | None, int | None]:
    """Return a fixed window as (from ms, inclusive; to ms, exclusive), from {from, to}.

    Callers may omit one of the two; the window is then open on that side. Return (None, None) for None. Raises
    InvalidInput.
    """
    if raw is None:
        return None, None
    if not isinstance(raw, Mapping) or (raw.get("from") is None and raw.get("to") is None):
        raise InvalidInput(Code.REQUIRED, "Give from, to or both.", *path)
    start, end = (
        None if raw.get(name) is None else to_ms(parse_instant(raw[name], *path, name)) for name in ("from", "to")
    )
    if start is not None and end is not None and start >= end:
        raise InvalidInput(Code.OUT_OF_RANGE, "Give a from that is earlier than to.", *path)
    return start, end
