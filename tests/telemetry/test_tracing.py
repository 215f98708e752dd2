"""Traces from the request through the wake-ups to the stages, and the export of spans.

Without a collector the process traces nothing and does not load the tracing library.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Event, Thread

import httpx
import pytest
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from app.clock import FixedClock
from app.commands.webhooks.endpoints import create_webhook_endpoint
from app.config.settings import Settings
from app.local.servers import free_port
from app.resources import Resources
from app.telemetry import tracing
from tests import servers
from tests.business import Business, open_business, purchases
from tests.graphql.serving import Api, run_api
from tests.patience import PATIENCE_SECONDS, wait_until
from tests.receiver import run_receiver
from workers.main import arq_worker
from workers.stages.deliver import run_endpoint

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE}-00f067aa0ba902b7-01"
RECORD = 'mutation Buy { recordEvent(input: {passExternalId: "ann", type: "purchase", amount: 5}) { status } }'


@pytest.fixture
async def business(resources: Resources, clock: FixedClock) -> Business:
    settings = dataclasses.replace(resources.settings, egress_allow=("127.0.0.1",))
    return await open_business(dataclasses.replace(resources, settings=settings), clock)


@pytest.fixture
async def api(business: Business) -> AsyncIterator[Api]:
    async with run_api(business) as running:
        yield running


@pytest.fixture
def exporter() -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    tracing.trace_with("punchcard-test", SimpleSpanProcessor(exporter))
    yield exporter
    tracing.stop()


@asynccontextmanager
async def run_woken_worker(business: Business) -> AsyncIterator[None]:
    """Run a worker without a sweep. It runs stages only when it is woken, so each run belongs to a trace."""
    arq = arq_worker(business.ctx.resources.settings, business.worker, long=False)
    task = asyncio.create_task(arq.async_run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await arq.close()


async def wait_for_spans(exporter: InMemorySpanExporter, *names: str) -> Mapping[str, ReadableSpan]:
    """Wait until a span of each name has finished, and return the first finished span of each name."""

    def find() -> dict[str, ReadableSpan]:
        return {span.name: span for span in reversed(exporter.get_finished_spans())}

    await wait_until(lambda: set(names) <= set(find()))
    return find()


async def test_trace_of_a_mutation_covers_fold_publish_delivery_and_webhook(
    api: Api, exporter: InMemorySpanExporter
) -> None:
    business = api.business
    await business.create_passes("ann")
    await business.create_segment("buyers", purchases(1))
    async with run_receiver() as receiver:
        endpoint, _ = await create_webhook_endpoint(business.ctx, receiver.url)
        await run_endpoint(business.worker, endpoint.id)
        async with run_woken_worker(business):
            await api.post(json.dumps({"query": RECORD}), traceparent=PARENT)
            names = ("mutation Buy", "record", "fold", "publish", "deliver", "webhook")
            spans = await wait_for_spans(exporter, *names)
            request, record, fold, publish, deliver, webhook = (spans[name] for name in names)
            await asyncio.gather(*business.worker.tasks)
    for span in (request, record, fold, publish, deliver, webhook):
        assert span.context is not None
        assert f"{span.context.trace_id:032x}" == TRACE
    assert receiver.requests[-1].headers["traceparent"].startswith(f"00-{TRACE}-")
    assert request.parent is not None
    assert f"{request.parent.span_id:016x}" == "00f067aa0ba902b7"
    assert request.kind is SpanKind.SERVER
    assert [span.parent and span.parent.span_id for span in (record, fold, publish, deliver)] == [
        span.context and span.context.span_id for span in (request, record, fold, publish)
    ]
    assert request.attributes is not None
    assert request.attributes["punchcard.workspace"] == business.ctx.workspace.id
    assert request.resource.attributes["service.name"] == "punchcard-test"
    assert all("ann" not in str(span.attributes) for span in spans.values())


async def test_request_without_a_valid_parent_starts_a_trace_and_its_error_is_noted(
    api: Api, exporter: InMemorySpanExporter
) -> None:
    for number, headers in enumerate(({}, {"traceparent": "00-zz-1-01"})):
        await api.post(json.dumps({"query": f"query Q{number} {{ viewer {{ workspace {{ id }} }} }}"}), **headers)
    await api.post('{"query": "{ nope }"}')
    spans = await wait_for_spans(exporter, "query Q0", "query Q1", "request")
    assert spans["query Q0"].parent is None
    assert spans["query Q1"].parent is None
    assert spans["request"].status.status_code is StatusCode.ERROR
    assert spans["request"].status.description == "GRAPHQL_VALIDATION_FAILED"


async def test_events_are_folded_without_a_span_if_redis_lost_the_wake_up(
    api: Api, exporter: InMemorySpanExporter
) -> None:
    business = api.business
    await business.create_passes("ann")
    await api.post(json.dumps({"query": RECORD}), traceparent=PARENT)
    await wait_for_spans(exporter, "record")
    await business.ctx.resources.redis.flushall()
    await business.run_worker()
    assert [activity.type for activity in await business.read_log()] == ["customer.created", "customer.custom_event"]
    assert "fold" not in {span.name for span in exporter.get_finished_spans()}


async def test_operation_on_a_socket_starts_a_trace_of_its_own(api: Api, exporter: InMemorySpanExporter) -> None:
    async with api.open_socket() as socket:
        await socket.subscribe("query Who { viewer { workspace { id } } }")
        assert (await socket.receive_data())["viewer"]
        spans = await wait_for_spans(exporter, "query Who")
    assert spans["query Who"].parent is None


def test_tracing_library_is_not_loaded_without_a_collector() -> None:
    script = (
        "import sys, app.api.asgi, workers.main\n"
        "from app.telemetry import tracing\n"
        "tracing.start(None, 'x')\n"
        "with tracing.span('a') as span: span.note(b=1); span.rename('c'); span.fail('d')\n"
        "assert tracing.traceparent() is None and tracing.trace_id() is None\n"
        "assert not [name for name in sys.modules if name.startswith('opentelemetry.sdk')]\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


class Collector(HTTPServer):
    """A collector of spans that keeps the path and the body of each request."""

    def __init__(self) -> None:
        self.received: list[tuple[str, bytes]] = []
        super().__init__(("127.0.0.1", 0), CollectorHandler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class CollectorHandler(BaseHTTPRequestHandler):
    """The handler of one request: it stores the request and responds with 200."""

    def do_POST(self) -> None:
        assert isinstance(self.server, Collector)
        self.server.received.append((self.path, self.rfile.read(int(self.headers["content-length"]))))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def collector() -> Iterator[Collector]:
    collector = Collector()
    thread = Thread(target=collector.serve_forever)
    thread.start()
    yield collector
    collector.shutdown()
    thread.join()
    collector.server_close()


def test_spans_are_sent_to_the_collector_within_the_given_trace(collector: Collector) -> None:
    tracing.start(collector.url, "punchcard-test")
    with tracing.span("fold", "stage", PARENT):
        assert tracing.trace_id() == TRACE
    tracing.stop()
    tracing.stop()
    [(path, body)] = collector.received
    assert path == "/v1/traces"
    assert b"fold" in body
    assert b"punchcard-test" in body


async def test_api_that_is_stopped_sends_its_last_spans_before_it_ends(
    business: Business, settings: Settings, collector: Collector
) -> None:
    child = servers.api(dataclasses.replace(settings, port=free_port(), otlp_endpoint=collector.url))
    await child.start()
    try:
        async with httpx.AsyncClient(timeout=PATIENCE_SECONDS) as http:
            port = child.env and child.env["PUNCHCARD_PORT"]
            await http.post(f"http://127.0.0.1:{port}/graphql", json={"query": "{ viewer { workspace { id } } }"})
        child.signal(signal.SIGTERM)
        async with asyncio.timeout(PATIENCE_SECONDS):
            await child.wait()
    finally:
        await child.kill()
    assert b"UNAUTHENTICATED" in b"".join(body for _, body in collector.received)


def test_stop_waits_only_briefly_for_a_collector_that_does_not_respond(monkeypatch: pytest.MonkeyPatch) -> None:
    """The collector never takes the spans, so the stop returns only because its wait is limited."""
    assert tracing.FLUSH_TIMEOUT_SECONDS <= 2
    monkeypatch.setattr(tracing, "FLUSH_TIMEOUT_SECONDS", 0.05)
    may_end = Event()

    class HangingProcessor(SpanProcessor):
        def shutdown(self) -> None:
            may_end.wait(PATIENCE_SECONDS)

    tracing.trace_with("punchcard-test", HangingProcessor())
    with tracing.span("fold"):
        pass
    tracing.stop()
    assert not may_end.is_set()
    may_end.set()
