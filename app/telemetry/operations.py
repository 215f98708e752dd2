"""One operation as operators see it: what it was called, who sent it, what became of it; as a log line, metrics, a span.

The edge opens one for each HTTP request and for each operation on a socket; whoever learns something about it notes it on
the `current` one. It never holds a document, a variable, a key or a person.
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
    """What is known of one operation so far. `kind` is None where no document was understood.

    `title` begins its log line, at `level`; `extra` are further fields of it.
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
    extra: dict[str, object] = field(default_factory=dict)

    def understood(self, name: str | None, kind: str) -> None:
        """Notes what the document says it is."""
        self.name, self.kind = name and name[: metrics.MAX_LABEL_CHARACTERS], kind
        self.span.rename(kind if name is None else f"{kind} {self.name}")
        self.span.note(graphql__operation__type=kind)

    def sent_by(self, workspace_id: str, key_id: str) -> None:
        """Notes whose key came with it."""
        self.workspace_id, self.key_id = workspace_id, key_id
        self.span.note(punchcard__workspace=workspace_id)

    def spent(self, points: int) -> None:
        """Notes what running it costs its key."""
        self.cost += points

    def answered(self, body: Mapping[str, Any]) -> None:
        """Notes the errors of a response; one without `data` was refused."""
        errors = body.get("errors")
        if not errors:
            return
        self.refused = self.refused or "data" not in body
        self._failed(str(error["extensions"]["code"]) for error in errors)

    def _failed(self, codes: Iterable[str]) -> None:
        for code in codes:
            metrics.ERRORS.labels(code).inc()
            if code not in self.codes and len(self.codes) < MAX_CODES:
                self.codes.append(code)


_current: ContextVar[Operation | None] = ContextVar("operation", default=None)


def current() -> Operation:
    """The operation that is being answered; one that nobody will look at where there is none."""
    return _current.get() or Operation("http", tracing.NOTHING)


@contextlib.contextmanager
def observed(
    transport: Transport, title: str, *, parent: str | None = None, state: str | None = None
) -> Iterator[Operation]:
    """Opens an operation, current inside the block, in a span; counts it, and writes its log line, when the block ends.

    `parent` and `state` are the W3C headers `traceparent` and `tracestate` that came with it.
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
                _tell(operation, seconds)


def _count(operation: Operation, seconds: float) -> None:
    if operation.codes:
        operation.span.failed(", ".join(operation.codes))
    if operation.kind is None and not operation.refused:
        return
    name = metrics.bounded(operation.name or "none")
    kind = operation.kind or "unknown"
    outcome = "refused" if operation.refused else "errors" if operation.codes else "ok"
    metrics.OPERATIONS.labels(name, kind, operation.transport, outcome).inc()
    if operation.cost:
        metrics.COST.labels(name, kind).inc(operation.cost)
    if kind in ("query", "mutation"):
        metrics.OPERATION_SECONDS.labels(name, kind).observe(seconds)


def _tell(operation: Operation, seconds: float) -> None:
    known = {
        "operation": operation.name,
        "type": operation.kind,
        "transport": operation.transport,
        "workspace": operation.workspace_id,
        "key": operation.key_id,
        "cost": operation.cost or None,
        "codes": operation.codes or None,
        "trace_id": tracing.trace_id(),
    }
    words = [operation.title, operation.kind, operation.name, ",".join(operation.codes), f"{seconds * 1000:.1f} ms"]
    fields = {name: value for name, value in known.items() if value is not None}
    extra = {**operation.extra, **fields, "seconds": round(seconds, 6)}
    log.log(operation.level, " ".join(word for word in words if word), extra=extra)
