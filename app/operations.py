"""One operation as operators see it: what it was called, who sent it, what became of it; for its log line and metrics.

The edge opens one for each HTTP request and for each operation on a socket; whoever learns something about it notes it on
the `current` one. It never holds a document, a variable, a key or a person.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Literal

from app import logs, metrics, tracing

Transport = Literal["http", "sse", "ws"]
MOST_CODES = 20


@dataclass(slots=True)
class Operation:
    """What is known of one operation so far. `kind` is None where no document was understood."""

    transport: Transport
    span: tracing.Span
    name: str | None = None
    kind: str | None = None
    workspace_id: str | None = None
    key_id: str | None = None
    refused: bool = False
    codes: list[str] = field(default_factory=list)
    started: float = field(default_factory=time.perf_counter)

    @property
    def seconds(self) -> float:
        """How long it has taken until now."""
        return time.perf_counter() - self.started

    def understood(self, name: str | None, kind: str) -> None:
        """Notes what the document says it is."""
        self.name, self.kind = name, kind
        self.span.rename(kind if name is None else f"{kind} {name[: metrics.MOST_CHARACTERS]}")
        self.span.note(graphql__operation__type=kind)

    def sent_by(self, workspace_id: str, key_id: str) -> None:
        """Notes whose key came with it."""
        self.workspace_id, self.key_id = workspace_id, key_id
        self.span.note(punchcard__workspace=workspace_id)

    def answered(self, body: Mapping[str, Any]) -> None:
        """Notes the errors of a response; one without `data` was refused."""
        errors = body.get("errors")
        if errors:
            self.refused = self.refused or "data" not in body
            self.failed(str(error["extensions"]["code"]) for error in errors)

    def failed(self, codes: Iterable[str]) -> None:
        """Notes the codes of errors."""
        for code in codes:
            metrics.ERRORS.labels(code).inc()
            if code not in self.codes and len(self.codes) < MOST_CODES:
                self.codes.append(code)

    @property
    def facts(self) -> dict[str, object]:
        """What a log line says of it; nothing that is not known."""
        facts: dict[str, object] = {
            "operation": self.name,
            "type": self.kind,
            "workspace": self.workspace_id,
            "key": self.key_id,
            "codes": self.codes,
            "trace_id": tracing.trace_id(),
        }
        return {name: value for name, value in facts.items() if value}


_current: ContextVar[Operation | None] = ContextVar("operation", default=None)


def current() -> Operation:
    """The operation that is being answered; one that nobody will look at where there is none."""
    return _current.get() or Operation("http", tracing.NOTHING)


@contextlib.contextmanager
def observed(
    transport: Transport, request_id: str, *, parent: str | None = None, state: str | None = None
) -> Iterator[Operation]:
    """Opens an operation, current inside the block, with a span and the request's id on every log line; counts it after."""
    with tracing.span("request", "request", parent, state) as span, logs.bound(request_id=request_id):
        operation = Operation(transport, span)
        token = _current.set(operation)
        try:
            yield operation
        finally:
            _current.reset(token)
            _counted(operation)


def _counted(operation: Operation) -> None:
    if operation.codes:
        operation.span.failed(", ".join(operation.codes))
    if operation.kind is None and not operation.refused:
        return
    name = metrics.bounded(operation.name or "none")
    kind = operation.kind or "unknown"
    outcome = "refused" if operation.refused else "errors" if operation.codes else "ok"
    metrics.OPERATIONS.labels(name, kind, operation.transport, outcome).inc()
    if kind in ("query", "mutation"):
        metrics.OPERATION_SECONDS.labels(name, kind).observe(operation.seconds)
