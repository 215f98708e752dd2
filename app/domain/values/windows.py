"""The two kinds of window that a criterion may have: rolling (the last N days), and fixed (from, to)."""

from __future__ import annotations

from collections.abc import Mapping

from app.domain.errors import Code, InvalidInput

from .instants import DAY_MS, HOUR_MS, MINUTE_MS, parse_instant, to_ms

MAX_WITHIN_MS = 3660 * DAY_MS
UNITS = {"days": DAY_MS, "hours": HOUR_MS, "minutes": MINUTE_MS}


def parse_within(raw: object, *path: str) -> int:
    """A rolling window in ms from {days | hours | minutes}: from one minute to ten years. Raises InvalidInput."""
    given = {k: v for k, v in raw.items() if v is not None} if isinstance(raw, Mapping) else {}
    if len(given) != 1 or next(iter(given)) not in UNITS:
        raise InvalidInput(Code.INVALID, "Exactly one of days, hours and minutes.", *path)
    [(unit, amount)] = given.items()
    if isinstance(amount, bool) or not isinstance(amount, int):
        raise InvalidInput(Code.INVALID, "Give a whole number.", *path, unit)
    if not 0 < amount * UNITS[unit] <= MAX_WITHIN_MS:
        raise InvalidInput(Code.OUT_OF_RANGE, "From one minute to 3,660 days.", *path, unit)
    return amount * UNITS[unit]


def within_dict(within_ms: int) -> dict[str, int]:
    """The window in the largest unit that writes it whole."""
    unit, size = next((u, s) for u, s in UNITS.items() if within_ms % s == 0)
    return {unit: within_ms // size}


def parse_between(raw: object, path: tuple[str, ...]) -> tuple[int | None, int | None]:
    """(from ms, inclusive; to ms, exclusive) from {from, to}, either of which may be left out. Raises InvalidInput."""
    if raw is None:
        return None, None
    if not isinstance(raw, Mapping) or (raw.get("from") is None and raw.get("to") is None):
        raise InvalidInput(Code.REQUIRED, "Give from, to or both.", *path)
    start, end = (
        None if raw.get(name) is None else to_ms(parse_instant(raw[name], *path, name)) for name in ("from", "to")
    )
    if start is not None and end is not None and start >= end:
        raise InvalidInput(Code.OUT_OF_RANGE, "from lies before to.", *path)
    return start, end
