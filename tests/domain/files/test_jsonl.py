"""JSON Lines files: from lines to rows and events."""

from __future__ import annotations

import contextlib
import json
from base64 import b64encode
from dataclasses import fields
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.errors import Code, Refused
from app.domain.events.events import EventInput
from app.domain.events.validation import ValidationRules, validate_event
from app.domain.files.columns import ATTRIBUTES, CellKind, ColumnMapping
from app.domain.files.import_plan import ImportPlan
from app.domain.files.imports import ImportFormat, detect_format, plan_import
from app.domain.files.jsonl import LineSplitter
from app.domain.files.row_splitter import MAX_ROW_BYTES, Row


def read(text: str | bytes, *given: ColumnMapping, guess: bool = True) -> tuple[ImportPlan, list[Row]]:
    data = text.encode() if isinstance(text, str) else text
    return plan_import(
        ImportFormat.JSONL, data, given, is_whole=True, guess=guess, source="import:x", timezone="UTC", currency="USD"
    )


def events(text: str, *given: ColumnMapping) -> list[EventInput]:
    plan, rows = read(text, *given)
    return [plan.parse_row(number, row) for number, row in enumerate(rows, 1)]


def test_line_becomes_the_event_that_record_events_would_record() -> None:
    line = {
        "passExternalId": " ann", "type": "Check-In", "amount": 29.30, "occurredAt": "2026-01-31T09:30:00+01:00",
        "externalId": 7, "source": "pos", "metadata": {"a": {"b": [1.5]}}, "label": "Hi", "fieldName": None,
        "extra": 1.0,
    }  # fmt: skip
    [event] = events("\ufeff" + json.dumps(line) + "\n\n")
    assert event == EventInput(
        type="Check-In",
        pass_external_id=" ann",
        amount=Decimal("29.3"),
        occurred_at=datetime(2026, 1, 31, 8, 30, tzinfo=UTC),
        external_id="7",
        source="pos",
        label="Hi",
        metadata={"a": {"b": [1.5]}, "extra": 1.0},
    )


def test_amounts_keep_all_their_digits() -> None:
    [event] = events('{"passExternalId":"a","type":"t","amount":123456789012345.123456}')
    assert event.amount == Decimal("123456789012345.123456")


def test_numbers_of_the_metadata_keep_their_digits() -> None:
    line = (
        '{"passExternalId":"a","type":"t","order":1152921506151679042,"metadata":{"x":[1e-7,0.12345678901234567890]}}'
    )
    [event] = events(line)
    assert event.metadata == {"order": "1152921506151679042", "x": [1e-7, "0.12345678901234567890"]}


def test_kind_of_a_mapping_decides_what_its_value_becomes() -> None:
    kinds = [
        ColumnMapping("metadata.a", "p", kind=CellKind.NUMBER),
        ColumnMapping("metadata.b", "t", kind=CellKind.TEXT),
    ]
    [event] = events('{"passExternalId":"a","type":"t","p":"2,50","t":1.10}\n', *kinds)
    assert event.metadata == {"a": 2.5, "b": "1.10"}


def test_mapped_amount_with_two_readings_needs_a_decimal_mark() -> None:
    plan, [row] = read('{"passExternalId":"a","type":"t","total":"1,234"}', ColumnMapping("amount", "total"))
    with pytest.raises(Refused):
        plan.parse_row(1, row)
    _, [_, row] = lines = read(
        '{"passExternalId":"a","type":"t","total":"1,5"}\n{"passExternalId":"a","type":"t","total":"1,234"}',
        ColumnMapping("amount", "total"),
    )
    assert lines[0].parse_row(2, row).amount == Decimal("1.234")


def test_line_can_contain_every_field_of_record_events_input() -> None:
    handled_apart = {"pass_id", "metadata", "repeat_metadata", "correction_of", "guard"}
    assert {field.name for field in fields(EventInput)} - handled_apart == set(ATTRIBUTES.values())


def test_mapping_reads_paths_and_the_formats_of_csv_values() -> None:
    text = json.dumps(
        {"customer": {"id": 17, "city": "Bern"}, "when": "31.01.2026", "total": "1.234,50 €", "amount": "x", "a.b": 1}
    )
    [event] = events(
        text,
        ColumnMapping("passExternalId", "customer.id"),
        ColumnMapping("type", None, "Check-In"),
        ColumnMapping("occurredAt", "when"),
        ColumnMapping("amount", "total"),
        ColumnMapping("metadata.city", "customer.city"),
    )
    assert event == EventInput(
        type="check_in",
        pass_external_id="17",
        amount=Decimal("1234.50"),
        currency="EUR",
        occurred_at=datetime(2026, 1, 31, tzinfo=UTC),
        external_id="1",
        source="import:x",
        metadata={"amount": "x", "a.b": 1, "city": "Bern"},
    )


def test_pass_field_is_guessed_if_no_name_matches() -> None:
    plan, [row, _] = read(
        '{"customer_id":"a","total":5,"day":"2026-01-31"}\n{"customer_id":"b","total":6,"day":null}\n'
    )
    assert {mapping.field for mapping in plan.mappings} == {"passExternalId", "amount", "occurredAt", "type"}
    event = plan.parse_row(1, row)
    assert (event.pass_external_id, event.type, event.amount) == ("a", "purchase", 5)


def test_invalid_lines_do_not_affect_other_lines() -> None:
    data = (
        b'{"passExternalId":"a","type":"visit"}\nnot json\n[1]\n\xff\n{"amount":NaN}\n'
        + b'{"metadata":"' + b"x" * MAX_ROW_BYTES + b'"}\n' + b"[" * 90_000 + b"\n"
        + b'{"passExternalId":"b","type":"visit"}'
    )  # fmt: skip
    _, rows = read(data)
    assert [None if row.problem is None else row.problem.code for row in rows] == [
        None,
        Code.INVALID,
        Code.INVALID,
        Code.INVALID,
        Code.INVALID,
        Code.TOO_LONG,
        Code.INVALID,
        None,
    ]


@given(
    st.lists(st.sampled_from([b"{}", b"", b'{"a":"\xc3\xa9"}', b"no", b"\xc3", b"  ", b"{\r"])),
    st.lists(st.integers(0, 40)),
)
def test_lines_do_not_depend_on_how_the_bytes_arrive(lines: list[bytes], cuts: list[int]) -> None:
    data = b"\n".join(lines)

    def split(places: list[int]) -> list[Row]:
        splitter = LineSplitter(0)
        found: list[Row] = []
        for begin, stop in zip([0, *places], [*places, len(data)], strict=True):
            splitter.feed(data[begin:stop])
            found += splitter.take(100)
        splitter.end()
        return found + splitter.take(100)

    whole = split([])
    assert split(sorted(cut for cut in cuts if cut <= len(data))) == whole
    assert len(whole) == sum(bool(line.strip()) for line in lines)


def test_missing_and_invalid_fields_of_a_line_are_reported() -> None:
    plan, _ = read('{"passExternalId":"a","type":"visit","occurredAt":"2026-01-31T00:00:00Z","externalId":"1"}\n')
    for line, expected in (
        ({"type": "visit"}, ["passExternalId", "occurredAt", "externalId"]),
        ({"passExternalId": "a", "type": " ", "occurredAt": "never", "externalId": "1"}, ["type", "occurredAt"]),
        (
            {"passExternalId": "a", "type": "visit", "occurredAt": 10**12, "externalId": "1", "metadata": 1},
            ["metadata"],
        ),
    ):
        with pytest.raises(Refused) as refused:
            plan.parse_row(1, Row((), "", 0, problem=None, values=json.loads(json.dumps(line), parse_float=Decimal)))
        assert sorted(p.field[0] for p in refused.value.problems) == sorted(expected)


def test_correction_names_its_original_by_id_or_by_external_id() -> None:
    line = {"passExternalId": "a", "type": "refund", "correctionOf": b64encode(b"Event:event_0a").decode()}
    plan, [first, second] = read(f"{json.dumps(line)}\n{json.dumps(line | {'correctionOfExternalId': 'o-1'})}")
    assert plan.parse_row(1, first).correction_of == "event_0a"
    assert (plan.find_corrected_identity(first), plan.find_corrected_identity(second)) == (None, ("import:x", "o-1"))
    assert plan.parse_row(2, second).metadata is None


NAMES = st.sampled_from(
    [*ATTRIBUTES, "metadata", "correctionOf", "id", "recordedAt", "correctionOfExternalId", "x", ""]
)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(["event_1", "\ud800", "1e9999"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)


@given(st.dictionaries(NAMES, VALUES))
def test_any_json_line_is_parsed_or_rejected(line: dict[str, object]) -> None:
    plan, _ = read('{"passExternalId":"a","type":"visit"}')
    splitter = plan.open_splitter(0)
    splitter.feed(json.dumps(line).encode())
    splitter.end()
    for row in splitter.take(1):
        if row.problem is None:
            exported_id = plan.find_exported_id(row)
            assert exported_id is None or exported_id.isalnum() or exported_id.startswith("event_")
            plan.find_corrected_identity(row)
            with contextlib.suppress(Refused):
                validate_event(plan.parse_row(1, row), ValidationRules(datetime(2026, 1, 1, tzinfo=UTC), "USD"))


def test_line_without_id_is_identified_by_file_and_line_number() -> None:
    first, second = events(
        '{"passExternalId":"a","type":"visit"}\n{"passExternalId":"a","type":"visit","source":"pos"}\n'
    )
    assert (first.source, first.external_id) == ("import:x", "1")
    assert (second.source, second.external_id) == ("pos", "import:x:2")


@pytest.mark.parametrize(("text", "given", "path"), [
    ("", (), ("file",)),
    ("x\n", (), ("file",)),
    ('{"a":1}', (), ("columns",)),
    ('{"passExternalId":"a"}', (ColumnMapping("type", "kind"),), ("columns", "0", "column")),
    ('{"passExternalId":"a","\\ud800":"x"}', (ColumnMapping("type", "\ud800"),), ("columns", "0", "column")),
    ('{"passExternalId":"a"}', (ColumnMapping("type", None, "\ud800"),), ("columns", "0", "value")),
])  # fmt: skip
def test_unusable_file_is_rejected(text: str, given: tuple[ColumnMapping, ...], path: tuple[str, ...]) -> None:
    with pytest.raises(Refused) as refused:
        read(text, *given, guess=not given)
    assert refused.value.problems[0].field == path


def test_format_is_detected_from_the_name_or_the_first_character() -> None:
    assert [detect_format(name, head).value for name, head in (
        ("a.jsonl", b""), ("A.NDJSON", b""), ("a.csv", b"{"), ("a.txt", b' {"a"'), ("a.txt", b"a,b"),
    )] == ["JSONL", "JSONL", "CSV", "JSONL", "CSV"]  # fmt: skip
