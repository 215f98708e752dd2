"""Channels: ways in which messages reach customers, with their provider, consent, frequency cap and quiet hours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo

from app.domain.values.instants import from_ms, to_ms, truncate
from app.domain.values.periods import PeriodUnit, period_start_ms
from app.domain.values.windows import within_dict

MAX_CHANNELS = 50
"""Channels that a workspace may have, archived ones included."""
HOLD_SEARCH_DAYS = 3
"""Local days in which the end of quiet hours is looked for: a night may skip or repeat an hour."""


class ChannelKind(StrEnum):
    """What the customer receives."""

    EMAIL = "EMAIL"
    SMS = "SMS"
    PUSH = "PUSH"
    HTTP = "HTTP"


class Provider(StrEnum):
    """Service that sends the messages of a channel."""

    SMTP = "SMTP"
    HTTP = "HTTP"
    BRAZE = "BRAZE"
    MAILCHIMP = "MAILCHIMP"
    INTERCOM = "INTERCOM"
    ACTIVECAMPAIGN = "ACTIVECAMPAIGN"
    MAILBOX = "MAILBOX"


@dataclass(frozen=True, slots=True)
class FrequencyCap:
    """Largest number of messages of a channel to one pass, in a window or in a calendar period."""

    count: int
    within_ms: int | None = None
    calendar: PeriodUnit | None = None

    def start(self, at: datetime, zone: ZoneInfo) -> datetime:
        """Return the instant from which messages count at an instant."""
        if self.within_ms is not None:
            return at - timedelta(milliseconds=self.within_ms) + timedelta(milliseconds=1)
        assert self.calendar is not None, "a cap has a window or a calendar period"
        return from_ms(period_start_ms(self.calendar, zone, to_ms(at)))

    def to_json(self) -> dict[str, object]:
        """Return the cap as the input has it."""
        within = {} if self.within_ms is None else {"within": within_dict(self.within_ms)}
        return {
            "count": self.count, **within, **({} if self.calendar is None else {"calendar": self.calendar.value}),
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class QuietHours:
    """Hours of the day in which no message is sent, in minutes from local midnight: from inclusive, to exclusive."""

    from_minute: int
    to_minute: int
    timezone: str

    def end(self, at: datetime) -> datetime | None:
        """Return when the quiet hours end that contain an instant; None if it lies outside of them."""
        zone = ZoneInfo(self.timezone)
        local = at.astimezone(zone)
        minute = local.hour * 60 + local.minute
        if self.from_minute < self.to_minute:
            is_quiet = self.from_minute <= minute < self.to_minute
        else:
            is_quiet = minute >= self.from_minute or minute < self.to_minute
        if not is_quiet:
            return None
        midnight = datetime(local.year, local.month, local.day, tzinfo=zone)
        for day in range(HOLD_SEARCH_DAYS):
            # Wall-clock arithmetic: the same local time on the next day, whatever the clocks do in between.
            end = (midnight + timedelta(days=day, minutes=self.to_minute)).astimezone(at.tzinfo)
            if end > at:
                return truncate(end)
        raise AssertionError("quiet hours end within a day")


@dataclass(frozen=True, slots=True)
class Channel:
    """One channel of a workspace, without its secret.

    - `settings`: values for the provider, checked when they were stored.
    - `consent_key`: consent that the customer must have given; None if the channel needs none.
    - `version`: counts the changes. Instants are system time.
    """

    id: str
    workspace_id: str
    key: str
    name: str
    kind: ChannelKind
    provider: Provider
    created_at: datetime
    updated_at: datetime
    settings: Mapping[str, object] = field(default_factory=dict)
    consent_key: str | None = None
    frequency_cap: FrequencyCap | None = None
    quiet_hours: QuietHours | None = None
    is_archived: bool = False
    has_secret: bool = False
    version: int = 0

    @property
    def route(self) -> str:
        """How its messages reach customers, as the types of their activities name it."""
        if self.provider in (Provider.SMTP, Provider.HTTP, Provider.MAILBOX):
            return self.kind.value.lower()
        return self.provider.value.lower()

    def setting(self, name: str, default: str = "") -> str:
        """Return a setting as a text; the default if it has no value."""
        value = self.settings.get(name)
        return default if value is None else str(value)
