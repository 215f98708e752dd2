"""Values of CSV cells: dates and types."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.errors import Code, Refused
from app.domain.files.csv_values import DateOrder, detect_date_order, parse_cell_instant, parse_cell_type

BERLIN = ZoneInfo("Europe/Berlin")


def code_of(refused: pytest.ExceptionInfo[Refused]) -> Code:
    return refused.value.problems[0].code


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-01-31", "2026-01-30T23:00:00"),
        ("2026-07-31", "2026-07-30T22:00:00"),
        ("20260131", "2026-01-30T23:00:00"),
        ("2026/1/31 9:05", "2026-01-31T08:05:00"),
        ("31.01.2026", "2026-01-30T23:00:00"),
        ("31.1.26 09:30", "2026-01-31T08:30:00"),
        ("01/31/2026", "2026-01-30T23:00:00"),
        ("31/01/2026 14:05:06", "2026-01-31T13:05:06"),
        ("04/04/2026", "2026-04-03T22:00:00"),
        ("2026-01-31T09:30:00Z", "2026-01-31T09:30:00"),
        ("2026-01-31 09:30:00.5+02:00", "2026-01-31T07:30:00.500"),
        ("2026-01-31 09:30:00 -0530", "2026-01-31T15:00:00"),
        ("1767225600", "2026-01-01T00:00:00"),
        ("1767225600.25", "2026-01-01T00:00:00.250"),
        ("1767225600123", "2026-01-01T00:00:00.123"),
        ("Jan 31, 2026", "2026-01-30T23:00:00"),
        ("31 January 2026 10:00 PM", "2026-01-31T21:00:00"),
        ("1/31/2026 12:30 am", "2026-01-30T23:30:00"),
        ("1/31/99", "1999-01-30T23:00:00"),
        ("29-Aug-25", "2025-08-28T22:00:00"),
        ("1-Sep-25 9:30 AM", "2025-09-01T07:30:00"),
        ("29-AUG-69", "1969-08-28T23:00:00"),
        ("29/Aug/2025", "2025-08-28T22:00:00"),
        ("29. Aug. 2025", "2025-08-28T22:00:00"),
    ],
)
def test_dates_are_parsed_in_common_formats(text: str, expected: str) -> None:
    assert parse_cell_instant(text, BERLIN, None) == datetime.fromisoformat(expected).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    "text",
    ["", "soon", "2026-02-30", "31/31/2026", "12:30", "2026", "45000", "1 Foo 2026", "Aug-25", "29-Aug", "9" * 80],
)
def test_text_that_is_no_date_is_rejected(text: str) -> None:
    with pytest.raises(Refused) as refused:
        parse_cell_instant(text, BERLIN, DateOrder.DMY)
    assert code_of(refused) is Code.INVALID


def test_ambiguous_date_needs_an_order() -> None:
    with pytest.raises(Refused):
        parse_cell_instant("03/04/2026", ZoneInfo("UTC"), None)
    read = {order: parse_cell_instant("03/04/2026", ZoneInfo("UTC"), order) for order in DateOrder}
    assert (read[DateOrder.DMY].month, read[DateOrder.MDY].month) == (4, 3)


def test_order_of_dates_is_detected_from_unambiguous_dates() -> None:
    assert detect_date_order(["03/04/2026", "13/04/2026"]) is DateOrder.DMY
    assert detect_date_order(["03/04/2026", "04/13/2026"]) is DateOrder.MDY
    assert detect_date_order(["03/04/2026"]) is None
    assert detect_date_order(["13/04/2026", "04/13/2026"]) is None
    assert detect_date_order(["03.04.2026", "04.13.2026"]) is DateOrder.MDY


@pytest.mark.parametrize(
    ("text", "order"),
    [
        ("02/13/2025", DateOrder.DMY),
        ("2-13-25", DateOrder.DMY),
        ("02.13.2025 10:00", DateOrder.DMY),
        ("13/02/2025", DateOrder.MDY),
        ("13.02.2025", DateOrder.MDY),
    ],
)
def test_date_that_contradicts_the_order_of_the_file_is_rejected(text: str, order: DateOrder) -> None:
    """The date shows that other dates of the file may have been misread."""
    with pytest.raises(Refused) as refused:
        parse_cell_instant(text, BERLIN, order, "occurredAt")
    assert (code_of(refused), refused.value.problems[0].field) == (Code.INVALID, ("occurredAt",))
    assert f"order {order} of this file" in refused.value.problems[0].message


def test_order_of_the_file_applies_to_dates_with_points() -> None:
    read = {order: parse_cell_instant("03.04.2026", ZoneInfo("UTC"), order).month for order in (None, *DateOrder)}
    assert read == {None: 4, DateOrder.DMY: 4, DateOrder.MDY: 3}


@given(st.text(max_size=80))
def test_any_text_is_parsed_or_rejected(text: str) -> None:
    for order in (None, *DateOrder):
        with contextlib.suppress(Refused):
            parse_cell_instant(text, BERLIN, order)
    parse_cell_type(text)


def test_event_type_is_recognized_in_any_spelling() -> None:
    assert [parse_cell_type(text) for text in ("Purchase", "CHECK-IN", "App open", "Big Sale")] == [
        "purchase",
        "check_in",
        "app_open",
        "Big_Sale",
    ]
