"""Traces, by OpenTelemetry: off, and free, unless a collector is configured.

A trace goes from the request through the wake-up to the stages it wakes. The wake-up carries it as a W3C `traceparent`;
one that is lost with its wake-up is missed by nobody. Spans have the names of `flow.py`'s stages.
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
FLUSH_INTERVAL_SECONDS = 2.0
"""How long a process that ends waits for the collector to take its last spans."""


class Span(Protocol):
    """One step of a trace."""

    def rename(self, name: str) -> None:
        """Gives the step another name."""

    def note(self, **attributes: str | int) -> None:
        """Adds attributes; a `__` in a name stands for a dot."""

    def failed(self, why: str) -> None:
        """Says that the step did not do what it was for."""


class _NoSpan:
    def rename(self, name: str) -> None:
        pass

    def note(self, **attributes: str | int) -> None:
        pass

    def failed(self, why: str) -> None:
        pass


class _Tracer:
    """Everything that needs the library, so that it is only loaded where traces are wanted."""

    def __init__(self, service: str, processor: SpanProcessor) -> None:
        from opentelemetry import trace
        from opentelemetry.sdk.resources import SERVICE_NAME, OTELResourceDetector, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._trace = trace
        # What OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES say comes before our own name for ourselves.
        resource = Resource.create({SERVICE_NAME: service}).merge(OTELResourceDetector().detect())
        # Not at the interpreter's exit as well: that would wait for a collector that is away, and has no bound.
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
            yield _Recorded(span)

    def traceparent(self) -> str | None:
        carrier: dict[str, str] = {}
        self._propagator.inject(carrier)
        return carrier.get("traceparent")

    def trace_id(self) -> str | None:
        context = self._trace.get_current_span().get_span_context()
        return f"{context.trace_id:032x}" if context.is_valid else None

    def close(self) -> None:
        ending = threading.Thread(target=self._provider.shutdown, daemon=True)
        ending.start()
        ending.join(FLUSH_INTERVAL_SECONDS)


class _Recorded:
    def __init__(self, span: Any) -> None:
        self._span = span

    def rename(self, name: str) -> None:
        self._span.update_name(name)

    def note(self, **attributes: str | int) -> None:
        self._span.set_attributes({name.replace("__", "."): value for name, value in attributes.items()})

    def failed(self, why: str) -> None:
        from opentelemetry.trace import Status, StatusCode

        self._span.set_status(Status(StatusCode.ERROR, why))


NOTHING: Span = _NoSpan()
_tracer: _Tracer | None = None


def start(endpoint: str | None, service: str) -> None:
    """Sends traces to the collector from now on; nothing where there is none.

    Sampling, headers and the like are OpenTelemetry's own variables. Raises ConfigError where the packages are missing.
    """
    if endpoint is None:
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise ConfigError(
            ["OTEL_EXPORTER_OTLP_ENDPOINT is set, and the packages for it are missing: install punchcard[tracing]."]
        ) from error
    trace_with(service, BatchSpanProcessor(OTLPSpanExporter(f"{endpoint.rstrip('/')}/v1/traces")))


def trace_with(service: str, processor: SpanProcessor) -> None:
    """Gives every span that ends from now on to the processor, under the name of the service."""
    global _tracer  # noqa: PLW0603  # one a process, as its log is
    _tracer = _Tracer(service, processor)


def stop() -> None:
    """Sends what is waiting, for two seconds at most, and traces nothing any more. Blocks. Safe to repeat."""
    global _tracer
    tracer, _tracer = _tracer, None
    if tracer is not None:
        tracer.close()


def span(
    name: str, kind: str = "step", parent: str | None = None, state: str | None = None
) -> AbstractContextManager[Span]:
    """A step of the current trace, or of the one that a W3C `traceparent` names; a malformed one starts a trace.

    `kind` is "request" for what came from outside, "stage" for what was woken. Attributes and names hold no personal data.
    """
    return contextlib.nullcontext(NOTHING) if _tracer is None else _tracer.span(name, kind, parent, state)


def traced(name: str) -> Callable[[Callable[P, Awaitable[T]]], Callable[P, Awaitable[T]]]:
    """Makes every call of a coroutine function a step of this name."""

    def decorate(function: Callable[P, Awaitable[T]]) -> Callable[P, Awaitable[T]]:
        @functools.wraps(function)
        async def step(*args: P.args, **kwargs: P.kwargs) -> T:
            with span(name):
                return await function(*args, **kwargs)

        return step

    return decorate


def traceparent() -> str | None:
    """The W3C `traceparent` of the current step; None where nothing is traced."""
    return None if _tracer is None else _tracer.traceparent()


def trace_id() -> str | None:
    """The id of the current trace, 32 hexadecimal digits; None where nothing is traced."""
    return None if _tracer is None else _tracer.trace_id()
