"""The purchases of the sample file, as the tests and the oracle see them."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

from tests.oracle import Happening

FILE = Path(__file__).parent / "data" / "cdnow_sample.csv"


@dataclass(frozen=True)
class Purchase:
    """One row; `row` is its identity, since some rows repeat another exactly and are purchases of their own."""

    row: int
    customer: str
    at: datetime
    amount: Decimal

    @property
    def happening(self) -> Happening:
        """The row as the oracle sees it."""
        return Happening(int(self.at.timestamp()) * 1000, self.amount)


def purchases(*, every: int = 1) -> list[Purchase]:
    """The rows of every n-th customer, in order of date and of the file within one day."""
    with FILE.open(newline="") as file:
        rows = [
            Purchase(
                number,
                row["customer_id"],
                datetime.fromisoformat(row["date"]).replace(tzinfo=UTC),
                Decimal(row["dollar_value"]),
            )
            for number, row in enumerate(csv.DictReader(file), start=1)
        ]
    chosen = set(sorted({row.customer for row in rows})[::every])
    return sorted((row for row in rows if row.customer in chosen), key=lambda row: row.at)
