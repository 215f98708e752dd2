"""Traces with OpenTelemetry. Without a collector they are off, and the library is not loaded.

A trace leads from a request through wake-ups to the stages they wake. The wake-up carries the trace as a W3C
`traceparent`. If Redis loses a wake-up, the sweep does the work without a trace. Spans of stages have the names in
`app/flow.py`.
"""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, TypeVar

from app.config.settings import ConfigError

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import SpanProcessor

P = ParamSpec("P")
T = TypeVar("T")
FLUSH_TIMEOUT_SECONDS = 2.0
"""How long `stop` waits until the collector has received the last spans."""


class Span(Protocol):
    """One step of a trace."""

    def rename(self, name: str) -> None:
        """Change the name of the step."""

    def note(self, **attributes: str | int) -> None:
        """Add attributes. A `__` in a name becomes a dot."""

    def fail(self, reason: str) -> None:
        """Mark the step as failed, with the reason."""


class _NoSpan:
    def rename(self, name: str) -> None:
        pass

    def note(self, **attributes: str | int) -> None:
        pass

    def fail(self, reason: str) -> None:
        pass


class _Tracer:
    """All code that needs the library, so that it is loaded only if traces are on."""

    def __init__(self, service: str, processor: SpanProcessor) -> None:
        from opentelemetry import trace
        from opentelemetry.sdk.resources import SERVICE_NAME, OTELResourceDetector, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._trace = trace
        # OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES override the service's own name.
        resource = Resource.create({SERVICE_NAME: service}).merge(OTELResourceDetector().detect())
        # Do not shut down at the interpreter's exit, too: this shutdown would wait without a limit for a collector that
        # does not answer.
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("punchcard")
        self._propagator = TraceContextTextMapPropagator()
        self._kinds = {"request": trace.SpanKind.SERVER, "stage": trace.SpanKind.CONSUMER}

    @contextlib.contextmanager
    def span(self, name: str, kind: str, parent: str | None, state: str | None) -> Iterator[Span]:
        carrier = {"traceparent": parent or "", "tracestate": state or ""}
        context = self._propagator.extract(carrier) if parent else None
        with self._tracer.start_as_current_span(
            name, context, self._kinds.get(kind, self._trace.SpanKind.INTERNAL)
        ) as span:
            yield _RecordedSpan(span)

    def traceparent(self) -> str | None:
        carrier: dict[str, str] = {}
        self._propagator.inject(carrier)
        return carrier.get("traceparent")

    def trace_id(self) -> str | None:
        context = self._trace.get_current_span().get_span_context()
        return f"{context.trace_id:032x}" if context.is_valid else None

    def close(self) -> None:
        flushing = threading.Thread(target=self._provider.shutdown, daemon=True)
        flushing.start()
        flushing.join(FLUSH_TIMEOUT_SECONDS)


class _RecordedSpan:
    def __init__(self, span: Any) -> None:
        self._span = span

    def rename(self, name: str) -> None:
        self._span.update_name(name)

    def note(self, **attributes: str | int) -> None:
        self._span.set_attributes({name.replace("__", "."): value for name, value in attributes.items()})

    def fail(self, reason: str) -> None:
        from opentelemetry.trace import Status, StatusCode

        self._span.set_status(Status(StatusCode.ERROR, reason))


NOTHING: Span = _NoSpan()
_tracer: _Tracer | None = None


def start(endpoint: str | None, service: str) -> None:
    """Send traces to the collector from now on. Without an endpoint, do nothing.

    OpenTelemetry's own variables set sampling, headers and the like. Raises ConfigError if its packages are missing.
    """
    if endpoint is None:
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise ConfigError(
            ["OTEL_EXPORTER_OTLP_ENDPOINT is set, but the packages for traces are missing. Install punchcard[tracing]."]
        ) from error
    trace_with(service, BatchSpanProcessor(OTLPSpanExporter(f"{endpoint.rstrip('/')}/v1/traces")))


def trace_with(service: str, processor: SpanProcessor) -> None:
    """Pass every span that ends from now on to the processor, under the name of the service."""
    global _tracer  # noqa: PLW0603  # one tracer for each process, like its log
    _tracer = _Tracer(service, processor)


def stop() -> None:
    """Send waiting spans for up to two seconds, and stop tracing. Blocks the thread. Safe to repeat."""
    global _tracer
    tracer, _tracer = _tracer, None
    if tracer is not None:
        tracer.close()


def span(
    name: str, kind: str = "step", parent: str | None = None, state: str | None = None
) -> AbstractContextManager[Span]:
    """Open a step of the current trace, or of the trace of `parent`, a W3C `traceparent`.

    A malformed `parent` starts a new trace. `kind` is "request" for a request from outside, "stage" for a stage that a
    wake-up started, else "step". Attributes and names must not hold personal data.
    """
    return contextlib.nullcontext(NOTHING) if _tracer is None else _tracer.span(name, kind, parent, state)


def traced(name: str) -> Callable[[Callable[P, Awaitable[T]]], Callable[P, Awaitable[T]]]:
    """Return a decorator that makes every call of a coroutine function a step of this name."""

    def decorate(function: Callable[P, Awaitable[T]]) -> Callable[P, Awaitable[T]]:
        @functools.wraps(function)
        async def step(*args: P.args, **kwargs: P.kwargs) -> T:
            with span(name):
                return await function(*args, **kwargs)

        return step

    return decorate


def traceparent() -> str | None:
    """Return the W3C `traceparent` of the current step, or None if there is no trace."""
    return None if _tracer is None else _tracer.traceparent()


def trace_id() -> str | None:
    """Return the id of the current trace, 32 hexadecimal digits, or None if there is no trace."""
    return None if _tracer is None else _tracer.trace_id()
