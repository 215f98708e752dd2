"""Time zones: names of the IANA list, and the instants at which the days of a zone begin.

Stores disagree on days whose midnight does not exist or comes twice. So Punchcard computes the days itself, from the
zones of Python's `zoneinfo`, and a store only gets instants and offsets.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from datetime import date, datetime, timedelta
from functools import cache
from importlib.metadata import version
from importlib.resources import files
from typing import NamedTuple
from zoneinfo import ZoneInfo, reset_tzpath

from app.domain.errors import Code, InvalidInput

from .instants import DAY_MS, EARLIEST, LATEST, from_ms, to_ms
from .spelling import did_you_mean

# All processes must compute the same days. The zones of a system may be of another version than the package.
reset_tzpath(())
TZDATA_VERSION = version("tzdata")
"""The version of the package with the time zone data that this process uses."""
UTC = ZoneInfo("UTC")
_EPOCH_DAY = date(1970, 1, 1).toordinal()
_NO_PLACE = frozenset({"Factory"})
"""Names in the list of the tzdata package that stand for no place."""
_QUOTED_CHARACTERS = 50
"""Characters of a refused name that the message quotes and compares with the names of zones."""
_STEP = timedelta(days=3)
"""Interval at which offsets are compared. Two changes of a zone's clocks lie at least 6.9 days apart (tzdata 2026)."""


class OffsetChange(NamedTuple):
    """Instant from which a zone has an offset to UTC, both in ms."""

    at_ms: int
    offset_ms: int


class Days:
    """Days of a time zone, each as the instants from its start to the start of the next day.

    Where clocks go back over a midnight, the repeated time before midnight belongs to the later day. So each day is one
    stretch of time. A day that a zone skipped is empty.
    """

    def __init__(self, zone: ZoneInfo) -> None:
        self._starts_ms, self._offsets_ms = array("q"), array("q")
        for at_ms, offset_ms in _find_changes(zone):
            start_ms = at_ms
            if self._starts_ms:
                day = (at_ms - 1 + self._offsets_ms[-1]) // DAY_MS
                if day > (at_ms + offset_ms) // DAY_MS:
                    start_ms = day * DAY_MS - offset_ms
            self._starts_ms.append(start_ms)
            self._offsets_ms.append(offset_ms)

    def day_of(self, at_ms: int) -> date:
        """Return the day that contains an instant."""
        return date.fromordinal(self.local_ms(at_ms) // DAY_MS + _EPOCH_DAY)

    def local_ms(self, at_ms: int) -> int:
        """Return the local time at an instant, in ms, as if it were UTC."""
        return at_ms + self._offsets_ms[max(0, bisect_right(self._starts_ms, at_ms) - 1)]

    def start_ms(self, day: date) -> int:
        """Return the first instant of a day, or of the next day that is not empty."""
        local_ms = (day.toordinal() - _EPOCH_DAY) * DAY_MS
        index = max(0, bisect_right(self._starts_ms, local_ms - 2 * DAY_MS) - 1)
        while index + 1 < len(self._starts_ms) and self._starts_ms[index + 1] + self._offsets_ms[index] <= local_ms:
            index += 1
        start_ms = local_ms - self._offsets_ms[index]
        return start_ms if index == 0 else max(self._starts_ms[index], start_ms)

    def offsets(self, low_ms: int, high_ms: int) -> list[OffsetChange]:
        """Return the offsets that turn the instants from `low_ms` to `high_ms` into local time, in order of time.

        The first one holds for all instants before the second one, too.
        """
        first = max(0, bisect_right(self._starts_ms, low_ms) - 1)
        after = max(first + 1, bisect_right(self._starts_ms, high_ms - 1))
        return [OffsetChange(self._starts_ms[index], self._offsets_ms[index]) for index in range(first, after)]


@cache
def zone_names() -> frozenset[str]:
    """Return the names of the IANA list, as the tzdata package has them."""
    return frozenset((files("tzdata") / "zones").read_text(encoding="utf-8").split()) - _NO_PLACE


def parse_zone(raw: object, *path: str) -> ZoneInfo:
    """Return the time zone with an IANA name. Raises InvalidInput: UNKNOWN.

    Names that only some systems have are refused, such as "localtime", "posixrules" and "right/Europe/Berlin". The
    message suggests the name of a zone that is most like the one given.
    """
    if not isinstance(raw, str) or raw not in zone_names():
        given = str(raw)[:_QUOTED_CHARACTERS]
        question = _did_you_mean_zone(given)
        message = f'"{given}" is no IANA time zone.{question} Give a name such as "Europe/Berlin" or "UTC".'
        raise InvalidInput(Code.UNKNOWN, message, *path)
    return ZoneInfo(raw)


def _did_you_mean_zone(name: str) -> str:
    """Return the question that suggests a zone, with a blank before it; nothing if no zone is like the name.

    A name may lack its area, or have blanks: "new york" suggests America/New_York.
    """
    wanted = name.strip().replace(" ", "_").casefold()
    of_places = sorted(each for each in zone_names() if each.casefold().rpartition("/")[2] == wanted)
    return f" Did you mean '{of_places[0]}'?" if of_places else did_you_mean(name, zone_names())


def stored_zone(name: str) -> ZoneInfo:
    """Return the time zone of a workspace. Version 0.1.0 stored every name that its system had; others are UTC here."""
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, KeyError):
        return UTC


@cache
def _days_of(key: str) -> Days:
    return Days(ZoneInfo(key))


def days_of(zone: ZoneInfo) -> Days:
    """Return the days of a time zone. The first call for a zone takes about 15 ms."""
    return _days_of(zone.key)


def _find_changes(zone: ZoneInfo) -> list[OffsetChange]:
    """Return the offset at the start of the years that Punchcard accepts, and each change of the offset."""
    at, offset = EARLIEST, _offset(zone, EARLIEST)
    changes = [OffsetChange(to_ms(at), offset // timedelta(milliseconds=1))]
    while at < LATEST:
        later = at + _STEP
        new_offset = _offset(zone, later)
        if new_offset != offset:
            low, high = to_ms(at) // 1000, to_ms(later) // 1000
            while high - low > 1:
                middle = (low + high) // 2
                low, high = (middle, high) if _offset(zone, from_ms(middle * 1000)) == offset else (low, middle)
            changes.append(OffsetChange(high * 1000, new_offset // timedelta(milliseconds=1)))
        at, offset = later, new_offset
    return changes


def _offset(zone: ZoneInfo, at: datetime) -> timedelta:
    return at.astimezone(zone).utcoffset() or timedelta(0)
