"""Log formats: text for people, or one JSON object for each line. All code logs through the standard library.

`bind` adds fields, such as the id of a request, to every line that the same task or a task it starts writes meanwhile.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Literal

import orjson

from app.domain.values.instants import format_instant

ACCESS = "punchcard.access"
"""Name of the logger that writes one line for every request."""
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}

_bound: ContextVar[Mapping[str, object]] = ContextVar("bound", default=MappingProxyType({}))


@contextlib.contextmanager
def bind(**fields: object) -> Iterator[None]:
    """Add the fields to every line that is written inside the block, beside the fields of surrounding blocks."""
    token = _bound.set({**_bound.get(), **fields})
    try:
        yield
    finally:
        _bound.reset(token)


class JsonFormatter(logging.Formatter):
    """Formatter that writes one JSON object for each line.

    Its fields are `at` (RFC 3339, UTC), `level`, `logger`, `message`, the bound fields, extras, and `error` after an
    exception.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the line without a line break at its end."""
        line: dict[str, object] = {
            "at": format_instant(datetime.fromtimestamp(record.created, UTC)),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **_bound.get(),
        }
        line.update((name, value) for name, value in vars(record).items() if name not in _STANDARD)
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return orjson.dumps(line, default=str, option=orjson.OPT_NON_STR_KEYS).decode()


class TextFormatter(logging.Formatter):
    """Formatter that writes one line of text, with the id of the request, if any, at the end."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(name)s: %(message)s", "%H:%M:%S")

    def formatMessage(self, record: logging.LogRecord) -> str:
        """Return the line without the traceback of an exception."""
        request_id = _bound.get().get("request_id")
        line = super().formatMessage(record)
        return line if request_id is None else f"{line} [{request_id}]"


def configure(level: str, style: Literal["text", "json"], access: Literal["on", "off"] = "on") -> None:
    """Log every message of the level or above to standard error. Replace earlier configuration.

    `access` turns the line for every request on or off.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if style == "json" else TextFormatter())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    # These libraries log a line for every job and every topology change, which would hide the other lines.
    library_level = max(logging.WARNING, logging.getLevelName(level))
    for library in ("arq", "pymongo", "motor", "uvicorn.access", "websockets"):
        logging.getLogger(library).setLevel(library_level)
    logging.getLogger(ACCESS).setLevel(logging.NOTSET if access == "on" else library_level)
