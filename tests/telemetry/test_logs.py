"""Log lines in JSON: fields, extras and exceptions."""

from __future__ import annotations

import logging
import sys
from decimal import Decimal

import orjson

from app.telemetry.logs import JsonFormatter


def format_line(**extra: object) -> dict[str, object]:
    record = logging.makeLogRecord({"name": "app.bus", "levelname": "INFO", "msg": "%d lost", "args": (3,), **extra})
    record.created, record.msecs = 1_767_225_600.25, 250.0
    parsed: dict[str, object] = orjson.loads(JsonFormatter().format(record))
    return parsed


def test_line_is_one_json_object_with_its_instant_in_utc() -> None:
    assert format_line() == {
        "at": "2026-01-01T00:00:00.250Z",
        "level": "INFO",
        "logger": "app.bus",
        "message": "3 lost",
    }


def test_extras_of_any_type_are_fields_of_the_line() -> None:
    assert format_line(pending=7, amount=Decimal("1.50"))["amount"] == "1.50"
    assert format_line(pending=7)["pending"] == 7


def test_exception_is_a_field_of_the_same_line() -> None:
    try:
        raise KeyError("missing")
    except KeyError:
        fields = format_line(exc_info=sys.exc_info())
    assert "KeyError: 'missing'" in str(fields["error"])
