"""Channels: quiet hours over midnight and changes of clocks, frequency caps, settings and addresses."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.errors import Code, Refused
from app.domain.messages.addresses import address_of, find_address_fault
from app.domain.messages.channels import Channel, ChannelKind, FrequencyCap, Provider, QuietHours
from app.domain.messages.parsing import parse_cap, parse_key, parse_quiet_hours, parse_settings
from app.domain.messages.unsubscribing import Unsubscription, is_genuine, issue_token, read_token
from app.domain.passes.passes import Profile
from app.domain.values.periods import PeriodUnit

AT = datetime(2026, 1, 1, tzinfo=UTC)
NIGHT = QuietHours(22 * 60, 8 * 60, "Europe/Berlin")


def channel(kind: ChannelKind, provider: Provider, **settings: object) -> Channel:
    """Return a channel."""
    return Channel(
        id="chan_1", workspace_id="ws_1", key="mail", name="Mail", kind=kind, provider=provider,
        created_at=AT, updated_at=AT, settings=settings,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("at", "end"),
    [
        ("2026-01-10T20:59:59+00:00", None),
        ("2026-01-10T21:00:00+00:00", "2026-01-11T07:00:00+00:00"),
        ("2026-01-11T06:59:59+00:00", "2026-01-11T07:00:00+00:00"),
        ("2026-01-11T07:00:00+00:00", None),
        # The clocks go forward in this night, and back in the other one.
        ("2026-03-28T22:00:00+00:00", "2026-03-29T06:00:00+00:00"),
        ("2026-10-24T21:00:00+00:00", "2026-10-25T07:00:00+00:00"),
    ],
)
def test_quiet_hours_end_at_the_local_time(at: str, end: str | None) -> None:
    found = NIGHT.end(datetime.fromisoformat(at))
    assert found == (None if end is None else datetime.fromisoformat(end))


@given(
    st.integers(1_577_836_800, 1_893_456_000),
    st.integers(0, 1439),
    st.integers(0, 1439),
    st.sampled_from(["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "UTC"]),
)
def test_quiet_hours_end_later_and_within_a_day(seconds: int, start: int, stop: int, zone: str) -> None:
    at = datetime.fromtimestamp(seconds, UTC)
    end = QuietHours(start, stop, zone).end(at) if start != stop else None
    assert end is None or at < end <= at + timedelta(hours=26)


def test_frequency_cap_counts_from_the_start_of_its_window() -> None:
    zone, at = ZoneInfo("Europe/Berlin"), datetime(2026, 1, 15, 12, tzinfo=UTC)
    assert FrequencyCap(1, within_ms=86_400_000).start(at, zone) == at - timedelta(days=1) + timedelta(milliseconds=1)
    assert FrequencyCap(1, calendar=PeriodUnit.WEEK).start(at, zone) == datetime(2026, 1, 11, 23, tzinfo=UTC)


@pytest.mark.parametrize(
    ("kind", "address", "is_good"),
    [
        (ChannelKind.EMAIL, "ann@home.test", True),
        (ChannelKind.EMAIL, "ann+tag@home.test", True),
        (ChannelKind.EMAIL, "ann", False),
        (ChannelKind.EMAIL, "ann@home.test\nBcc: eve@evil.test", False),
        (ChannelKind.EMAIL, "ann@home.test\r", False),
        (ChannelKind.EMAIL, "Ann <ann@home.test>", False),
        (ChannelKind.EMAIL, "a@b.test,c@d.test", False),
        (ChannelKind.EMAIL, "a@" + "b" * 260, False),
        (ChannelKind.SMS, "+49 (30) 123-456", True),
        (ChannelKind.SMS, "030", False),
        (ChannelKind.SMS, "+49 30 123456\n", False),
        (ChannelKind.PUSH, "token", True),
    ],
)
def test_address_is_one_address_and_nothing_else(kind: ChannelKind, address: str, is_good: bool) -> None:
    assert (find_address_fault(kind, address) is None) == is_good


def test_address_follows_the_kind_and_the_provider() -> None:
    profile = Profile(holder={"email": "a@b.test", "phone": "030 123456"}, fields={"pushToken": "t", "device": 7})
    cases = [
        (channel(ChannelKind.EMAIL, Provider.SMTP), "a@b.test"),
        (channel(ChannelKind.SMS, Provider.HTTP), "030 123456"),
        (channel(ChannelKind.PUSH, Provider.HTTP), "t"),
        (channel(ChannelKind.PUSH, Provider.HTTP, addressField="device"), "7"),
        (channel(ChannelKind.PUSH, Provider.INTERCOM), "a@b.test"),
        (channel(ChannelKind.HTTP, Provider.HTTP), "ann"),
        (channel(ChannelKind.SMS, Provider.BRAZE), "ann"),
    ]
    assert [address_of(each, "ann", profile) for each, _ in cases] == [address for _, address in cases]
    assert address_of(channel(ChannelKind.EMAIL, Provider.SMTP), "ann", Profile()) is None


@pytest.mark.parametrize(
    ("provider", "raw", "problems"),
    [
        (Provider.SMTP, {}, {"host": Code.REQUIRED, "from": Code.REQUIRED}),
        (Provider.SMTP, {"host": "a b", "from": "x"}, {"host": Code.INVALID, "from": Code.INVALID}),
        (Provider.SMTP, {"host": "h", "from": "a@b.test", "port": 0, "tls": True},
         {"port": Code.OUT_OF_RANGE, "tls": Code.UNKNOWN}),
        (Provider.SMTP, {"host": "h", "from": "a@b.test", "security": "NONE", "username": "u"},
         {"security": Code.INVALID}),
        (Provider.SMTP, {"host": "h", "from": "a@b.test\r\nBcc: c@d.test"}, {"from": Code.INVALID}),
        (Provider.HTTP, {"url": "ftp://x"}, {"url": Code.INVALID}),
        (Provider.HTTP, {"url": "https://u:p@x.test"}, {"url": Code.INVALID}),
        (Provider.MAILCHIMP, {"event": "e" * 31}, {"listId": Code.REQUIRED, "event": Code.TOO_LONG}),
    ],
)  # fmt: skip
def test_wrong_settings_are_refused_by_name(
    provider: Provider, raw: dict[str, object], problems: dict[str, Code]
) -> None:
    with pytest.raises(Refused) as refused:
        parse_settings(raw, "settings", provider=provider, has_secret=True)
    assert {each.field[1]: each.code for each in refused.value.problems} == problems


def test_settings_have_defaults() -> None:
    smtp = parse_settings({"host": "h", "from": "a@b.test"}, provider=Provider.SMTP, has_secret=False)
    assert (smtp["security"], smtp["port"]) == ("STARTTLS", 587)
    url = parse_settings({"url": "https://x.test"}, provider=Provider.HTTP, has_secret=False)
    assert url["authentication"] == "NONE"


@pytest.mark.parametrize(
    "raw",
    [{"count": 0, "calendar": "DAY"}, {"count": 1}, {"count": 1, "calendar": "YEAR"}, {"count": 1, "within": {"days": 93}},
     {"count": 1, "calendar": "DAY", "within": {"days": 1}}],
)  # fmt: skip
def test_wrong_frequency_cap_is_refused(raw: dict[str, object]) -> None:
    with pytest.raises(Refused):
        parse_cap(raw, "frequencyCap")


@pytest.mark.parametrize(
    "raw", [{"from": "22:00"}, {"from": "9", "to": "10:00"}, {"from": "08:00", "to": "08:00"},
            {"from": "00:00", "to": "24:00"}, {"from": "22:00", "to": "08:00", "timezone": "Mars/Base"}],
)  # fmt: skip
def test_wrong_quiet_hours_are_refused(raw: dict[str, object]) -> None:
    with pytest.raises(Refused):
        parse_quiet_hours(raw, "quietHours", timezone="UTC")


@pytest.mark.parametrize("raw", ["", "Mail", "a b", "-a", "x" * 64, 7, None])
def test_wrong_key_is_refused(raw: object) -> None:
    with pytest.raises(Refused):
        parse_key(raw, "key")


def test_link_is_genuine_only_with_the_key_of_its_workspace() -> None:
    named = Unsubscription("ws_1", "pass_1", "chan_1")
    token = issue_token(b"key", named)
    assert read_token(token) == named
    assert is_genuine(b"key", token, named)
    assert not is_genuine(b"other", token, named)
    assert not is_genuine(b"key", token + "A", named)
    assert [read_token(text) for text in ("", "é", "AAAA", "x" * 1_000)] == [None] * 4
