"""CSV files: encoding, delimiter, and rows with quotation marks."""

from __future__ import annotations

import csv
import io
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.errors import Code, Refused
from app.domain.files.csv_table import (
    QUOTES_ADVICE,
    SWALLOWED_ADVICE,
    Layout,
    TableSplitter,
    detect_encoding,
    detect_layout,
    read_first_rows,
)
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
    assert cells_of('a,b\n1,"2\n3,4\n5,6\n') == [QUOTES_ADVICE, ["3", "4"], ["5", "6"]]
    assert cells_of('a,b\n1,"2\n3,4"\n5,6\n') == [["1", "2\n3,4"], ["5", "6"]]
    assert cells_of('a,b\n1,5" pipe\n3,4\n') == [["1", '5" pipe'], ["3", "4"]]


def test_text_behind_a_closing_quotation_mark_spoils_only_its_own_row() -> None:
    assert cells_of('a,b\n1,"open\n2,x\n3,"closed"\n4,y\n') == [QUOTES_ADVICE, ["2", "x"], ["3", "closed"], ["4", "y"]]
    assert cells_of('a,b\n1,"x" \n2,"say ""hi"""\n') == [QUOTES_ADVICE, ["2", 'say "hi"']]


@pytest.mark.parametrize(
    "rows",
    [
        ['ann,2026-01-02,1.00,"open', "bob,2026-01-03,2.00,y", 'cat,2026-01-04,3.00,closed"', "dan,2026-01-05,4,z"],
        ['ann,2026-01-02,1.00,"open', 'bob,2026-01-03,,closed"', 'cat,2026-01-04,3.00,"x, y"'],
        ['"open,2026-01-02,1.00,x', 'bob",2026-01-03,2.00,y'],
        ['"ann","02-Jan-26","1.00","open', 'bob,03-Jan-26,2.00,closed"'],
    ],
)
def test_two_stray_quotation_marks_do_not_swallow_the_rows_between_them(rows: list[str]) -> None:
    text = "\n".join(["customer,date,amount,note", *rows])
    found = rows_of(text.encode())
    problems = [row.problem and row.problem.message for row in found]
    assert problems == [SWALLOWED_ADVICE, *[None] * (len(rows) - 1)]


@pytest.mark.parametrize(
    "note",
    ["bread, butter, jam", "12 Main St\nSpringfield", "1, 2\n3, 4, 5", "Paid 5,00\n\n2 items, 3 bags, red, blue"],
)
def test_note_of_several_lines_is_one_cell(note: str) -> None:
    assert cells_of(f'customer,date,amount,note\nann,2026-01-02,1.00,"Thanks:\n{note}"') == [
        ["ann", "2026-01-02", "1.00", f"Thanks:\n{note}"]
    ]


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


@pytest.mark.parametrize(
    "text",
    [
        "sep=;\ncustomer;b\nann;1\n",
        '"sep=;"\r\ncustomer;b\r\nann;1\r\n',
        "\ufeffSEP=^\rcustomer^b\rann^1",
        "customer,b\rann,1\r",
        "customer,b\r\r\nann,1\r\r\n",
        "customer,b\n\ufeffann,1\n",
        'customer,b\n\ufeff"ann",1\n',
        "customer,b\nann,\ufeff1\n",
        'customer,"b"\rann,1',
    ],
)
def test_table_is_read_as_spreadsheets_write_it(text: str) -> None:
    data = text.encode()
    layout = detect_layout(data, is_whole=True)
    assert layout.columns == ("customer", "b")
    for cuts in ([], list(range(len(data)))):
        assert [[cell.strip() for cell in row.cells] for row in split(data, layout, cuts)] == [["ann", "1"]]


def test_name_of_a_column_may_span_lines() -> None:
    for data in ('a,b,"note\n(free), x"\n1,2,"3\n4"\n', 'a;5" pipe;"x\ny"\n1;2;"3\n4"\n'):
        layout = detect_layout(data.encode(), is_whole=True)
        assert layout.columns[2] in ("note\n(free), x", "x\ny")
        assert cells_of(data) == [["1", "2", "3\n4"]]


def test_line_feed_in_a_quoted_cell_ends_no_row_of_a_file_with_carriage_returns() -> None:
    assert cells_of('a,b\r1,"x\ny"\r2,z\r') == [["1", "x\ny"], ["2", "z"]]


def test_last_columns_without_a_name_are_read() -> None:
    data = "a,b,,\n1,2,3\n4,5\n6,7,,8\n9\n1,2,3,4,5\n"
    assert detect_layout(data.encode(), is_whole=True).columns == ("a", "b", "column_3", "column_4")
    assert cells_of(data) == [
        ["1", "2", "3", ""],
        ["4", "5", "", ""],
        ["6", "7", "", "8"],
        "The row has 1 cells; the header has 2.",
        "The row has 5 cells; the header has 2.",
    ]
    assert len(detect_layout(b"a,b" + b"," * 16_382 + b"\n", is_whole=True).columns) == 500


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
