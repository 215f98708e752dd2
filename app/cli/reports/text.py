"""The report as text for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal

from rich.text import Text

from .figures import percent, show
from .reading import MonthReport

SHADES = " ░▒▓█"
"""Shades of a cell: none for no event, and four more."""
BAR_WIDTH = 40
"""Characters of the longest bar."""


def write_text(report: MonthReport) -> str:
    """Return the report as lines of text that end in a line break. Control characters of the workspace are left out."""
    return "\n".join(_without_controls(line) for line in _lines(report)) + "\n"


def _lines(report: MonthReport) -> Iterator[str]:
    yield f"{report.workspace}: {report.title}, compared with {report.title_before}"
    if not report.is_over:
        yield "The month has not ended: its figures are those so far, and the month before is whole."
    if not report.exact:
        yield "A deletion, an erasure or a merge is not finished, so the figures may still change."
    if report.is_empty:
        yield f"Nothing happened in {report.title}."
    yield ""
    yield from _table(["", "", "before", "change"], [(f.name, f.text, f.text_before, f.change) for f in report.figures])
    most = max((value for _, value in report.days if value is not None), default=Decimal(0))
    if most > 0:
        yield from ("", f"Revenue by day, in {report.currency}")
        for day, value in report.days:
            if value is None:
                yield f"{day:%a} {day.day:2}"
                continue
            bar = "█" * int(max(value, Decimal(0)) / most * BAR_WIDTH)
            yield f"{day:%a} {day.day:2}  {bar:{BAR_WIDTH}}  {show(value, report.currency)}"
    busiest = max((number for day in report.weekdays for number in day.counts), default=0)
    if busiest:
        yield from ("", f"Busiest hours: from {SHADES[1]} for a few events to {SHADES[-1]} for {busiest:,}")
        yield f"{'':9}  {'  '.join(f'{hour:2}' for hour in range(0, 24, 2))}"
        for row in report.weekdays:
            cells = "".join(2 * SHADES[-(-number * 4 // busiest)] for number in row.counts)
            yield f"{row.name:9}  {cells}".rstrip()
    if report.customers:
        yield from ("", "Top customers")
        yield from _table(
            ["customer", "spent"],
            [
                (
                    each.external_id if each.name is None else f"{each.name} ({each.external_id})",
                    show(each.spend, report.currency),
                )
                for each in report.customers
            ],
        )
    if report.cohorts:
        yield from ("", "New customers of a month who were active in it, and in each month after it")
        width = max(len(row.active) for row in report.cohorts)
        yield from _table(
            ["new in", "customers", *(f"+{number}" for number in range(width))],
            [
                (
                    f"{row.month:%B} {row.month.year}",
                    f"{row.size:,}",
                    *(percent(n, row.size) for n in row.active),
                    *[""] * (width - len(row.active)),
                )
                for row in report.cohorts
            ],
        )
    if report.types:
        yield from ("", "What customers did")
        rows = [(each.name, each.text, each.text_before, each.change) for each in report.types]
        yield from _table(["type", "events", "before", "change"], rows)
    if report.refusals:
        yield from ("", *report.refusals)
    if report.segments:
        yield from ("", "Segments; the last three columns are of the month in UTC")
        yield from _table(
            ["segment", "now", "at its end", "entered", "left"],
            [(row.name, *(f"{n:,}" for n in (row.now, row.at_end, row.entered, row.left))) for row in report.segments],
        )


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield lines whose first column is on the left of its width, and whose other columns are on the right."""
    widths = [max(Text(row[column]).cell_len for row in (heads, *rows)) for column in range(len(heads))]
    for row in (heads, *rows):
        cells = [" " * (width - Text(cell).cell_len) for cell, width in zip(row, widths, strict=True)]
        first, *others = zip(row, cells, strict=True)
        yield "  ".join(["".join(first), *(f"{space}{cell}" for cell, space in others)]).rstrip()


def _without_controls(line: str) -> str:
    return "".join(character for character in line if character.isprintable())
