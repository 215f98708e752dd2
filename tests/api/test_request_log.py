"""One line for every request, and an id that is in every line written for it."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Iterator

import pytest

from app.clock import FixedClock
from app.resources import Resources
from app.telemetry import logs
from app.telemetry.logs import ACCESS, JsonFormatter
from tests.business import Business, open_business
from tests.graphql.serving import Api, serving


class Lines(logging.Handler):
    """Every line as it is written in JSON, at the moment it is written."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.setFormatter(JsonFormatter())
        self.raw: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.raw.append(self.format(record))

    @property
    def access(self) -> list[dict[str, object]]:
        """The access lines, parsed."""
        return [line for line in map(json.loads, self.raw) if line["logger"] == ACCESS]


@pytest.fixture
async def business(resources: Resources, clock: FixedClock) -> Business:
    return await open_business(resources, clock)


@pytest.fixture
async def api(business: Business) -> AsyncIterator[Api]:
    async with serving(business) as running:
        yield running


@pytest.fixture
def lines() -> Iterator[Lines]:
    handler = Lines()
    root, access = logging.getLogger(), logging.getLogger(ACCESS)
    root.addHandler(handler)
    access.setLevel(logging.INFO)
    yield handler
    access.setLevel(logging.NOTSET)
    root.removeHandler(handler)


async def test_a_request_is_one_line_that_says_who_what_and_how_long_but_nothing_secret(api: Api, lines: Lines) -> None:
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
    written = "\n".join(lines.raw)
    assert api.secret not in written
    assert "ann@example.com" not in written


@pytest.mark.parametrize("given", ["", "x" * 129, "two words", 'quo"te', "line\tbreak"])
async def test_an_id_that_is_not_plain_is_replaced_and_each_request_has_its_own(api: Api, given: str) -> None:
    answered = {(await api.post("{}", x_request_id=given)).headers["x-request-id"] for _ in range(2)}
    assert len(answered) == 2
    assert all(len(request_id) == 16 for request_id in answered)


async def test_a_refusal_names_its_codes_and_a_wrong_key_has_no_workspace(api: Api, lines: Lines) -> None:
    await api.post('{"query": "{ nope }"}')
    await api.http.post(api.address, json={"query": "{ viewer { workspace { id } } }"})
    await api.http.get(api.address.replace("/graphql", "/wp-login.php?pass=secret"))
    known, stranger, lost = lines.access
    assert (known["codes"], known["status"]) == (["GRAPHQL_VALIDATION_FAILED"], 200)
    assert (stranger["codes"], stranger["status"]) == (["UNAUTHENTICATED"], 401)
    assert "workspace" not in stranger
    assert (lost["path"], lost["status"]) == ("/other", 404)
    # The client of this test logs too, in the same process, as loudly as the test before left it.
    ours = [raw for raw in lines.raw if json.loads(raw)["logger"] not in ("httpx", "httpcore")]
    assert "secret" not in "".join(ours)


async def test_what_a_request_makes_others_log_has_its_id_and_its_bug_is_told_by_reference(
    api: Api, lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object) -> None:
        raise ZeroDivisionError("the details")

    monkeypatch.setattr("app.api.health.HealthChecks.healthz", broken)
    response = await api.http.get(api.address.replace("/graphql", "/healthz"), headers={"x-request-id": "r1"})
    assert response.status_code == 500
    assert response.headers["x-request-id"] == "r1"
    [error] = response.json()["errors"]
    assert error["extensions"]["code"] == "INTERNAL_SERVER_ERROR"
    [line] = [line for line in map(json.loads, lines.raw) if line["level"] == "ERROR"]
    assert line["request_id"] == "r1"
    assert error["extensions"]["reference"] in line["message"]
    assert "ZeroDivisionError" in line["error"]
    assert "details" not in response.text


async def test_probes_have_no_line_unless_all_is_asked_for(api: Api, lines: Lines) -> None:
    for path in ("/healthz", "/readyz", "/metrics"):
        await api.http.get(api.address.replace("/graphql", path))
    assert lines.access == []


async def test_each_operation_of_a_socket_has_a_line_and_the_socket_one_when_it_closes(api: Api, lines: Lines) -> None:
    async with api.socket() as socket:
        assert socket.connection.response is not None
        request_id = socket.connection.response.headers["x-request-id"]
        await socket.subscribe("query Who { viewer { workspace { id } } }")
        await socket.next()
        assert (await socket.receive())["type"] == "complete"
        await socket.subscribe("query Wrong { nope }", "2")
        assert (await socket.receive())["type"] == "error"
    await socket.close_code()
    async with asyncio.timeout(10):
        while len(lines.access) < 3:
            await asyncio.sleep(0.01)
    first, second, *rest = lines.access
    assert (first["operation"], first["type"], first["transport"]) == ("Who", "query", "ws")
    assert first["workspace"] == api.business.ctx.workspace.id
    assert second["codes"] == ["GRAPHQL_VALIDATION_FAILED"]
    assert [(line["message"].split()[:2], line["close_code"]) for line in rest] == [(["socket", "closed"], 1000)]  # type: ignore[attr-defined]
    assert {line["request_id"] for line in lines.access} == {request_id}


def test_what_is_bound_is_in_a_line_until_the_block_ends() -> None:
    def line() -> dict[str, object]:
        record = logging.makeLogRecord({"msg": "x"})
        parsed: dict[str, object] = json.loads(JsonFormatter().format(record))
        return parsed

    with logs.bound(request_id="a"):
        with logs.bound(job="b"):
            assert (line()["request_id"], line()["job"]) == ("a", "b")
        assert "job" not in line()
    assert "request_id" not in line()


def test_a_line_for_people_ends_with_the_id() -> None:
    record = logging.makeLogRecord({"msg": "x", "levelname": "INFO", "name": "app"})
    with logs.bound(request_id="a"):
        assert logs.TextFormatter().format(record).endswith("app: x [a]")
    assert logs.TextFormatter().format(record).endswith("app: x")
