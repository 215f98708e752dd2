"""Import plans of CSV files: from rows to events."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from app.domain.errors import Code, Refused
from app.domain.events.events import EventInput
from app.domain.files.columns import ColumnMapping
from app.domain.files.csv_values import DateOrder
from app.domain.files.import_plan import ImportPlan, default_source
from app.domain.files.imports import ImportFormat, plan_import
from app.domain.files.row_splitter import Row


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
        metadata={"Shop_Name": "north", "Size": 7},
    )
    assert (second.currency, second.external_id, second.metadata) == (
        None,
        "2",
        {"Shop_Name": "south", "note": "x", "Size": "XL"},
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
        "customer,points,points_expire_at,points_expire_after_days\nann,5,31.01.2027,\nann,7,,90\nann,-2,,\n",
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


@pytest.mark.parametrize(
    ("mapping", "code", "path"),
    [
        (ColumnMapping("amounts", "amount"), Code.UNKNOWN, ("columns", "2", "field")),
        (ColumnMapping("metadata.a.b", "amount"), Code.UNKNOWN, ("columns", "2", "field")),
        (ColumnMapping("metadata.$a", "amount"), Code.UNKNOWN, ("columns", "2", "field")),
        (ColumnMapping("type", "amount"), Code.TAKEN, ("columns", "2", "field")),
        (ColumnMapping("amount", "total"), Code.UNKNOWN, ("columns", "2", "column")),
        (ColumnMapping("amount"), Code.REQUIRED, ("columns", "2", "column")),
        (ColumnMapping("amount", "amount", "5"), Code.INVALID, ("columns", "2", "column")),
        (ColumnMapping("amount", None, " "), Code.REQUIRED, ("columns", "2", "value")),
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
