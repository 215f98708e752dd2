"""What the documents say to run does run, and what they name exists."""

from __future__ import annotations

import asyncio
import functools
import json
import re
import shlex
import sqlite3
import threading
import types
from collections.abc import Mapping
from dataclasses import dataclass
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import click
import httpx
import pytest
from graphql import (
    DocumentNode,
    GraphQLSchema,
    NonNullTypeNode,
    OperationDefinitionNode,
    OperationType,
    build_schema,
    parse,
    validate,
)
from graphql.language import is_type_system_definition_node

from app.cli.main import main
from app.clock import system_ms
from app.config.settings import variables
from app.config.unknown_variables import CLIENT_VARIABLES
from app.domain.signatures import standard_signatures
from app.telemetry import metrics
from tests.business import Business
from tests.graphql.serving import Api, run_api
from tests.patience import PATIENCE_SECONDS
from workers.stages.run_job import jobs

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(
    [*DOCS.rglob("*.md"), *(ROOT / f"{name}.md" for name in ("README", "CONTRIBUTING", "CHANGELOG", "SECURITY"))]
)
RUN = sorted([*(DOCS / "howto").glob("*.md"), ROOT / "README.md"])
"""Pages whose operations run in their order; those of the tutorial have a test of their own."""
README_COMMANDS = (
    "python3 -m venv .venv && .venv/bin/pip install -q -e '.[embedded]' && .venv/bin/punchcard up",
    "python3 -m venv .venv && .venv/bin/pip install -q -e '.[embedded,test]' && .venv/bin/pytest",
)
MAX_README_WORDS = 600
FILE = "file"
"""The variable of an upload."""

BLOCK = re.compile(r"^(?:<!-- test: (?P<note>.*?) -->\n)?```(?P<language>\w+)[^\n]*\n(?P<text>.*?)^```", re.M | re.S)
COMMAND = re.compile(r"(?:^|&& |\| |; )\s*(?:[A-Z_]+=\S+ +)*(?:\S*/)?punchcard (?P<arguments>[^|&;>]*)")
LINK = re.compile(r"\]\((?P<target>[^)\s]+)\)")
MODULE = re.compile(r"(?<![\w/.-])(?:app|workers|tests|bench|docs)/[\w./-]*\.(?:py|md|svg|graphql)\b")
SETTING = re.compile(r"\bPUNCHCARD_[A-Z_]*[A-Z]\b")
METRIC = re.compile(r"\bpunchcard_[a-z_]+\b")
Memory = dict[str, Any]


@dataclass(frozen=True)
class Block:
    """A fenced block of a page; `note` is what a comment before it says to this test."""

    language: str
    text: str
    note: str


def blocks(page: Path, language: str) -> list[Block]:
    """Return the blocks of a language, in the order of the page."""
    found = (Block(each["language"], each["text"], each["note"] or "") for each in BLOCK.finditer(page.read_text()))
    return [block for block in found if block.language == language]


def each_block(language: str) -> list[Any]:
    """Return a parameter for each block of a language in any page."""
    return [
        pytest.param(block, id=f"{page.relative_to(ROOT)}:{number}")
        for page in PAGES
        for number, block in enumerate(blocks(page, language), 1)
    ]


def each_page(pages: list[Path] = PAGES) -> list[Any]:
    """Return a parameter for each page."""
    return [pytest.param(page, id=str(page.relative_to(ROOT))) for page in pages]


@pytest.mark.parametrize("block", each_block("graphql"))
def test_operation_is_valid(block: Block) -> None:
    document = parse(block.text)
    if all(is_type_system_definition_node(node) for node in document.definitions):
        return
    assert [error.message for error in validate(exported_schema(), document)] == []


@functools.cache
def exported_schema() -> GraphQLSchema:
    """Return the schema of `schema.graphql`. Building it takes 0.2 s of processor time."""
    return build_schema((ROOT / "schema.graphql").read_text())


@pytest.mark.parametrize("page", each_page(RUN))
async def test_operations_of_a_page_run_in_their_order(business: Business, page: Path) -> None:
    """Run each operation with the answers of the ones before it.

    A variable such as `$endpointId` is the `id` of an `endpoint` that an operation before it answered. Comments can say
    `validate only`: the operation needs a file or another process.
    """
    memory: Memory = {}
    await business.record({"pass_external_id": "guest"})
    await business.run_worker()
    async with run_api(business) as api:
        for block in blocks(page, "graphql"):
            if block.note == "validate only":
                continue
            document = parse(block.text)
            answer = await run(api, page, document, block.text, given(document, memory))
            assert user_errors(answer) == [], (block.text, answer)
            remember(answer, memory)
            await settle(business)


async def test_tutorial_shows_what_its_operations_answer(business: Business) -> None:
    """Run the five operations in their order, and compare the answers with the text of the page."""
    record, define, customer, feed, follow = (block.text for block in blocks(DOCS / "tutorial.md", "graphql"))
    async with run_api(business) as api:
        batch = (await api.fetch_data(record))["recordEvents"]
        assert [result["status"] for result in batch["results"]] == ["CREATED", "CREATED", "CREATED", "REJECTED"]
        assert batch["results"][3]["userErrors"][0]["field"] == ["events", "3", "amount"]
        await business.run_worker()
        assert user_errors(await api.fetch_data(define)) == []
        await business.run_worker()
        answer = await api.fetch_data(customer)
        [spend] = answer["pass"]["statistics"]["spend"]
        assert (spend["currency"], spend["net"], spend["orders"]) == ("USD", "41.30", 2)
        assert [each["segment"]["key"] for each in answer["pass"]["memberships"]["nodes"]] == ["regulars"]
        assert {each["key"]: each["memberCount"] for each in answer["segments"]["nodes"]} == {"regulars": 1, "away": 0}
        edges = (await api.fetch_data(feed))["activity"]["edges"]
        assert [edge["node"]["sequence"] for edge in edges] == list(range(1, len(edges) + 1))
        assert edges[-1]["node"]["type"] == "customer.segment.entered"
        assert (await api.fetch_data(record))["recordEvents"]["duplicate"] == 3
        async with api.open_socket() as socket:
            await socket.subscribe(follow)
            assert (await socket.receive_data())["activity"]["__typename"] == "Heartbeat"


def given(document: DocumentNode, memory: Memory) -> Memory:
    """Return the variables of an operation from what earlier operations answered."""
    [operation] = [node for node in document.definitions if isinstance(node, OperationDefinitionNode)]
    found: Memory = {}
    for definition in operation.variable_definitions or ():
        name = definition.variable.name.value
        if name == FILE:
            found[name] = None
        elif name in memory:
            found[name] = memory[name]
        else:
            needed = isinstance(definition.type, NonNullTypeNode) and definition.default_value is None
            assert not needed, f"No operation before it answers ${name}; there are {', '.join(memory)}."
    return found


async def run(api: Api, page: Path, document: DocumentNode, text: str, variables: Memory) -> Memory:
    """Return the data of an operation; of a subscription, that of its first message.

    The file of an upload is the page's first block of CSV.
    """
    [operation] = [node for node in document.definitions if isinstance(node, OperationDefinitionNode)]
    if FILE in variables:
        sent = {
            "operations": json.dumps({"query": text, "variables": variables}),
            "map": f'{{"0": ["variables.{FILE}"]}}',
        }
        files = {"0": ("purchases.csv", blocks(page, "csv")[0].text.encode())}
        headers = {**api.headers, "graphql-require-preflight": "1"}
        answer = (await api.http.post(api.url, data=sent, files=files, headers=headers)).json()
        assert "errors" not in answer, answer
        data: Memory = answer["data"]
        return data
    if operation.operation is not OperationType.SUBSCRIPTION:
        return await api.fetch_data(text, **variables)
    async with api.open_socket() as socket:
        await socket.subscribe(text, **variables)
        return await socket.receive_data()


def remember(answer: Mapping[str, Any], memory: Memory, parent: str = "") -> None:
    """Keep each scalar under the name of its object and its own: `endpoint { id }` as `endpointId`.

    Those of a `pageInfo` keep their own names alone.
    """
    for key, value in answer.items():
        if isinstance(value, list):
            named = parent if key in ("nodes", "edges", "results") else key
            singular = re.sub("s$", "", re.sub("ies$", "y", named))
            for item in value[:1]:
                if isinstance(item, Mapping):
                    remember(item, memory, singular)
        elif isinstance(value, Mapping):
            remember(value, memory, parent if key == "node" else key)
        elif value is not None and parent == "pageInfo":
            memory[key] = value
        elif value is not None and parent:
            memory[f"{parent}{key[:1].upper()}{key[1:]}"] = value


def user_errors(answer: object) -> list[object]:
    """Return every userError in an answer."""
    if isinstance(answer, list):
        return [error for item in answer for error in user_errors(item)]
    if not isinstance(answer, Mapping):
        return []
    below = [error for key, value in answer.items() if key != "userErrors" for error in user_errors(value)]
    return [*answer.get("userErrors", ()), *below]


async def settle(business: Business) -> None:
    """Run every stage and every job until nothing is left to do."""
    for job in await business.worker.job_leases.open(system_ms(), 4):
        await jobs(business.worker, job.job_id)
    await business.run_worker()


@pytest.mark.parametrize("block", each_block("sh"))
def test_command_exists_with_its_options(block: Block) -> None:
    text = re.sub(r"\s*\\\n\s*", " ", block.text)
    for found in COMMAND.finditer(re.sub(r"(^|\s)#.*", "", text)):
        check_command(found["arguments"].split("\n")[0])
    for line in text.splitlines():
        for found in COMMAND.finditer(line.partition(" #")[0]):
            check_command(found["arguments"])


def check_command(arguments: str) -> None:
    """Fail unless the words name a command, options that it has, and no more arguments than it takes."""
    words = shlex.split(arguments)
    command: click.Command = main
    positional = 0
    while words:
        word = words.pop(0)
        if word.startswith("-"):
            name, equals, _ = word.partition("=")
            options = {option: each for each in parameters(command) for option in (*each.opts, *each.secondary_opts)}
            assert name in options, f"punchcard {arguments}: {command.name} has no {name}"
            option = options[name]
            if isinstance(option, click.Option) and not option.is_flag and not equals:
                assert words, f"punchcard {arguments}: {name} takes a value"
                words.pop(0)
        elif isinstance(command, click.Group):
            child = command.get_command(click.Context(command), word)
            assert child is not None, f"punchcard {arguments}: no '{word}'"
            command = child
        else:
            positional += 1
    most = sum(isinstance(each, click.Argument) for each in command.params)
    assert positional <= most, f"punchcard {arguments}: {command.name} takes {most} arguments"


def parameters(command: click.Command) -> list[click.Parameter]:
    """Return the parameters of a command, `--help` included."""
    return command.get_params(click.Context(command))


@pytest.mark.parametrize("page", each_page())
def test_links_of_a_page_lead_somewhere(page: Path) -> None:
    targets = [
        each["target"] for each in LINK.finditer(re.sub(r"^```.*?^```", "", page.read_text(), flags=re.M | re.S))
    ]
    local = [target.partition("#")[0] for target in targets if not re.match(r"[a-z]+:|#", target)]
    assert [target for target in local if not (page.parent / target).exists()] == []


@pytest.mark.parametrize("page", each_page())
def test_files_that_a_page_names_exist(page: Path) -> None:
    named = set(MODULE.findall(page.read_text()))
    assert sorted(name for name in named if not (ROOT / name).exists()) == []


@pytest.mark.parametrize("page", each_page())
def test_settings_and_metrics_that_a_page_names_exist(page: Path) -> None:
    text = page.read_text()
    settings = {variable.name for variable in variables()} | CLIENT_VARIABLES
    assert set(SETTING.findall(text)) - settings == set()
    metric_names = {metric.name for metric in metrics.REGISTRY.collect()}
    assert {name.removesuffix("_total") for name in METRIC.findall(text)} - metric_names == set()


@pytest.mark.parametrize("block", each_block("json"))
def test_json_can_be_read(block: Block) -> None:
    json.loads(block.text)


@pytest.mark.parametrize("block", each_block("python"))
def test_program_compiles(block: Block) -> None:
    compile(block.text, "page", "exec")


def test_readme_is_short_and_has_its_two_commands() -> None:
    text = (ROOT / "README.md").read_text()
    lines = [line for block in blocks(ROOT / "README.md", "sh") for line in block.text.splitlines()]
    assert [command for command in README_COMMANDS if command not in lines] == []
    assert len(re.sub(r"^```.*?^```", "", text, flags=re.M | re.S).split()) <= MAX_README_WORDS


class Flaky(httpx.BaseTransport):
    """A network that fails in each way in which a call may be repeated, before it lets one through."""

    def __init__(self) -> None:
        self._inner = httpx.HTTPTransport()
        self.failures = ["connect", "throttled", "unavailable", "lost"]
        self.sent: list[bytes] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Fail as planned, else answer."""
        self.sent.append(request.read())
        match self.failures.pop(0) if self.failures else None:
            case "connect":
                raise httpx.ConnectError("refused", request=request)
            case "throttled":
                error = {"message": "", "extensions": {"code": "THROTTLED", "retryAfterSeconds": 2}}
                return httpx.Response(429, json={"errors": [error]}, headers={"retry-after": "2"})
            case "unavailable":
                return httpx.Response(503, json={"errors": [{"message": "", "extensions": {"code": "UNAVAILABLE"}}]})
            case "lost":
                self._inner.handle_request(request).read()
                raise httpx.ReadTimeout("lost", request=request)
        return self._inner.handle_request(request)


async def test_retry_script_records_each_event_once(business: Business, monkeypatch: pytest.MonkeyPatch) -> None:
    [script] = blocks(DOCS / "howto" / "retry-safely.md", "python")
    program = types.ModuleType("retry")
    exec(compile(script.text, "retry-safely.md", "exec"), program.__dict__)
    pauses: list[float] = []
    # The script gets a clock of its own: other threads of this process sleep, too.
    monkeypatch.setattr(program, "time", types.SimpleNamespace(sleep=pauses.append))
    async with run_api(business) as api:
        network = Flaky()
        events = [
            {"passExternalId": "ann", "type": "purchase", "amount": "12.00", "externalId": f"order-{number}"}
            for number in range(3)
        ]
        events.append({"passExternalId": "ann", "type": "purchase", "amount": "a lot", "externalId": "order-3"})

        def send() -> Any:
            with httpx.Client(transport=network, headers=api.headers, timeout=PATIENCE_SECONDS) as client:
                return program.record(client, api.url, events)

        result = await asyncio.to_thread(send)
    assert network.failures == []
    assert len(set(network.sent)) == 1, "every repeat sends the same bytes"
    assert pauses[1] >= 2, "the server's wish is honoured"
    assert [item["status"] for item in result["results"]] == ["DUPLICATE"] * 3 + ["REJECTED"]
    stored = await business.ctx.resources.db["events"].count_documents({})
    assert stored == 3


async def test_webhook_receiver_takes_each_message_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Send signed, repeated, forged and test messages to the receiver of the page."""
    [script] = blocks(DOCS / "howto" / "receive-webhooks.md", "python")
    secret = "whsec_" + "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0"
    monkeypatch.setenv("WEBHOOK_SECRET", secret)
    monkeypatch.setenv("WEBHOOK_DATABASE", str(tmp_path / "seen.db"))
    program = types.ModuleType("receiver")
    if not _has_standardwebhooks():
        _install_stand_in(monkeypatch)
    exec(compile(script.text, "receive-webhooks.md", "exec"), program.__dict__)
    server = ThreadingHTTPServer(("127.0.0.1", 0), program.Receiver)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_address[1]}/punchcard"

    def signed(message_id: str, kind: str, key: str = secret) -> tuple[bytes, dict[str, str]]:
        body = json.dumps({"id": message_id, "type": kind, "data": {}}).encode()
        at = system_ms() // 1000
        signature = standard_signatures([key], message_id, at, body)
        return body, {"webhook-id": message_id, "webhook-timestamp": str(at), "webhook-signature": signature}

    async with httpx.AsyncClient(timeout=PATIENCE_SECONDS) as client:

        async def status(body: bytes, headers: dict[str, str]) -> int:
            return (await client.post(url, content=body, headers=headers)).status_code

        first = signed("act_1:1", "customer.created")
        forged = signed("act_1:2", "customer.created", "whsec_" + "b3RoZXItb3RoZXItb3RoZXItb3RoZXItb3RoZXI=")
        assert [await status(*first), await status(*first), await status(*signed("msg_1", "webhook.test"))] == [204] * 3
        assert await status(*forged) == 401
        assert await status(first[0], {}) == 401
    server.shutdown()
    server.server_close()
    with sqlite3.connect(tmp_path / "seen.db") as database:
        assert database.execute("SELECT id FROM seen").fetchall() == [("act_1:1",), ("msg_1",)]


def _has_standardwebhooks() -> bool:
    try:
        import standardwebhooks  # type: ignore[import-not-found,unused-ignore]  # noqa: F401
    except ImportError:
        return False
    return True


def _install_stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """Provide what the receiver uses of `standardwebhooks`, checked by Punchcard's own signatures."""

    class WebhookVerificationError(Exception):
        pass

    class Webhook:
        def __init__(self, secret: str) -> None:
            self._secret = secret

        def verify(self, data: bytes, headers: Mapping[str, str]) -> Any:
            named = {name.lower(): value for name, value in headers.items()}
            try:
                message_id, at = named["webhook-id"], int(named["webhook-timestamp"])
                good = standard_signatures([self._secret], message_id, at, data) in named["webhook-signature"].split()
            except KeyError:
                good = False
            if not good:
                raise WebhookVerificationError("No matching signature found")
            return json.loads(data)

    module = types.ModuleType("standardwebhooks")
    module.Webhook = Webhook  # type: ignore[attr-defined]
    module.WebhookVerificationError = WebhookVerificationError  # type: ignore[attr-defined]
    monkeypatch.setitem(__import__("sys").modules, "standardwebhooks", module)
