"""Consents: functions of the set of events, in whatever order these are recorded."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import permutations

from app.domain.events.events import CONSENT_GIVEN, CONSENT_REVOKED, Event, Origin
from app.domain.events.own_events import own_event
from app.domain.passes.consents import MAX_CONSENTS, Consent, consent_metadata
from app.domain.passes.passes import Profile, apply_changes
from app.domain.passes.profiles import apply_field_event, rebuild_profile

START = datetime(2026, 1, 1, tzinfo=UTC)


def consent(number: int, day: int, *, given: bool, key: str = "marketing", how: str | None = None) -> Event:
    """Return an event that gives or revokes a consent on a day."""
    return own_event(
        f"event_{number}", "pass_1", CONSENT_GIVEN if given else CONSENT_REVOKED,
        at=START + timedelta(days=day), origin=Origin("API"), metadata=consent_metadata(key, "mail", how),
    )  # fmt: skip


def test_last_event_by_time_decides_in_any_order_of_recording() -> None:
    events = [
        consent(1, 1, given=True, how="checkout"),
        consent(2, 3, given=False),
        consent(3, 2, given=True),
        consent(4, 1, given=True, key="sms"),
    ]
    expected = {
        "marketing": Consent(False, (events[1].occurred_ms), "event_2"),
        "sms": Consent(True, events[3].occurred_ms, "event_4"),
    }
    assert all(rebuild_profile(Profile(), order).consents == expected for order in permutations(events))


def test_state_that_holds_keeps_its_beginning() -> None:
    events = [consent(1, 1, given=True), consent(2, 2, given=True)]
    assert rebuild_profile(Profile(), events).consents["marketing"].event_id == "event_1"


def test_removed_event_counts_no_more() -> None:
    events = [consent(1, 1, given=True), consent(2, 2, given=False)]
    assert rebuild_profile(Profile(), events[:1]).consents["marketing"].given


def test_update_of_the_profile_keeps_consents() -> None:
    profile = apply_field_event(Profile(), consent(1, 1, given=True))
    assert apply_changes(profile, {"fields": {"a": 1}}).consents == profile.consents


def test_pass_has_a_bounded_number_of_consents() -> None:
    profile = Profile()
    for number in range(MAX_CONSENTS + 5):
        profile = apply_field_event(profile, consent(number, 1, given=True, key=f"k{number}"))
    assert len(profile.consents) == MAX_CONSENTS
