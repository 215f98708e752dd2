"""The purchases of the sample file, for the product and for the oracle."""

from __future__ import annotations

import csv
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

from tests.oracle import OracleEvent

ALL_CUSTOMERS = bool(os.environ.get("WHOLE_SAMPLE"))
"""Whether the scenarios record all customers. That takes some minutes on the slower of the embedded servers."""
FILE = Path(__file__).parent / "data" / "cdnow_sample.csv"


@dataclass(frozen=True)
class Purchase:
    """One row of the file. Its number identifies it, because some rows are equal and still are separate purchases."""

    row: int
    customer: str
    at: datetime
    amount: Decimal

    @property
    def oracle_event(self) -> OracleEvent:
        """The purchase as an event of the oracle."""
        return OracleEvent(int(self.at.timestamp()) * 1000, self.amount)


def purchases(*, every: int = 1) -> list[Purchase]:
    """Return the rows of every n-th customer, by date, and in the order of the file within a day.

    With `WHOLE_SAMPLE`, return the rows of all customers.
    """
    every = 1 if ALL_CUSTOMERS else every
    with FILE.open(newline="") as file:
        rows = [
            Purchase(
                row=number,
                customer=row["customer_id"],
                at=datetime.fromisoformat(row["date"]).replace(tzinfo=UTC),
                amount=Decimal(row["dollar_value"]),
            )
            for number, row in enumerate(csv.DictReader(file), start=1)
        ]
    chosen = set(sorted({row.customer for row in rows})[::every])
    return sorted((row for row in rows if row.customer in chosen), key=lambda row: row.at)
