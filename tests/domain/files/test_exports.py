from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

from app.domain.events.events import Category, Event, Origin
from app.domain.events.points_expiry import PointsExpiry
from app.domain.files.exports import EVENT_COLUMNS, event_line, is_signed, parse_expiry, signature

AT = datetime(2026, 1, 31, 9, 30, tzinfo=UTC)
EVENT = Event(
    "event_1", "pass_1", Category.TRANSACTION, "refund", Decimal("1E+1"), "EUR", Decimal("2.50"), "pos", "x", {"a": [1]},
    AT, AT, Origin("API", staff="eve"), "fields.a", "old", "new", "event_0", points_expiry=PointsExpiry(at_ms=0), label="Hi",
)  # fmt: skip


def test_a_line_leaves_nothing_out_that_can_be_imported() -> None:
    line = event_line(EVENT, "ann", EVENT)
    assert set(EVENT_COLUMNS) - line.keys() == {"pointsExpireAfterDays"}
    assert (line["amount"], line["points"], line["occurredAt"], line["pointsExpireAt"]) == (
        "10",
        "2.50",
        "2026-01-31T09:30:00.000Z",
        "1970-01-01T00:00:00.000Z",
    )


def test_an_address_is_good_for_one_job_one_time_and_one_workspace() -> None:
    signed = signature(b"ours", "job_1", 5)
    assert is_signed(b"ours", "job_1", 5, signed)
    for secret, job, expires, given in (
        (b"theirs", "job_1", 5, signed),
        (b"ours", "job_2", 5, signed),
        (b"ours", "job_1", 6, signed),
        (b"ours", "job_1", 5, signed.upper()),
        (b"ours", "job_1", 5, "\udcff"),
    ):
        assert not is_signed(secret, job, expires, given)
    assert [parse_expiry(text) for text in ("17", "", "-1", "1e3", "9" * 99, "٣")] == [17, 0, 0, 0, 0, 0]
