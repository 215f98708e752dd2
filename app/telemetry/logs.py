"""How log lines look: for people, or one JSON object a line. Everything logs through the standard library.

What is `bound` is in every line written while it is, from the same task or one it started: the id of the request, say.
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
"""The logger of one line for every request."""
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}

_bound: ContextVar[Mapping[str, object]] = ContextVar("bound", default=MappingProxyType({}))


@contextlib.contextmanager
def bound(**fields: object) -> Iterator[None]:
    """Adds the fields to every line that is written inside the block, and to those bound around it."""
    token = _bound.set({**_bound.get(), **fields})
    try:
        yield
    finally:
        _bound.reset(token)


class JsonFormatter(logging.Formatter):
    """One JSON object a line: `at` (RFC 3339, UTC), `level`, `logger`, `message`, `error` if any, what is bound, extras."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
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
    """One line for people; the id of the request it belongs to, if any, comes last."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(name)s: %(message)s", "%H:%M:%S")

    def formatMessage(self, record: logging.LogRecord) -> str:
        """The line, without the trace of an exception."""
        request_id = _bound.get().get("request_id")
        line = super().formatMessage(record)
        return line if request_id is None else f"{line} [{request_id}]"


def configure(level: str, style: Literal["text", "json"], access: Literal["on", "off"] = "on") -> None:
    """Sends every message of the level or above to standard error in the style; replaces what was configured before.

    `access` says whether every request has its line.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if style == "json" else TextFormatter())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    # A line for every job and every topology change would drown the rest.
    quiet = max(logging.WARNING, logging.getLevelName(level))
    for chatty in ("arq", "pymongo", "motor", "uvicorn.access", "websockets"):
        logging.getLogger(chatty).setLevel(quiet)
    logging.getLogger(ACCESS).setLevel(logging.NOTSET if access == "on" else quiet)
