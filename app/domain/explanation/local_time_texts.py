"""Texts about local time, in English, for the sentence of an explanation."""

from __future__ import annotations

from zoneinfo import ZoneInfo

from app.domain.errors import InvalidInput
from app.domain.segments.moments import AnniversaryCriterion, RelativeCriterion
from app.domain.state.calendars import LocalPeriods
from app.domain.values.conditions import Operator
from app.domain.values.instants import from_ms, parse_instant, to_ms
from app.domain.values.periods import PeriodUnit

MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip


def instant_text(at_ms: int, zone: ZoneInfo) -> str:
    """Return an instant in local time: "3 March 2026 at 14:05 (Europe/Berlin)"."""
    at = from_ms(at_ms).astimezone(zone)
    return f"{at.day} {MONTHS[at.month - 1]} {at.year} at {at:%H:%M} ({zone.key})"


def instant_of(text: str) -> int | None:
    """Return the instant that a text is, in ms; None for other texts, such as dates."""
    try:
        return to_ms(parse_instant(text))
    except InvalidInput:
        return None


def window_text(periods: LocalPeriods) -> str:
    """Return where events of a calendar window lie: " today", " in the month before this one"."""
    unit = periods.unit.value.lower()
    is_day = periods.unit is PeriodUnit.DAY
    present = "today" if is_day else "this one"
    match periods.offset:
        case 0:
            return " today" if is_day else f" in this {unit}"
        case -1:
            return f" in the {unit} before {present}"
    return f" in the {unit} {-periods.offset} {unit}s before {present}"


def streak_text(unit: PeriodUnit, length: object) -> str:
    """Return the length of a streak: "3 months in a row"."""
    name = unit.value.lower()
    return f"{length} {name}{'' if length == 1 else 's'} in a row"


def moment_text(criterion: RelativeCriterion | AnniversaryCriterion) -> str:
    """Return what a criterion on instants or dates asks for: "an instant in the last 30 days"."""
    if isinstance(criterion, AnniversaryCriterion):
        unit = criterion.unit.value.lower()
        number = "" if criterion.nth is None else f" number {criterion.nth}"
        when = "today" if criterion.for_days == 1 else f"in the last {criterion.for_days} days"
        return f"{unit}ly anniversary{number} {when}"
    days = f"{abs(criterion.days)} day{'' if abs(criterion.days) == 1 else 's'}"
    edge = f"{days} ago" if criterion.days >= 0 else f"{days} from now"
    match criterion.operator:
        case Operator.WITHIN_LAST:
            return f"instant in the last {'day' if criterion.days == 1 else days}"
        case Operator.AFTER:
            return f"instant after {edge}"
    return f"instant before {edge}"
