from __future__ import annotations

import logging
import sys
from decimal import Decimal

import orjson

from app.telemetry.logs import JsonFormatter


def line(**extra: object) -> dict[str, object]:
    record = logging.makeLogRecord({"name": "app.bus", "levelname": "INFO", "msg": "%d lost", "args": (3,), **extra})
    record.created, record.msecs = 1_767_225_600.25, 250.0
    parsed: dict[str, object] = orjson.loads(JsonFormatter().format(record))
    return parsed


def test_a_line_is_one_json_object_with_its_instant_in_utc() -> None:
    assert line() == {"at": "2026-01-01T00:00:00.250Z", "level": "INFO", "logger": "app.bus", "message": "3 lost"}


def test_extras_are_fields_whatever_their_type() -> None:
    assert line(pending=7, amount=Decimal("1.50"))["amount"] == "1.50"
    assert line(pending=7)["pending"] == 7


def test_an_exception_is_in_the_line_and_does_not_break_it() -> None:
    try:
        raise KeyError("gone")
    except KeyError:
        logged = line(exc_info=sys.exc_info())
    assert "KeyError: 'gone'" in str(logged["error"])
