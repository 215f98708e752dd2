"""Observation of one operation for operators, as a log line, metrics and a span: its name, caller, duration and errors.

The API opens an `Operation` for each HTTP request and for each operation on a WebSocket. Other code adds facts to the
`current` operation. An operation never holds a document, variables, a key's secret or personal data.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Literal

from . import metrics, tracing
from .logs import ACCESS

log = logging.getLogger(ACCESS)

Transport = Literal["http", "sse", "multipart", "ws"]
MAX_CODES = 20


@dataclass(slots=True)
class Operation:
    """The facts about one operation so far.

    `kind` is its type, such as "query"; it is None if no document was parsed. `title` begins the log line, which has
    the level `level` and the further fields `extra`.
    """

    transport: Transport
    span: tracing.Span
    title: str = ""
    level: int = logging.INFO
    name: str | None = None
    kind: str | None = None
    workspace_id: str | None = None
    key_id: str | None = None
    refused: bool = False
    cost: int = 0
    codes: list[str] = field(default_factory=list)
    aggregations: dict[str, int] = field(default_factory=dict)
    extra: dict[str, object] = field(default_factory=dict)

    def note_document(self, name: str | None, kind: str) -> None:
        """Store the operation's name and type from its document."""
        self.name, self.kind = name and name[: metrics.MAX_LABEL_CHARACTERS], kind
        self.span.rename(kind if name is None else f"{kind} {self.name}")
        self.span.note(graphql__operation__type=kind)

    def note_caller(self, workspace_id: str, key_id: str) -> None:
        """Store the workspace and the API key that sent the operation."""
        self.workspace_id, self.key_id = workspace_id, key_id
        self.span.note(punchcard__workspace=workspace_id)

    def add_cost(self, points: int) -> None:
        """Add the points that the operation costs its key."""
        self.cost += points

    def count_aggregation(self, source: str) -> None:
        """Count an aggregation by what it was computed from: rollups or events."""
        self.aggregations[source] = self.aggregations.get(source, 0) + 1

    def note_response(self, body: Mapping[str, Any]) -> None:
        """Count the errors of a response. A response without `data` marks the operation as refused."""
        errors = body.get("errors")
        if not errors:
            return
        self.refused = self.refused or "data" not in body
        self._add_codes(str(error["extensions"]["code"]) for error in errors)

    def _add_codes(self, codes: Iterable[str]) -> None:
        for code in codes:
            metrics.ERRORS.labels(code).inc()
            if code not in self.codes and len(self.codes) < MAX_CODES:
                self.codes.append(code)


_current: ContextVar[Operation | None] = ContextVar("operation", default=None)


def current() -> Operation:
    """Return the operation of this task. Outside of an operation, return a new one that is never logged."""
    return _current.get() or Operation("http", tracing.NOTHING)


@contextlib.contextmanager
def observe_operation(
    transport: Transport, title: str, *, parent: str | None = None, state: str | None = None
) -> Iterator[Operation]:
    """Open an operation with a span, which is current inside the block. At its end, count and log the operation.

    `parent` and `state` are the W3C headers `traceparent` and `tracestate` of the request.
    """
    started = time.perf_counter()
    with tracing.span("request", "request", parent, state) as span:
        operation = Operation(transport, span, title)
        token = _current.set(operation)
        try:
            yield operation
        finally:
            _current.reset(token)
            seconds = time.perf_counter() - started
            _count(operation, seconds)
            if log.isEnabledFor(operation.level):
                _log(operation, seconds)


def _count(operation: Operation, seconds: float) -> None:
    if operation.codes:
        operation.span.fail(", ".join(operation.codes))
    if operation.kind is None and not operation.refused:
        return
    name = metrics.limit_label(operation.name or "none")
    kind = operation.kind or "unknown"
    outcome = "refused" if operation.refused else "errors" if operation.codes else "ok"
    metrics.OPERATIONS.labels(name, kind, operation.transport, outcome).inc()
    if operation.cost:
        metrics.COST.labels(name, kind).inc(operation.cost)
    if kind in ("query", "mutation"):
        metrics.OPERATION_SECONDS.labels(name, kind).observe(seconds)


def _log(operation: Operation, seconds: float) -> None:
    optional = {
        "operation": operation.name,
        "type": operation.kind,
        "transport": operation.transport,
        "workspace": operation.workspace_id,
        "key": operation.key_id,
        "cost": operation.cost or None,
        "codes": operation.codes or None,
        "aggregations": operation.aggregations or None,
        "trace_id": tracing.trace_id(),
    }
    words = [operation.title, operation.kind, operation.name, ",".join(operation.codes), f"{seconds * 1000:.1f} ms"]
    fields = {name: value for name, value in optional.items() if value is not None}
    extra = {**operation.extra, **fields, "seconds": round(seconds, 6)}
    log.log(operation.level, " ".join(word for word in words if word), extra=extra)
