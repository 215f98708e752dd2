"""Instants: aware UTC datetimes in whole milliseconds for values, integer milliseconds for arithmetic."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

from app.domain.errors import Code, InvalidInput

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MINUTE_MS = 60_000
HOUR_MS = 3_600_000
DAY_MS = 86_400_000
MAX_GRACE_SECONDS = 30 * 86_400
# Earlier and later years are typing errors. Adding a window to the last years of datetime would overflow.
EARLIEST = datetime(1900, 1, 1, tzinfo=UTC)
LATEST = datetime(2200, 1, 1, tzinfo=UTC)


def truncate(at: datetime) -> datetime:
    """Return the instant in UTC, truncated to milliseconds."""
    if at.tzinfo is not UTC:
        at = at.astimezone(UTC)
    excess_microseconds = at.microsecond % 1000
    return at.replace(microsecond=at.microsecond - excess_microseconds) if excess_microseconds else at


def to_ms(at: datetime) -> int:
    """Return the milliseconds from 1970-01-01T00:00:00Z to an aware datetime, rounded down."""
    since = at - EPOCH
    return since.days * DAY_MS + since.seconds * 1000 + since.microseconds // 1000


def from_ms(ms: int) -> datetime:
    """Return the aware UTC datetime that lies `ms` milliseconds after 1970-01-01T00:00:00Z."""
    return EPOCH + timedelta(milliseconds=ms)


def utc_midnight(day: date) -> datetime:
    """Return the instant at which a day begins in UTC."""
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def format_instant(at: datetime) -> str:
    """Return the instant as RFC 3339 in UTC, with milliseconds and `Z`.

    Responses, files and messages use this format.
    """
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse_instant(raw: object, *field: str) -> datetime:
    """Return an aware UTC datetime, truncated to milliseconds.

    `raw` is an aware datetime or an RFC 3339 text with an offset. Raises InvalidInput: INVALID for other values,
    OUT_OF_RANGE outside the years 1900 to 2199.
    """
    at = raw
    if isinstance(raw, str):
        # datetime.fromisoformat accepts more than RFC 3339: week dates, dates without a time, times without an offset.
        if len(raw) < 20 or len(raw) > 40 or raw[10:11] not in ("T", "t", " ") or raw[4:5] != "-":
            raise _not_an_instant(field)
        try:
            at = datetime.fromisoformat(raw)
        except ValueError:
            raise _not_an_instant(field) from None
    if not isinstance(at, datetime) or at.tzinfo is None:
        raise _not_an_instant(field)
    try:
        at = truncate(at)
    except (OverflowError, ValueError):
        raise _out_of_range(field) from None
    if not EARLIEST <= at < LATEST:
        raise _out_of_range(field)
    return at


def parse_grace(seconds: int, *field: str) -> timedelta:
    """Return how long a replaced secret stays valid: up to 30 days. Raises InvalidInput: OUT_OF_RANGE."""
    if not 0 <= seconds <= MAX_GRACE_SECONDS:
        raise InvalidInput(Code.OUT_OF_RANGE, f"Give 0 to {MAX_GRACE_SECONDS} seconds.", *field)
    return timedelta(seconds=seconds)


def _not_an_instant(field: tuple[str, ...]) -> InvalidInput:
    return InvalidInput(
        Code.INVALID, "Write the instant as RFC 3339 with an offset, for example 2026-01-31T09:30:00Z.", *field
    )


def _out_of_range(field: tuple[str, ...]) -> InvalidInput:
    return InvalidInput(Code.OUT_OF_RANGE, "Give an instant in the years 1900 to 2199.", *field)
