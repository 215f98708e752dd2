"""The request log: one line for each request, and the id of the request in each line that is logged for it."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Iterator

import pytest

from app.clock import FixedClock
from app.resources import Resources
from app.telemetry import logs
from app.telemetry.logs import ACCESS, JsonFormatter
from tests.business import Business, open_business
from tests.graphql.serving import Api, run_api
from tests.patience import wait_until


class LogLines(logging.Handler):
    """A handler that keeps each line in JSON. It formats a line at the moment it is logged."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.setFormatter(JsonFormatter())
        self.raw: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.raw.append(self.format(record))

    @property
    def access(self) -> list[dict[str, object]]:
        """The lines of the request log, parsed."""
        return [line for line in map(json.loads, self.raw) if line["logger"] == ACCESS]


@pytest.fixture
async def business(resources: Resources, clock: FixedClock) -> Business:
    return await open_business(resources, clock)


@pytest.fixture
async def api(business: Business) -> AsyncIterator[Api]:
    async with run_api(business) as running:
        yield running


@pytest.fixture
def lines() -> Iterator[LogLines]:
    handler = LogLines()
    root, access = logging.getLogger(), logging.getLogger(ACCESS)
    root.addHandler(handler)
    access.setLevel(logging.INFO)
    yield handler
    access.setLevel(logging.NOTSET)
    root.removeHandler(handler)


async def test_request_is_logged_in_one_line_without_its_key_and_its_variables(api: Api, lines: LogLines) -> None:
    document = "mutation Join($name: String!) { createPass(input: {externalId: $name}) { pass { id } } }"
    body = json.dumps({"query": document, "variables": {"name": "ann@example.com"}})
    response = await api.post(body, x_request_id="order-17/a")
    assert response.headers["x-request-id"] == "order-17/a"
    [line] = lines.access
    seconds = line.pop("seconds")
    assert isinstance(seconds, float)
    assert 0 < seconds < 60
    assert line.pop("at")
    assert line == {
        "level": "INFO",
        "logger": "punchcard.access",
        "message": line["message"],
        "request_id": "order-17/a",
        "method": "POST",
        "path": "/graphql",
        "status": 200,
        "operation": "Join",
        "type": "mutation",
        "transport": "http",
        "workspace": api.business.ctx.workspace.id,
        "key": line["key"],
        "cost": 2,
    }
    assert str(line["message"]).startswith("POST /graphql 200 mutation Join ")
    assert str(line["key"]).startswith("key_")
    output = "\n".join(lines.raw)
    assert api.secret not in output
    assert "ann@example.com" not in output


@pytest.mark.parametrize("given", ["", "x" * 129, "two words", 'quo"te', "line\tbreak"])
async def test_invalid_request_id_is_replaced_by_a_new_one_for_each_request(api: Api, given: str) -> None:
    request_ids = {(await api.post("{}", x_request_id=given)).headers["x-request-id"] for _ in range(2)}
    assert len(request_ids) == 2
    assert all(len(request_id) == 16 for request_id in request_ids)


async def test_line_of_a_refused_request_has_the_error_codes_and_no_foreign_text(api: Api, lines: LogLines) -> None:
    await api.post('{"query": "{ nope }"}')
    await api.http.post(api.url, json={"query": "{ viewer { workspace { id } } }"})
    await api.http.get(api.url.replace("/graphql", "/wp-login.php?pass=secret"))
    invalid, without_key, unknown_path = lines.access
    assert (invalid["codes"], invalid["status"]) == (["GRAPHQL_VALIDATION_FAILED"], 200)
    assert (without_key["codes"], without_key["status"]) == (["UNAUTHENTICATED"], 401)
    assert "workspace" not in without_key
    assert (unknown_path["path"], unknown_path["status"]) == ("/other", 404)
    # The HTTP client of this test logs in the same process, and its level depends on the tests before.
    own_lines = [raw for raw in lines.raw if json.loads(raw)["logger"] not in ("httpx", "httpcore")]
    assert "secret" not in "".join(own_lines)


async def test_unexpected_exception_is_logged_with_the_request_id_and_a_reference(
    api: Api, lines: LogLines, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> None:
        raise ZeroDivisionError("the details")

    monkeypatch.setattr("app.api.health.HealthChecks.healthz", fail)
    response = await api.http.get(api.url.replace("/graphql", "/healthz"), headers={"x-request-id": "r1"})
    assert response.status_code == 500
    assert response.headers["x-request-id"] == "r1"
    [error] = response.json()["errors"]
    assert error["extensions"]["code"] == "INTERNAL_SERVER_ERROR"
    [line] = [line for line in map(json.loads, lines.raw) if line["level"] == "ERROR"]
    assert line["request_id"] == "r1"
    assert error["extensions"]["reference"] in line["message"]
    assert "ZeroDivisionError" in line["error"]
    assert "details" not in response.text


async def test_health_and_metrics_requests_are_not_logged_by_default(api: Api, lines: LogLines) -> None:
    for path in ("/healthz", "/readyz", "/metrics"):
        await api.http.get(api.url.replace("/graphql", path))
    assert lines.access == []


async def test_each_operation_on_a_socket_and_its_close_are_logged_in_a_line_each(api: Api, lines: LogLines) -> None:
    async with api.open_socket() as socket:
        assert socket.connection.response is not None
        request_id = socket.connection.response.headers["x-request-id"]
        await socket.subscribe("query Who { viewer { workspace { id } } }")
        await socket.receive_data()
        assert (await socket.receive())["type"] == "complete"
        await socket.subscribe("query Wrong { nope }", "2")
        assert (await socket.receive())["type"] == "error"
    await socket.receive_close_code()
    await wait_until(lambda: len(lines.access) >= 3)
    first, second, *rest = lines.access
    assert (first["operation"], first["type"], first["transport"]) == ("Who", "query", "ws")
    assert first["workspace"] == api.business.ctx.workspace.id
    assert second["codes"] == ["GRAPHQL_VALIDATION_FAILED"]
    assert [(line["message"].split()[:2], line["close_code"]) for line in rest] == [(["socket", "closed"], 1000)]  # type: ignore[attr-defined]
    assert {line["request_id"] for line in lines.access} == {request_id}


def test_bound_values_are_in_each_line_until_the_block_ends() -> None:
    def format_line() -> dict[str, object]:
        record = logging.makeLogRecord({"msg": "x"})
        parsed: dict[str, object] = json.loads(JsonFormatter().format(record))
        return parsed

    with logs.bind(request_id="a"):
        with logs.bind(job="b"):
            assert (format_line()["request_id"], format_line()["job"]) == ("a", "b")
        assert "job" not in format_line()
    assert "request_id" not in format_line()


def test_text_line_ends_with_the_request_id() -> None:
    record = logging.makeLogRecord({"msg": "x", "levelname": "INFO", "name": "app"})
    with logs.bind(request_id="a"):
        assert logs.TextFormatter().format(record).endswith("app: x [a]")
    assert logs.TextFormatter().format(record).endswith("app: x")
