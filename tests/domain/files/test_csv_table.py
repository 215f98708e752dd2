from __future__ import annotations

import csv
import io
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.errors import Code, Refused
from app.domain.files.csv_table import Layout, TableSplitter, encoding_of, first_rows, layout_of
from app.domain.files.row_splitter import MAX_ROW_BYTES, Row


def rows_of(data: bytes) -> list[Row]:
    return first_rows(data, layout_of(data, whole=True, encoding=encoding_of(data)), whole=True)


def cells_of(data: str) -> list[list[str] | str]:
    return [list(row.cells) if row.problem is None else row.problem.message for row in rows_of(data.encode())]


def split(data: bytes, layout: Layout, cuts: list[int]) -> list[Row]:
    splitter = TableSplitter(layout, layout.start)
    found: list[Row] = []
    places = sorted({layout.start, len(data), *(cut for cut in cuts if layout.start < cut < len(data))})
    for begin, stop in itertools.pairwise(places):
        splitter.feed(data[begin:stop])
        while taken := splitter.take(3):
            found += taken
    splitter.end()
    while taken := splitter.take(3):
        found += taken
    return found


@given(
    st.lists(st.lists(st.sampled_from(['a"b', "", "é", "x,y", "1\n2", " ", "\r\nz"]), min_size=3, max_size=3)),
    st.lists(st.integers(0, 200)),
    st.sampled_from(["\n", "\r\n"]),
)
def test_however_the_bytes_arrive_the_rows_are_those_of_the_csv_module(
    table: list[list[str]], cuts: list[int], newline: str
) -> None:
    text = io.StringIO()
    csv.writer(text, lineterminator=newline).writerows([["a", "b", "c"], *table])
    data = text.getvalue().encode()
    found = split(data, layout_of(data, whole=True), cuts)
    assert [list(row.cells) for row in found] == [row for row in table if any(cell.strip() for cell in row)]


@given(st.text(alphabet='ab",\n\ré;', max_size=60), st.lists(st.integers(0, 70)))
def test_rows_that_cannot_be_read_are_the_same_however_the_bytes_arrive(text: str, cuts: list[int]) -> None:
    data = b"a,b\n" + text.encode()
    layout = layout_of(data, whole=True)
    whole = split(data, layout, [])
    assert split(data, layout, cuts) == whole
    # Whoever goes on behind any row finds the rest.
    for number, row in enumerate(whole):
        rest = TableSplitter(layout, row.end)
        rest.feed(data[row.end :])
        rest.end()
        assert rest.take(100) == whole[number + 1 :]


def test_a_quotation_mark_left_open_costs_its_own_row_only() -> None:
    assert cells_of('a,b\n1,"2\n3,4\n5,6\n') == ["A quotation mark is opened and not closed.", ["3", "4"], ["5", "6"]]
    assert cells_of('a,b\n1,"2\n3,4"\n5,6\n') == [["1", "2\n3,4"], ["5", "6"]]
    assert cells_of('a,b\n1,5" pipe\n3,4\n') == [["1", '5" pipe'], ["3", "4"]]


def test_rows_of_another_width_are_told_and_blank_rows_passed_over() -> None:
    assert cells_of("a,b\n1\n\n,\n1,2,3\n1,2,,\n  ,\n1,2") == [
        "The row has 1 cells; the header has 2.",
        "The row has 3 cells; the header has 2.",
        ["1", "2"],
        ["1", "2"],
    ]


def test_a_row_that_is_too_long_is_dropped_as_it_arrives() -> None:
    data = b"a,b\n" + b"x" * (3 * MAX_ROW_BYTES) + b",2\n3,4\n"
    splitter = TableSplitter(layout_of(data[:100], whole=False), 4)
    found: list[Row] = []
    for begin in range(4, len(data), 50_000):
        splitter.feed(data[begin : begin + 50_000])
        assert len(splitter._held) <= MAX_ROW_BYTES + 100_000
        found += splitter.take(10)
    assert [row.problem.code if row.problem else list(row.cells) for row in found] == [Code.TOO_LONG, ["3", "4"]]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_the_one_between_the_names(delimiter: str) -> None:
    layout = layout_of(f'\ufeffa{delimiter}"b, c"{delimiter}{delimiter}a\n'.encode(), whole=True)
    assert (layout.delimiter, layout.columns) == (delimiter, ("a", "b, c", "column_3", "a_2"))


def test_the_encoding_is_utf_8_unless_what_is_not_comes_first() -> None:
    assert encoding_of("a,é\n".encode("cp1252")) == "cp1252"
    assert encoding_of("a,é\n".encode() + b"\xe9\n") == "utf-8"
    assert encoding_of("é".encode()[:1]) == "utf-8"
    [good, bad, last] = rows_of("a,b\né,1\n".encode() + b"\xe9,2\n3,3\n")
    assert (good.problem, list(last.cells)) == (None, ["3", "3"])
    assert bad.problem is not None
    [row] = rows_of("a,b\n€,1\n".encode("cp1252"))
    assert list(row.cells) == ["€", "1"]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", Code.REQUIRED),
        (b" \n\n", Code.REQUIRED),
        (b"\n1,2\n", Code.INVALID),
        (b",,\n1,2\n", Code.INVALID),
        (b'"a\n1,2\n', Code.INVALID),
        (b"a\x00,b\n", Code.INVALID),
        (b"\xff\xfea\x00", Code.UNSUPPORTED),
        (b"x" * (MAX_ROW_BYTES + 1), Code.TOO_LONG),
        (b"a," * 600 + b"b\n", Code.TOO_MANY),
    ],
)
def test_a_file_whose_first_row_names_nothing_is_refused(data: bytes, expected: Code) -> None:
    with pytest.raises(Refused) as refused:
        layout_of(data, whole=True)
    assert refused.value.problems[0].code is expected
