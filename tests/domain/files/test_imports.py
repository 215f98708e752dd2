"""Import plans of CSV files: from rows to events."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from app.domain.errors import Code, Refused
from app.domain.events.events import EventInput
from app.domain.files.columns import FIELDS, CellKind, ColumnMapping
from app.domain.files.csv_numbers import DecimalMark
from app.domain.files.csv_values import DateOrder
from app.domain.files.csv_writer import write_csv
from app.domain.files.exports import EVENT_COLUMNS
from app.domain.files.import_plan import ImportPlan, default_source
from app.domain.files.imports import ImportFormat, plan_import
from app.domain.files.row_splitter import BOM, Row
from app.domain.values.paths import split_keys


def plan_rows(
    text: str, mappings: list[ColumnMapping] | None = None, **options: str
) -> tuple[ImportPlan, list[EventInput]]:
    options = {"source": "import:x", "timezone": "UTC", "currency": "USD"} | options
    plan, rows = plan_import(
        ImportFormat.CSV,
        text.encode(),
        mappings or (),
        is_whole=True,
        guess=mappings is None,
        **options,  # type: ignore[arg-type]
    )
    return plan, [plan.parse_row(number, row) for number, row in enumerate(rows, 1)]


def test_row_becomes_an_event() -> None:
    plan, [first, second] = plan_rows(
        "Customer;Date;Total;Shop.Name;$note;Size\n00ann;31.01.2026;1.234,50 €;north;;7\nbob;1.2.2026;5;south;x;XL\n",
        timezone="Europe/Berlin",
    )
    assert first == EventInput(
        type="purchase",
        pass_external_id="00ann",
        amount=Decimal("1234.50"),
        currency="EUR",
        occurred_at=datetime(2026, 1, 30, 23, tzinfo=UTC),
        external_id="1",
        source="import:x",
        metadata={"Shop.Name": "north", "Size": "7"},
        repeat_metadata={"Shop_Name": "north", "Size": 7},
    )
    assert (second.currency, second.external_id, second.metadata) == (
        None,
        "2",
        {"Shop.Name": "south", "note": "x", "Size": "XL"},
    )
    assert plan.timezone == "Europe/Berlin"


def test_given_columns_replace_guessed_ones_except_metadata() -> None:
    mappings = [
        ColumnMapping("passExternalId", "who"),
        ColumnMapping("type", None, "Check-In"),
        ColumnMapping("points", "date"),
        ColumnMapping("metadata.gate", None, "7"),
    ]
    _, [event] = plan_rows("who,date,amount\nann,5,6\n", mappings)
    assert (event.type, event.points, event.amount, event.occurred_at) == ("check_in", 5, None, None)
    assert event.metadata == {"gate": 7, "amount": 6}


def test_points_of_a_row_can_have_an_end() -> None:
    """A1-12, A1-18: a date in the time zone of the file, or a number of days."""
    _, [fixed, rolling, none] = plan_rows(
        "customer,day,points,points_expire_at,points_expire_after_days\n"
        "ann,2026-01-01,5,31.01.2027,\nann,2026-01-01,7,,90\nann,2026-01-01,-2,,\n",
        timezone="Europe/Berlin",
    )
    assert (fixed.points_expire_at, fixed.points_expire_after_days) == (datetime(2027, 1, 30, 23, tzinfo=UTC), None)
    assert (rolling.points_expire_at, rolling.points_expire_after_days) == (None, "90")
    assert (none.points, none.points_expire_at, none.points_expire_after_days) == (-2, None, None)
    assert not none.metadata


def test_order_of_dates_is_detected_from_the_first_rows() -> None:
    plan, [first, _] = plan_rows("customer,date\nann,03/04/2026\nann,13/04/2026\n")
    assert plan.date_order is DateOrder.DMY
    assert first.occurred_at == datetime(2026, 4, 3, tzinfo=UTC)
    with pytest.raises(Refused):
        plan.parse_row(10_002, Row(["ann", "04/13/2026"], "", 0))


def test_decimal_mark_is_detected_from_the_first_rows() -> None:
    plan, [first, second] = plan_rows("customer;date;amount;points\nann;2026-01-01;1.234;2,5\nann;2026-01-01;7;1\n")
    assert plan.decimal_mark is DecimalMark.COMMA
    assert (first.amount, first.points, second.amount) == (1234, Decimal("2.5"), 7)
    with pytest.raises(Refused):
        plan.parse_row(10_002, Row(["ann", "2026-01-01", "12.50", ""], "", 0))


def test_every_invalid_cell_of_a_row_is_reported() -> None:
    plan, _ = plan_rows("customer,date,amount,currency,order_id\nann,2026-01-01,5,USD,1\nann,2026-01-01,5,USD,2\n")
    with pytest.raises(Refused) as refused:
        plan.parse_row(3, Row(["", "never", "lots", "EUR", ""], "", 0))
    assert [(p.code, p.field) for p in refused.value.problems] == [
        (Code.REQUIRED, ("passExternalId",)),
        (Code.INVALID, ("occurredAt",)),
        (Code.INVALID, ("amount",)),
        (Code.REQUIRED, ("externalId",)),
    ]
    with pytest.raises(Refused) as refused:
        plan.parse_row(3, Row(["ann", "2026-01-01", "£5", "EUR", "3"], "", 0))
    assert [(p.code, p.field) for p in refused.value.problems] == [(Code.INVALID, ("amount",))]


def test_guess_without_a_time_of_the_events_is_rejected() -> None:
    with pytest.raises(Refused) as refused:
        plan_rows("customer,amount\nann,5\n")
    assert [(p.code, p.field) for p in refused.value.problems] == [(Code.REQUIRED, ("columns",))]
    mappings = [ColumnMapping("passExternalId", "customer"), ColumnMapping("type", None, "visit")]
    for added in ([], [ColumnMapping("occurredAt", None, "Now")]):
        plan, [event] = plan_rows("customer,amount\nann,5\n", [*mappings, *added])
        assert (event.occurred_at, plan.has_instants) == (None, bool(added))


def test_column_of_the_metadata_holds_numbers_only_if_they_keep_their_digits() -> None:
    text = "customer,date,version,kwh,size,weight\nann,2026-01-01,1.10,12.5,7,2.50\nann,2026-01-01,1.1,7,XL,3.75\n"
    plan, [first, second] = plan_rows(text)
    assert first.metadata == {"version": "1.10", "kwh": 12.5, "size": "7", "weight": "2.50"}
    assert second.metadata == {"version": "1.1", "kwh": 7, "size": "XL", "weight": "3.75"}
    assert first.repeat_metadata == {"version": 1.1, "kwh": 12.5, "size": 7, "weight": 2.5}
    later = plan.parse_row(10_002, Row(["ann", "2026-01-01", "2", "8.00", "", "4"], "", 0))
    assert later.metadata == {"version": "2", "kwh": "8.00", "weight": "4"}


def test_kind_of_a_column_decides_what_its_cells_become() -> None:
    mappings = [
        ColumnMapping("passExternalId", "customer"),
        ColumnMapping("type", None, "visit"),
        ColumnMapping("metadata.price", "price", kind=CellKind.NUMBER),
        ColumnMapping("metadata.till", "till", kind=CellKind.TEXT),
    ]
    plan, [event] = plan_rows('customer,price,till\nann,"1.234,50",7\n', mappings)
    assert event.metadata == {"price": 1234.5, "till": "7"}
    for cell in ("free", "12.50", "123456789012345,123456"):
        with pytest.raises(Refused) as refused:
            plan.parse_row(2, Row(["ann", cell, ""], "", 0))
        assert [p.field for p in refused.value.problems] == [("metadata.price",)]


def test_mark_that_keeps_a_spreadsheet_from_running_a_cell_is_left_out() -> None:
    _, [event] = plan_rows("customer,date,amount,note\n'+4915112345,2026-01-01,'-0.00,'=1+1\n")
    assert (event.pass_external_id, event.amount) == ("+4915112345", 0)
    assert event.metadata == {"note": "=1+1"}
    _, [event] = plan_rows("customer,date,note\n'tis,2026-01-01,rock 'n' roll\n")
    assert (event.pass_external_id, event.metadata) == ("'tis", {"note": "rock 'n' roll"})


EXPORT = write_csv([
    EVENT_COLUMNS,
    [
        "event_0a", "+4915112345", "my-type", "2026-01-01T10:00:00.000Z", "1.234", "BHD", "", "CUSTOM", "o-1", "", "", " x ",
        "till", "", "", "", "", "event_0b", "till", "o-0", "2026-01-02T00:00:00.000Z", '{"note":"a;=1","v":1.5}', "",
         "", "DECLINED",
    ],
])  # fmt: skip


def test_file_that_an_export_wrote_is_read_as_it_was_written() -> None:
    for guess in (True, False):
        mappings = [] if guess else [ColumnMapping(name, name) for name in FIELDS]
        plan, [row] = plan_import(
            ImportFormat.CSV, BOM + EXPORT, mappings, is_whole=True, guess=guess, source="import:x", timezone="UTC",
            currency="EUR",
        )  # fmt: skip
        assert plan.parse_row(1, row) == EventInput(
            type="my-type",
            pass_external_id="+4915112345",
            occurred_at=datetime(2026, 1, 1, 10, tzinfo=UTC),
            amount="1.234",
            currency="BHD",
            category="CUSTOM",
            external_id="o-1",
            label=" x ",
            source="till",
            correction_of="event_0b",
            metadata={"note": "a;=1", "v": 1.5},
        )
        assert (plan.find_exported_id(row), plan.find_corrected_identity(row)) == ("event_0a", ("till", "o-0"))
        assert plan.is_declined(row)


@pytest.mark.parametrize(
    ("mapping", "code", "path"),
    [
        (ColumnMapping("amounts", "amount"), Code.UNKNOWN, ("columns", "2", "field")),
        (ColumnMapping("metadata..", "amount"), Code.UNKNOWN, ("columns", "2", "field")),
        (ColumnMapping("metadata.a.$b", "amount"), Code.UNKNOWN, ("columns", "2", "field")),
        (ColumnMapping("type", "amount"), Code.TAKEN, ("columns", "2", "field")),
        (ColumnMapping("amount", "total"), Code.UNKNOWN, ("columns", "2", "column")),
        (ColumnMapping("amount"), Code.REQUIRED, ("columns", "2", "column")),
        (ColumnMapping("amount", "amount", "5"), Code.INVALID, ("columns", "2", "column")),
        (ColumnMapping("amount", None, " "), Code.REQUIRED, ("columns", "2", "value")),
        (ColumnMapping("amount", "amount", kind=CellKind.NUMBER), Code.UNSUPPORTED, ("columns", "2", "kind")),
        (ColumnMapping("metadata.a", None, "5", kind=CellKind.TEXT), Code.UNSUPPORTED, ("columns", "2", "kind")),
    ],
)
def test_invalid_column_mapping_is_rejected_with_its_path(
    mapping: ColumnMapping, code: Code, path: tuple[str, ...]
) -> None:
    mappings = [ColumnMapping("passExternalId", "who"), ColumnMapping("type", None, "visit"), mapping]
    with pytest.raises(Refused) as refused:
        plan_rows("who,amount\nann,1\n", mappings)
    assert [(p.code, p.field) for p in refused.value.problems] == [(code, path)]


def test_default_source_depends_on_the_file_name_only() -> None:
    assert default_source("sales.csv") == default_source("/a/sales.csv") == default_source("C:\\b\\sales.csv")
    assert default_source("sales.csv") == "import:sales.csv"
    long = ["x" * 200 + end for end in "ab"]
    assert len({default_source(name) for name in long}) == 2
    assert max(len(default_source(name)) for name in long) == 100
    assert default_source("") == "import:file"


def test_column_whose_name_has_points_keeps_its_name() -> None:
    """A point in a key begins a level, so conditions find the column under its name."""
    _, [event] = plan_rows(
        "customer,date,utm.source,utm_source,.$x.$y,a.b.c.d.e.f.g.h.i.j.k\nann,2026-01-01,mail,web,1,2\n"
    )
    assert event.metadata == {"utm.source": "mail", "utm_source": "web", ".x.y": 1, "a_b_c_d_e_f_g_h_i_j_k": 2}
    assert split_keys(event.metadata) == {
        "utm": {"source": "mail"}, "utm_source": "web", "x": {"y": 1}, "a_b_c_d_e_f_g_h_i_j_k": 2
    }  # fmt: skip
    assert event.repeat_metadata == {"utm_source": "mail", "_x_y": 1, "a_b_c_d_e_f_g_h_i_j_k": 2}
