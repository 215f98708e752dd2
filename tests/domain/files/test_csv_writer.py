"""CSV files that spreadsheets open without running a formula."""

from __future__ import annotations

import csv
import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.files.csv_writer import mark_cell, unmark_cell, write_csv

SIGNS = "=+-@\t\r＝＋－＠"
TEXTS = st.text(alphabet=f"{SIGNS};|\t\r\n ,'\"ab1\xa0", max_size=12)


@pytest.mark.parametrize(
    ("cell", "marked"),
    [
        ("=1+1", "'=1+1"),
        ("+4915112345", "'+4915112345"),
        ("＝1+1", "'＝1+1"),
        ("－1", "'－1"),
        ("'=1", "''=1"),
        (" =1", " '=1"),
        ("x;=1+1", "x;'=1+1"),
        ("x| @a", "x| '@a"),
        ("x\t-a", "x\t'-a"),
        ("x\r\n=1", "x\r\n'=1"),
        ('x;"=1+1"', 'x;"\'=1+1"'),
        ("-5.50", "-5.50"),
        ("a-b=c", "a-b=c"),
        ("it's; fine", "it's; fine"),
    ],
)
def test_cell_that_would_be_run_as_a_formula_is_marked_as_text(cell: str, marked: str) -> None:
    assert mark_cell(cell) == marked
    assert unmark_cell(marked) == cell


@given(TEXTS)
def test_marks_can_be_taken_away_again(cell: str) -> None:
    assert unmark_cell(mark_cell(cell)) == cell


@given(st.lists(TEXTS, min_size=1, max_size=3))
def test_no_cell_begins_with_a_formula_wherever_a_spreadsheet_cuts_the_row(row: list[str]) -> None:
    text = write_csv([["1", *row]]).decode()
    for delimiter in (",", ";", "\t", "|"):
        for cut in [cell for line in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter) for cell in line]:
            text_of_cell = cut.strip(' \xa0\t\r\n"')
            assert text_of_cell[:1] not in tuple("=+-@＝＋－＠") or re.fullmatch(r"-1+", text_of_cell)
