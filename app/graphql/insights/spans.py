"""Time of a question about customers: two instants in a time zone, with the profile of the workspace."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from app.commands.insights.customer_questions import Span
from app.domain.errors import Code, InvalidInput
from app.domain.values.currencies import parse_currency
from app.domain.values.instants import DAY_MS, to_ms
from app.domain.values.text import parse_text
from app.domain.workspaces import WorkspaceProfile
from app.graphql.context import Info
from app.graphql.passes.statistics import parse_time, zone_of
from app.graphql.types.filters import parse_each
from app.graphql.types.freshness import Freshness, read_freshness

MAX_SPAN_DAYS = 3_660
"""Days from `from` to `to`."""
FROM = "Events that occurred at this instant or later. Default: no lower bound."
TO = f"Events that occurred before this instant, at most {MAX_SPAN_DAYS:,} days after `from`. Default: now."
TIMEZONE = "IANA time zone of local days, weeks and months. Default: the time zone of the workspace."
TYPES = (
    "Event types that count as an activity of the customer, at most 50. Default: all types, without events that rules made "
    "and without changes that `updatePass` records."
)
CURRENCY = "Currency of the revenue: a code of ISO 4217. Default: the currency of the workspace."


@dataclass(frozen=True, slots=True)
class Asked:
    """Checked time of a question, the profile of the workspace, and how current the answer is."""

    span: Span
    profile: WorkspaceProfile
    freshness: Freshness

    def currency(self, sent: str | None) -> str:
        """Return the currency that a question names, or else that of the workspace. Raises InvalidInput."""
        return self.profile.currency if sent is None else parse_currency(sent, "input", "currency")


async def parse_span(info: Info, from_at: object, to_at: object, timezone: str | None) -> Asked:
    """Return the time of a question. Without `to`, it ends with the present millisecond. Raises InvalidInput.

    Call it before the events are read: a removal that finishes in between is then reported as pending.
    """
    profile = await info.context.commands.profile()
    now = await info.context.commands.now()
    zone = zone_of(timezone, profile, "input")
    start, end = await parse_time(info, None, None, "input", from_at=from_at, to_at=to_at)
    end = end or now + timedelta(milliseconds=1)
    if start is not None and start >= end:
        raise InvalidInput(Code.OUT_OF_RANGE, "`from` must lie before now, or before `to`.", "input", "from")
    if start is not None and to_ms(end) - to_ms(start) > MAX_SPAN_DAYS * DAY_MS:
        message = f"Ask for at most {MAX_SPAN_DAYS:,} days, which are ten years."
        raise InvalidInput(Code.OUT_OF_RANGE, message, "input", "from")
    span = Span(None if start is None else to_ms(start), to_ms(end), zone, now_ms=to_ms(now))
    return Asked(span, profile, await read_freshness(info, now))


def parse_types(types: list[str] | None) -> list[str]:
    """Return the types that a question names; none for None. Raises InvalidInput."""
    return parse_each(types, parse_text, "input", "types")
