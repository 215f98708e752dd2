"""CSV files: encoding, delimiter, and rows with quotation marks."""

from __future__ import annotations

import csv
import io
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.errors import Code, Refused
from app.domain.files.csv_table import Layout, TableSplitter, detect_encoding, detect_layout, read_first_rows
from app.domain.files.row_splitter import MAX_ROW_BYTES, Row


def rows_of(data: bytes) -> list[Row]:
    return read_first_rows(data, detect_layout(data, is_whole=True, encoding=detect_encoding(data)), is_whole=True)


def cells_of(data: str) -> list[list[str] | str]:
    return [list(row.cells) if row.problem is None else row.problem.message for row in rows_of(data.encode())]


def split(data: bytes, layout: Layout, cuts: list[int]) -> list[Row]:
    splitter = TableSplitter(layout, layout.start)
    found: list[Row] = []
    bounds = sorted({layout.start, len(data), *(cut for cut in cuts if layout.start < cut < len(data))})
    for begin, stop in itertools.pairwise(bounds):
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
def test_rows_equal_those_of_the_csv_module_however_the_bytes_arrive(
    table: list[list[str]], cuts: list[int], newline: str
) -> None:
    text = io.StringIO()
    csv.writer(text, lineterminator=newline).writerows([["a", "b", "c"], *table])
    data = text.getvalue().encode()
    found = split(data, detect_layout(data, is_whole=True), cuts)
    assert [list(row.cells) for row in found] == [row for row in table if any(cell.strip() for cell in row)]


@given(st.text(alphabet='ab",\n\ré;', max_size=60), st.lists(st.integers(0, 70)))
def test_malformed_rows_do_not_depend_on_how_the_bytes_arrive(text: str, cuts: list[int]) -> None:
    data = b"a,b\n" + text.encode()
    layout = detect_layout(data, is_whole=True)
    whole = split(data, layout, [])
    assert split(data, layout, cuts) == whole
    # A splitter that starts behind any row finds the remaining rows.
    for number, row in enumerate(whole):
        rest = TableSplitter(layout, row.end)
        rest.feed(data[row.end :])
        rest.end()
        assert rest.take(100) == whole[number + 1 :]


def test_unclosed_quotation_mark_spoils_only_its_own_row() -> None:
    assert cells_of('a,b\n1,"2\n3,4\n5,6\n') == ["A quotation mark is opened and not closed.", ["3", "4"], ["5", "6"]]
    assert cells_of('a,b\n1,"2\n3,4"\n5,6\n') == [["1", "2\n3,4"], ["5", "6"]]
    assert cells_of('a,b\n1,5" pipe\n3,4\n') == [["1", '5" pipe'], ["3", "4"]]


def test_rows_of_another_width_are_reported_and_blank_rows_ignored() -> None:
    assert cells_of("a,b\n1\n\n,\n1,2,3\n1,2,,\n  ,\n1,2") == [
        "The row has 1 cells; the header has 2.",
        "The row has 3 cells; the header has 2.",
        ["1", "2"],
        ["1", "2"],
    ]


def test_row_that_is_too_long_is_dropped_while_it_arrives() -> None:
    data = b"a,b\n" + b"x" * (3 * MAX_ROW_BYTES) + b",2\n3,4\n"
    splitter = TableSplitter(detect_layout(data[:100], is_whole=False), 4)
    found: list[Row] = []
    for begin in range(4, len(data), 50_000):
        splitter.feed(data[begin : begin + 50_000])
        assert len(splitter._buffer) <= MAX_ROW_BYTES + 100_000
        found += splitter.take(10)
    assert [row.problem.code if row.problem else list(row.cells) for row in found] == [Code.TOO_LONG, ["3", "4"]]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_delimiter_is_detected_between_the_column_names(delimiter: str) -> None:
    layout = detect_layout(f'\ufeffa{delimiter}"b, c"{delimiter}{delimiter}a\n'.encode(), is_whole=True)
    assert (layout.delimiter, layout.columns) == (delimiter, ("a", "b, c", "column_3", "a_2"))


def test_encoding_is_utf_8_unless_other_bytes_come_first() -> None:
    assert detect_encoding("a,é\n".encode("cp1252")) == "cp1252"
    assert detect_encoding("a,é\n".encode() + b"\xe9\n") == "utf-8"
    assert detect_encoding("é".encode()[:1]) == "utf-8"
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
def test_file_without_column_names_is_rejected(data: bytes, expected: Code) -> None:
    with pytest.raises(Refused) as refused:
        detect_layout(data, is_whole=True)
    assert refused.value.problems[0].code is expected
