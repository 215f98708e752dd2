"""The page of a report, written from values."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal

from app.cli.reports.figures import Figure
from app.cli.reports.page import write_page
from app.cli.reports.reading import Customer, MonthReport, SegmentRow

OVERRIDE, MARK, ISOLATE = "\u202e", "\u200f", "\u2067"
HEBREW = "\u05e7\u05e4\u05d4"


def test_no_name_changes_the_order_of_what_stands_beside_it() -> None:
    """Names have controls of direction, or are written from right to left."""
    page = write_page(
        MonthReport(
            workspace=f"Shop{OVERRIDE}",
            currency="USD",
            timezone="UTC",
            first_day=date(2026, 1, 1),
            figures=[],
            types=[Figure(f"vis{ISOLATE}it", Decimal(3), Decimal(1))],
            days=[],
            weekdays=[],
            customers=[Customer(f"a{MARK}nn", HEBREW, Decimal(7))],
            cohorts=[],
            segments=[SegmentRow(f"ri{OVERRIDE}ch", 5, 4, 1, 0)],
            refusals=[],
            as_of=datetime(2026, 2, 1, tzinfo=UTC),
            is_over=True,
            exact=True,
        )
    )
    assert not {OVERRIDE, MARK, ISOLATE} & set(page)
    assert "<title>Shop, January 2026</title>" in page
    for name in ("Shop", "visit", "ann", HEBREW, "rich"):
        assert f"<bdi>{name}</bdi>" in page
    # The bars of segments are an image, which has the bare name.
    assert ">rich</text>" in page
