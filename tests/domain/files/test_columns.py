"""Columns of import files, guessed from names and cells."""

from __future__ import annotations

import pytest

from app.domain.errors import Code, Refused
from app.domain.files.columns import ColumnMapping, guess_columns


def guess(header: str, *rows: str) -> dict[str, str | None]:
    found = guess_columns(header.split(","), [row.split(",") for row in rows], "USD")
    return {mapping.field: mapping.column or f"={mapping.value}" for mapping in found}


@pytest.mark.parametrize(
    ("header", "rows", "expected"),
    [
        (
            "customer_id,date,number_of_cds,dollar_value",
            ["00004,1997-01-01,2,29.33", "00004,1997-01-18,2,29.73"],
            {"passExternalId": "customer_id", "occurredAt": "date", "amount": "dollar_value", "type": "=purchase"},
        ),
        (
            "order_id,email,created_at,total,currency,event",
            ["1,a@x.com,2026-01-01T10:00:00Z,5,EUR,purchase", "2,a@x.com,2026-01-02T10:00:00Z,5,USD,Refund"],
            {
                "externalId": "order_id", "passExternalId": "email", "occurredAt": "created_at", "amount": "total",
                "currency": "currency", "type": "event",
            },
        ),
        (
            "InvoiceNo,StockCode,Quantity,InvoiceDate,UnitPrice,CustomerID,Country",
            ["536365,85123A,6,12/1/10 8:26,2.55,17850,UK", "536365,71053,6,12/1/10 8:26,3.39,17850,UK"],
            {
                "passExternalId": "CustomerID", "occurredAt": "InvoiceDate", "amount": "UnitPrice", "type": "=purchase",
            },
        ),
        (
            "member,when,door",
            ["7,31.01.2026 10:00,north", "8,31.01.2026 10:05,south"],
            {"passExternalId": "member", "occurredAt": "when", "type": "=visit"},
        ),
        (
            "user_id,birth_date,signup_time,type,value",
            ["7,1980-01-01,2026-01-01,Deluxe edition!,high", "8,1980-01-01,2026-01-01,x,low"],
            {"passExternalId": "user_id", "occurredAt": "signup_time", "type": "=visit"},
        ),
        (
            "Customer Name,Customer Segment,Purchased On,Order Value USD,Cust. No.",
            ["Ann,gold,2026-01-01,5.10,77", "Ann,gold,2026-02-01,6,77"],
            {
                "passExternalId": "Cust. No.", "occurredAt": "Purchased On", "amount": "Order Value USD",
                "type": "=purchase",
            },
        ),
        (
            "id,datum,cds,spend",
            ["1,19970101,1,11.77", "2,19970112,1,12.00", "2,19970112,5,77.00"],
            {"passExternalId": "id", "occurredAt": "datum", "amount": "spend", "type": "=purchase"},
        ),
        (
            "order_id,store_id,person_nr,booked,user_agent",
            ["1,9,5,1.2.2026,x", "2,9,5,3.2.2026,x", "3,9,6,3.2.2026,x"],
            {"passExternalId": "person_nr", "occurredAt": "booked", "externalId": "order_id", "type": "=visit"},
        ),
        (
            "pass,type,occurred at,amount",
            ["ann,purchase,2026-03-04,5", "bob,visit,2026-03-05,"],
            {"passExternalId": "pass", "type": "type", "occurredAt": "occurred at", "amount": "amount"},
        ),
        (
            "customer,Points,Points Expire At",
            ["ann,5,2027-01-31", "ann,-5,"],
            {"passExternalId": "customer", "points": "Points", "pointsExpireAt": "Points Expire At", "type": "=visit"},
        ),
        (
            "customer,points,pointsExpireAfterDays",
            ["ann,5,90", "ann,5,30"],
            {
                "passExternalId": "customer", "points": "points", "pointsExpireAfterDays": "pointsExpireAfterDays",
                "type": "=visit",
            },
        ),
        (
            "Client No,Amount (EUR)",
            ["1,2"],
            {"passExternalId": "Client No", "amount": "Amount (EUR)", "type": "=purchase"},
        ),
    ],
)  # fmt: skip
def test_columns_are_guessed_from_names_and_cells(header: str, rows: list[str], expected: dict[str, str]) -> None:
    assert guess(header, *rows) == expected


@pytest.mark.parametrize(
    ("header", "rows", "expected"),
    [
        ("customer_id,date,amount", ["ann,29 août 2025,1.00"], {"occurredAt": "date", "amount": "amount"}),
        ("customer_id,Order Date,Total", ["ann,soon,12.50 Kčs"], {"occurredAt": "Order Date", "amount": "Total"}),
        ("customer_id,date,Amount (EUR)", ["ann,2025-01-01,lots"], {"amount": "Amount (EUR)"}),
        ("customer_id,date,value", ["ann,2025-01-01,12.50 Kčs"], {"amount": "value"}),
        ("customer_id,when,points", ["ann,week 7 of 2025,many"], {"occurredAt": "when", "points": "points"}),
        ("customer_id,date,total,currency", ["ann,2025-01-01,5,Euro"], {"currency": "currency"}),
        ("customer_id,date,amount,type", ["ann,2025-01-01,5,refund", "bob,2025-01-01,5,Gift card (€)"], {"type": "type"}),
        ("customer_id,date,event_name", ["ann,2025-01-01,a?"], {"type": "event_name"}),
        ("customer_id,date,amount", ["ann,,", "bob,,"], {"occurredAt": "date", "amount": "amount", "type": "=visit"}),
    ],
)  # fmt: skip
def test_exact_name_decides_although_its_cells_cannot_be_read(
    header: str, rows: list[str], expected: dict[str, str]
) -> None:
    assert guess(header, *rows).items() >= expected.items()


def test_column_that_can_be_read_precedes_an_exact_name_that_cannot() -> None:
    found = guess(
        "customer,date,timestamp,total,price", "ann,Monday,2026-01-01,a lot,5", "ann,Friday,2026-01-01,more,6"
    )
    assert (found["occurredAt"], found["amount"]) == ("timestamp", "price")


def test_given_columns_stay_and_the_others_are_guessed() -> None:
    rows = [["1", "2026-01-01", "5"], ["2", "2026-01-01", "6"]]
    given = [ColumnMapping("passExternalId", "id"), ColumnMapping("type", None, "charge")]
    found = {m.field: m.column or m.value for m in guess_columns(["id", "date", "amount"], rows, "USD", given)}
    assert found == {"passExternalId": "id", "type": "charge", "occurredAt": "date", "amount": "amount"}


def test_file_without_column_names_or_customer_is_rejected_with_its_columns() -> None:
    for header in ("00004,1997-01-01,2,29.33", "a,b"):
        with pytest.raises(Refused) as refused:
            guess(header, header)
        assert refused.value.problems[0].code is Code.REQUIRED
        assert header.split(",", 1)[0] in refused.value.problems[0].message
