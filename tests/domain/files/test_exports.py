"""Rows of exports, and signed addresses of their files."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

from app.domain.events.events import Category, Event, Origin
from app.domain.events.guards import Outcome, OutcomeStatus
from app.domain.events.points_expiry import PointsExpiry
from app.domain.files.exports import EVENT_COLUMNS, is_signed, parse_expiry, render_event_line, sign_download

AT = datetime(2026, 1, 31, 9, 30, tzinfo=UTC)
EVENT = Event(
    "event_1",
    "pass_1",
    Category.TRANSACTION,
    type="refund",
    amount=Decimal("1E+1"),
    currency="EUR",
    points=Decimal("2.50"),
    source="pos",
    external_id="x",
    metadata={"a": [1]},
    occurred_at=AT,
    recorded_at=AT,
    origin=Origin("API", staff="eve"),
    field_name="fields.a",
    old_value="old",
    new_value="new",
    correction_of="event_0",
    points_expiry=PointsExpiry(at_ms=0),
    label="Hi",
    performed_at=AT,
    outcome=Outcome(OutcomeStatus.DECLINED),
)


def test_exported_row_has_every_column_that_an_import_reads() -> None:
    line = render_event_line(EVENT, "ann", EVENT)
    assert set(EVENT_COLUMNS) - line.keys() == {"pointsExpireAfterDays", "channel"}
    assert (line["amount"], line["points"], line["occurredAt"], line["pointsExpireAt"]) == (
        "10",
        "2.50",
        "2026-01-31T09:30:00.000Z",
        "1970-01-01T00:00:00.000Z",
    )


def test_download_address_is_valid_for_one_job_expiry_and_secret() -> None:
    signed = sign_download(b"ours", "job_1", 5)
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
