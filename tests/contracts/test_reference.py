"""Contract of docs/reference: the pages are those that docs/generate.py writes, and they name everything that exists."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages
from typing import Any

import click
import pytest
from jsonschema import Draft202012Validator

import app
import generate
from app.api.request_log import PLAIN_ID
from app.cli.main import main
from app.clock import FixedClock, system_ms
from app.commands.messages.channels import create_channel
from app.commands.messages.consents import record_consent
from app.commands.passes.merges import merge_passes
from app.commands.passes.passes import update_pass
from app.commands.passes.removals import delete_events, erase_pass
from app.commands.rules.rules import create_rule
from app.commands.segments import create_segment
from app.commands.tiers import set_tier_program
from app.commands.webhooks.endpoints import create_webhook_endpoint
from app.commands.webhooks.endpoints import test_webhook_endpoint as send_test_message
from app.config.settings import variables
from app.domain import activities
from app.domain.activity_queries import ActivityQuery
from app.domain.errors import CODE_MEANINGS, Code, Refused
from app.domain.events.attributes import parse_attributes
from app.domain.events.event_queries import EventQuery
from app.domain.events.events import EventInput
from app.domain.events.type_names import parse_type
from app.domain.events.validation import ValidationRules, validate_event
from app.domain.messages.channels import ChannelKind, Provider
from app.domain.messages.messages import Message, MessageCause, MessageOrigin, MessageStatus
from app.domain.segments.parsing import parse_criteria
from app.domain.segments.segments import parse_key
from app.domain.signatures import Scheme, Verification, parse_verification, verify_signature
from app.domain.values.conditions import parse_condition
from app.flow import SLOT_RANGES
from app.graphql.errors import EXPLANATIONS, ErrorCode
from app.resources import Resources
from reference_pages import activity_producers, payload_examples, payload_schema, payloads
from reference_pages.template import placeholders
from reference_pages.values import find_value, write_value
from tests.business import Business, open_business, purchases
from tests.commands.rewards.shop import create as create_reward
from tests.commands.rewards.shop import redeem, roll_back
from tests.receiver import run_receiver
from workers.delivery.message_outcomes import outcome_event
from workers.stages.deliver import run_endpoint
from workers.stages.fold import fold_once
from workers.stages.run_job import jobs

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "docs" / "reference"
VALIDATOR = Draft202012Validator(payload_schema.strict(payload_schema.schema()))
KINDS = {*payload_schema.DATA, "webhook.test"}

INTERNAL = frozenset(
    """
    app.api.asgi.MAX_CACHED_WORKSPACES
    app.api.unsubscribe.MAX_CONCURRENT_REQUESTS
    app.auth.MAX_CACHED_FAMILIES
    app.auth.MAX_CACHED_KEYS
    app.auth.MAX_CACHED_TOKEN_KEYS
    app.auth.MAX_CACHED_TOKENS
    app.auth.MAX_HEADER_CHARACTERS
    app.backlog.MAX_STORE_SHARE
    app.commands.definitions.MAX_ATTEMPTS
    app.commands.insights.sealed.MAX_DIRTY
    app.commands.insights.sealed.MAX_SPANS
    app.commands.rules.rules.MAX_REPLACED_VERSIONS
    app.domain.ids.MAX_DRAW
    app.commands.events.event_types.MAX_ATTEMPTS
    app.commands.inbound.deliveries.MAX_USER_AGENT
    app.commands.rewards.stock.MAX_ATTEMPTS
    app.domain.events.receipts.MAX_CARRIED_BYTES
    app.domain.files.jsonl.MAX_FIRST_LINES
    app.domain.fold.entries.MAX_BYTES
    app.domain.definitions.MAX_ZONES_KEPT
    app.domain.fold.entries.MAX_ENTRIES
    app.domain.messages.unsubscribing.MAX_TOKEN_CHARACTERS
    app.domain.pass_tokens.MAX_TOKEN_CHARACTERS
    app.domain.passes.search_tokens.MAX_NAME_KEY
    app.domain.passes.search_tokens.MAX_TOKEN_LENGTH
    app.domain.segments.comparisons.MAX_WALK_COMPARISONS
    app.domain.segments.evaluation.MAX_SHOWN_CHARACTERS
    app.domain.segments.satisfiability.MAX_ATOMS
    app.domain.segments.satisfiability.MAX_EVALUATED_LEAVES
    app.domain.state.distinct.MAX_LISTED_VALUES
    app.domain.state.extremes.MAX_CANDIDATES
    app.domain.state.windows.MAX_EXPIRING
    app.domain.values.conditions.MAX_SINGLE_TESTS
    app.domain.values.decimals.MAX_EXPONENT
    app.domain.values.paths.MAX_DEPTH
    app.domain.values.spelling.MAX_COMPARED_NAMES
    app.graphql.execution.persisted.MAX_CACHED_CHARACTERS
    app.graphql.execution.persisted.MAX_CACHED_DOCUMENTS
    app.graphql.types.filters.MAX_SOURCES
    app.store.workspace.pass_filters.MAX_TERMS_COUNTED
    app.local.processes.MAX_RESTART_DELAY_SECONDS
    app.outbound.sending.MAX_ERROR_CHARACTERS
    app.outbound.smtp.MAX_IDLE_CONNECTIONS
    app.rate_limits.MAX_CACHED_KEYS
    app.shared_looks.MAX_PAUSE_SECONDS
    app.store.cache.MAX_PASSES
    app.store.cache.MAX_WORKSPACES
    app.store.mongo.decimal128.MAX_DIGITS
    app.store.operations.pass_months.MAX_MONTHS_MARKED
    app.store.operations.rollup_rebuild.MAX_COUNTED
    app.store.operations.rollup_rebuild.MAX_PASSES_COUNTED
    app.store.stages.restock.MAX_OLD_UNITS
    app.store.workspace.progress.MAX_PENDING_READ
    app.store.workspace.rollups.MAX_VALUES_READ
    app.store.stages.rollups.MAX_ATTEMPTS
    app.store.workspace.stock.MAX_NUMBERS_READ
    app.store.workspace.stock.MAX_REMEMBERED
    app.store.mongo.failures.MAX_CAUSE_CHARACTERS
    app.store.mongo.queries.MAX_SHARD_KEYS
    app.store.operations.backlog.MAX_COUNTED
    app.store.operations.backlog.MAX_ENDPOINTS
    app.store.operations.heartbeats.MAX_CLOCK_SKEW_MS
    app.store.operations.truncation.MAX_UNPUBLISHED
    app.store.stages.endpoint_leases.MAX_WAITING_ENDPOINTS
    app.store.stages.forget.MAX_DOUBTED_WORDS
    app.store.stages.job_leases.MAX_READ
    app.commands.rewards.issuing.MAX_ISSUES
    app.store.workspace.reactions.MAX_UNREAD
    app.store.stages.messages.MAX_FOUND
    app.commands.insights.sealed_customers.MAX_LOOKS
    app.commands.insights.top_passes.MAX_READ_KEPT
    app.commands.insights.top_passes.MAX_STREAM_PAGE
    app.commands.insights.value_lists.MAX_DOUBTFUL_PASSES
    app.store.workspace.active_counts.MAX_RECOUNTS
    app.store.kept_orders.MAX_KEPT_PASSES
    app.store.kept_orders.MAX_ORDERS
    app.store.stages.active_counts.MAX_RECOUNTS_READ
    app.store.stages.pass_periods.MAX_DIRTY_READ
    app.store.stages.pass_periods.MAX_DOUBTED_READ
    app.telemetry.metrics.MAX_LABEL_CHARACTERS
    app.telemetry.metrics.MAX_LABEL_VALUES
    app.telemetry.operations.MAX_CODES
    app.commands.copies.MAX_ATTEMPTS
    app.commands.previews.MAX_ATTEMPTS
    app.domain.explanation.sentences.MAX_REASONS
    app.domain.explanation.sentences.MAX_SHOWN
    app.domain.fold.copies.MAX_REPEATS
    app.domain.fold.copies.MAX_WALKS
    app.templates.rendering.MAX_PARSED
    """.split()
)
"""Constants that bound caches, retries and metrics, or that repeat a limit of the page."""


def page(name: str) -> str:
    """Return the text of a page."""
    return (REFERENCE / name).read_text()


def section(name: str, title: str) -> str:
    """Return the part of a page below a heading, up to the next heading of the same level."""
    found = re.search(rf"^(#+) {re.escape(title)}\n(.*?)(?=^\1 |\Z)", page(name), re.MULTILINE | re.DOTALL)
    assert found is not None, f"{name} has no section '{title}'"
    return found[2]


def numbers(text: str) -> set[int]:
    """Return the numbers in the first column of the tables of a text."""
    return {int(number) for number in re.findall(r"^\| (\d+) \|", text, re.MULTILINE)}


def words_of(name: str) -> list[str]:
    """Return the first word of each placeholder of a template."""
    return [words[0] for words in placeholders(name)]


def test_pages_are_those_of_the_code() -> None:
    assert generate.outdated() == [], "run: .venv/bin/python docs/generate.py"


def test_generator_names_the_pages_that_differ(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(generate, "FOLDER", tmp_path / "reference")
    with pytest.raises(click.ClickException, match="settings"):
        generate.main(["--check"], standalone_mode=False)
    generate.main([], standalone_mode=False)
    assert generate.outdated() == []


def test_each_setting_is_on_the_page_once() -> None:
    listed = [name for words in placeholders("settings.md") if words[0] == "settings" for name in words[1:]]
    assert sorted(listed) == sorted(variable.name for variable in variables())


def test_each_command_and_option_is_on_the_page() -> None:
    def commands_below(command: click.Command, path: str) -> Iterator[tuple[str, click.Command]]:
        yield path, command
        if isinstance(command, click.Group):
            for name, child in command.commands.items():
                yield from commands_below(child, f"{path} {name}")

    for path, command in commands_below(main, "punchcard"):
        text = section("cli.md", path)
        options = [name for each in command.params if isinstance(each, click.Option) for name in each.opts]
        assert [name for name in options if f"`{name}`" not in text] == [], path


def test_each_code_is_explained() -> None:
    assert set(EXPLANATIONS) == set(ErrorCode)
    assert set(CODE_MEANINGS) == set(Code)
    errors, user_errors = (
        section("errors-and-codes.md", "Top-level errors"),
        section("errors-and-codes.md", "Codes of userErrors"),
    )
    assert [each for each in ErrorCode if f"| `{each}` |" not in errors] == []
    assert [each for each in Code if f"| `{each}` |" not in user_errors] == []
    howto = (ROOT / "docs" / "howto" / "retry-safely.md").read_text()
    assert [each for each in ErrorCode if f"`{each}`" not in howto] == []


def test_each_close_code_is_explained() -> None:
    """1008 and the codes from 4000 stand in the code as they are; 1009 and 1011 are sent by the WebSocket library."""
    modules = [*(ROOT / "app/graphql/protocol").glob("ws*.py"), *(ROOT / "app/api").glob("*.py")]
    source = "".join(module.read_text() for module in modules)
    closed = {int(code) for code in re.findall(r"(?:SocketClosed|\.close)\((\d{4})", source)}
    closed |= {int(code) for code in re.findall(r"^[A-Z_]+ = (10\d\d)$", source, re.MULTILINE)}
    assert numbers(section("errors-and-codes.md", "WebSocket close codes")) == closed | {1009}


@pytest.mark.parametrize(
    ("title", "path", "added", "excluded"),
    [
        # The router answers 405, and reading the body raises 408 and 413.
        ("Inbound hooks", "app/api/inbound.py", {405, 408, 413}, set[int]()),
        # 200 is the default of a response. `STATUS` has 401 and 503; no error of a download has 400.
        ("Downloads", "app/api/downloads.py", {200, 401, 503}, {400}),
    ],
)
def test_each_http_status_is_explained(title: str, path: str, added: set[int], excluded: set[int]) -> None:
    assert numbers(section("errors-and-codes.md", title)) == (_statuses(path) | added) - excluded


def test_each_http_status_without_an_operation_is_explained() -> None:
    refused = {
        status
        for name in ("http", "bodies", "body_stream")
        for status in _statuses(f"app/graphql/protocol/{name}.py")
        if status >= 400 and status != 401  # with 401, http.py compares the status of an error
    }
    assert numbers(section("errors-and-codes.md", "Requests without an operation")) == refused


def _statuses(path: str) -> set[int]:
    """Return the numbers in a file that look like HTTP statuses."""
    constants = (
        node.value for node in ast.walk(ast.parse((ROOT / path).read_text())) if isinstance(node, ast.Constant)
    )
    return {value for value in constants if type(value) is int and 200 <= value < 600}


def test_each_limit_of_the_code_is_on_the_page() -> None:
    """A new `MAX_…` constant gets a row in the template of limits.md, or a line in `INTERNAL`."""
    named = {name.partition("(")[0] for template in generate.TEMPLATES for name in words_of(template)}
    constants = {
        f"{module.name}.{name}"
        for module in walk_packages(app.__path__, "app.")
        if not module.name.endswith("__main__")
        for name in vars(import_module(module.name))
        if name.startswith("MAX_") and _is_defined_in(module.name, name)
    }
    assert sorted(constants - named - INTERNAL) == []
    assert sorted(INTERNAL - constants) == []


def _is_defined_in(module: str, name: str) -> bool:
    path = Path(str(import_module(module).__file__))
    return re.search(rf"^(?:\w+, )?{name}\b[^=\n]*= ", path.read_text(), re.MULTILINE) is not None


def test_each_limit_has_the_value_of_the_code() -> None:
    text = page("limits.md")
    for name, *unit in placeholders("limits.md"):
        value = write_value(find_value(name), *unit)
        assert f"| {value} " in text, name


@pytest.mark.parametrize("name", ["app.api.inbound.MISSING", "app.nowhere.MAX_ITEMS", "PUNCHCARD_NOTHING"])
def test_a_name_that_does_not_exist_is_an_error(name: str) -> None:
    with pytest.raises((AttributeError, ImportError, KeyError)):
        find_value(name)


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (1_000, "", "1,000"),
        (0.8, "", "0.8"),
        (32_768, "bytes", "32,768 bytes"),
        (86_400, "seconds", "24 hours"),
        (2_592_000, "seconds", "30 days"),
        (272_100_000, "ms", "75 hours 35 minutes"),
        (0.25, "seconds", "0.25 seconds"),
        (timedelta(hours=1), "", "1 hour"),
        ((1, 2, 3), "", "3"),
    ],
)
def test_values_are_written_for_people(value: object, unit: str, text: str) -> None:
    assert write_value(value, unit) == text


def _event(**fields: object) -> Callable[[str], object]:
    return lambda text: validate_event(
        EventInput(**{"pass_id": "pass_1", "type": "visit", **dict.fromkeys(fields, text)}),
        ValidationRules(payload_examples.START, "EUR"),
    )


@pytest.mark.parametrize(
    ("row", "code", "parse"),
    [
        (
            "Path of a metadata condition",
            Code.TOO_LONG,
            lambda text: parse_condition({"path": text, "operator": "EXISTS"}),
        ),
        ("`type` of an event", Code.INVALID, parse_type),
        ("`source` and `fieldName`", Code.TOO_LONG, _event(source=None)),
        ("`source` and `fieldName`", Code.TOO_LONG, _event(field_name=None)),
        ("`oldValue` and `newValue`", Code.TOO_LONG, _event(old_value=None)),
        ("`oldValue` and `newValue`", Code.TOO_LONG, _event(new_value=None)),
        ("Name of an attribute", Code.TOO_LONG, lambda text: parse_attributes([{"name": text, "type": "TEXT"}])),
        ("`key` of a segment", Code.INVALID, parse_key),
        (
            "Name of the header with the signature",
            Code.TOO_LONG,
            lambda text: parse_verification(Scheme.HMAC_SHA256, text),
        ),
        (
            "`prefix` of the signature",
            Code.TOO_LONG,
            lambda text: parse_verification(Scheme.HMAC_SHA256, "x-signature", None, text),
        ),
    ],
)
def test_limits_without_a_constant_are_those_of_the_parsers(
    row: str, code: Code, parse: Callable[[str], object]
) -> None:
    limit = limit_of(row)
    parse("a" * limit)
    with pytest.raises(Refused) as refused:
        parse("a" * (limit + 1))
    assert [problem.code for problem in refused.value.problems] == [code]
    assert f"`{code}`" in row_of(row)


def test_other_limits_without_a_constant_are_those_of_the_code() -> None:
    days = limit_of("Value of `DAYS_SINCE_LAST` and `DAYS_SINCE_FIRST`")
    parse_criteria({"event": {"metric": "DAYS_SINCE_LAST", "value": days}}, "EUR")
    with pytest.raises(Refused):
        parse_criteria({"event": {"metric": "DAYS_SINCE_LAST", "value": days + 1}}, "EUR")
    characters = limit_of("`X-Request-Id`")
    assert PLAIN_ID.fullmatch("a" * characters)
    assert not PLAIN_ID.fullmatch("a" * (characters + 1))


async def test_description_of_a_segment_is_as_long_as_the_page_says(business: Business) -> None:
    limit = limit_of("Description of a segment")
    await create_segment(business.ctx, "one", "One", purchases(1), "a" * limit)
    with pytest.raises(Refused) as refused:
        await create_segment(business.ctx, "two", "Two", purchases(1), "a" * (limit + 1))
    assert refused.value.problems[0].code is Code.TOO_LONG


def row_of(row: str) -> str:
    """Return the line of limits.md that begins with a text."""
    [line] = [line for line in page("limits.md").splitlines() if line.startswith(f"| {row} |")]
    return line


def limit_of(row: str) -> int:
    """Return the value in a row of limits.md."""
    return int(row_of(row).split(" | ")[1].split()[0].replace(",", ""))


def problems(body: bytes | str) -> list[str]:
    """Return what the strict schema finds in a body, with the type of the message."""
    payload = json.loads(body)
    return [f"{payload.get('type')}: {error.message}" for error in VALIDATOR.iter_errors(payload)]


def test_schema_is_valid_and_forbids_what_it_does_not_describe_only_in_tests() -> None:
    Draft202012Validator.check_schema(payload_schema.schema())
    payload = json.loads(payload_examples.messages()["custom-event"].body)
    payload["data"]["event"]["surprise"] = True
    assert Draft202012Validator(payload_schema.schema()).is_valid(payload)
    assert not VALIDATOR.is_valid(payload)
    assert not VALIDATOR.is_valid({**payload, "type": "customer.surprised"})


def test_schema_describes_each_activity_type() -> None:
    kinds = {value for value in vars(activities).values() if isinstance(value, str) and value.startswith("customer.")}
    kinds |= {*activities.CONSENTS.values(), *activities.MESSAGE_TYPES}
    assert set(payload_schema.DATA) == kinds
    headings = re.findall(r"^### (\S+)$", section("webhook-payloads.md", "Types"), re.MULTILINE)
    assert set(headings) == KINDS


def test_table_of_activity_types_says_who_does_what_for_each_type() -> None:
    assert set(activity_producers.PRODUCERS) == set(payload_schema.DATA)


def test_examples_of_the_page_are_valid() -> None:
    bodies = re.findall(r"^```json\n(.*?)^```", page("webhook-payloads.md"), re.MULTILINE | re.DOTALL)
    assert [problem for body in bodies for problem in problems(body)] == []
    assert {json.loads(body)["type"] for body in bodies} == KINDS
    assert len(bodies) == len(payloads.all_messages())


def test_signature_of_the_page_is_valid() -> None:
    [request] = re.findall(r"^```text\n(.*?)\n```", section("webhook-payloads.md", "Headers"), re.MULTILINE | re.DOTALL)
    lines, _, body = request.partition("\n\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines.splitlines())}
    assert verify_signature(Verification(), [payload_examples.SECRET], headers, body.encode()) is not None


async def test_messages_of_every_type_and_form_fit_the_schema(resources: Resources, clock: FixedClock) -> None:
    """Let a business live through everything that the log can hold, deliver it, erase a pass and deliver it again."""
    settings = replace(resources.settings, egress_allow=("127.0.0.1",))
    business = await open_business(replace(resources, settings=settings), clock)
    async with run_receiver() as receiver:
        # Firings of rules are sent only to a filter that names them.
        shown = ActivityQuery(types=sorted(payload_schema.DATA), include_silent=True, include_historical=True)
        endpoint, _ = await create_webhook_endpoint(business.ctx, receiver.url, filter=shown)
        await live(business, clock)
        await deliver(business, endpoint.id)
        before = {request.id: request.payload for request in receiver.accepted}
        await erase_pass(business.ctx, external_id="eve")
        await business.run_worker()
        everything, _ = await create_webhook_endpoint(business.ctx, receiver.url, filter=shown, after=0)
        await deliver(business, everything.id)
        await send_test_message(business.ctx, endpoint.id)
    bodies = [request.body for request in receiver.accepted]
    assert [problem for body in bodies for problem in problems(body)] == []
    payloads = [json.loads(body) for body in bodies]
    assert {payload["type"] for payload in payloads} <= KINDS
    forms = {frozenset(payload["data"]) & {"truncated", "erased", "removed", "into", "event"} for payload in payloads}
    single = [{"removed"}, {"into"}, {"erased"}, {"event"}, {"event", "truncated"}, set()]
    assert [form for form in single if form not in forms] == []
    events = [payload["data"]["event"] for payload in payloads if "event" in payload["data"]]
    assert {"removed"} <= {name for event in events for name in event}
    flags = [payload["data"] for payload in before.values() if "segment" in payload["data"]]
    assert all(any(data[flag] for data in flags) for flag in ("late", "silent", "historical"))
    assert {
        payload["passExternalId"] for payload in payloads[len(before) :] if payload["data"] == {"erased": True}
    } == {None}


def bought(count: int) -> dict[str, object]:
    """Return the criteria `so many purchases or more in 12 days`."""
    return {"event": {"types": ["purchase"], "value": count, "within": {"days": 12 - 5 * (count - 1)}}}


async def live(business: Business, clock: FixedClock) -> None:
    """Record events of all kinds, and let segments, time, removals and a merge add their activities."""
    ctx = business.ctx
    await business.create_segment("regulars", purchases(2), notify="EMIT")
    award = {"awardPoints": {"points": "2", "pendingDays": 1, "expiresAfterDays": 4}}
    trigger = {"event": {"types": ["purchase"]}}
    await create_rule(ctx, {"key": "points", "name": "Points", "trigger": trigger, "effects": [award]})
    clock.set(await clock.now() + timedelta(milliseconds=1))
    tiers = [{"key": f"t{n}", "name": f"Tier {n}", "reach": bought(n)} for n in (1, 2)]
    await set_tier_program(ctx, {"tiers": tiers, "period": {"days": 4}})
    await business.create_segment("rich", {"pass": {"field": "pointsBalance", "operator": "GTE", "value": 10}})
    await business.record(
        {"amount": "29.30", "currency": "EUR", "external_id": "r-1", "metadata": {"store": "north", "n": 1.5}},
        {"amount": "12", "points": "15", "points_expire_after_days": 10, "external_id": "r-2"},
        {"type": "redemption", "points": "-2", "external_id": "r-3"},
        {"type": "field_updated", "field_name": "level", "old_value": "a", "new_value": "b", "external_id": "r-4"},
        {"metadata": {"note": "x" * 30_000}, "external_id": "r-5"},
        {"pass_external_id": "bob", "external_id": "r-6"},
        {"pass_external_id": "eve", "external_id": "r-7"},
        {"pass_external_id": "eve", "external_id": "r-8"},
    )
    await business.run_worker()
    await create_reward(business, pointsCost=1, code={"pattern": "A-######"})
    for redeemed in (await redeem(business), await redeem(business, quantity=900)):
        await roll_back(business, redeemed.id, "spilled")
    await business.record({"type": "point_sub", "points": "-900", "guard": {"minBalance": 0}})
    ids = await ctx.workspace.passes.ids_of(["ann", "bob"])
    await update_pass(ctx, ids["ann"], holder={"email": "ann@shop.example"}, status="INACTIVE")
    # Two that are late: the segment is entered at the instant at which the second one is counted.
    now = await clock.now()
    late = now - timedelta(days=3)
    await business.record({"pass_external_id": "kim", "external_id": "r-9", "occurred_at": late.isoformat()})
    await business.run_worker()
    await business.record({"pass_external_id": "kim", "external_id": "r-10", "occurred_at": late.isoformat()})
    await business.record(
        {"pass_external_id": "zoe", "external_id": "r-11"},
        {"pass_external_id": "zoe", "external_id": "r-12"},
        historical=True,
    )
    await business.run_worker()
    await tell_of_messages(business, ids["ann"])
    await business.create_segment("any", purchases(1), notify="SILENT")
    await merge_passes(ctx, ids["ann"], ids["bob"])
    await business.run_worker()
    clock.set(now + timedelta(days=30))
    await business.run_worker()
    await remove(business, "r-1")
    # Removed after it was folded and before it is published: only its id is left to publish.
    await business.record({"pass_external_id": "pat", "external_id": "r-13"})
    await fold_only(business)
    await remove(business, "r-13")


async def tell_of_messages(business: Business, pass_id: str) -> None:
    """Give and revoke a consent, and record an outcome of each kind of message over each kind of channel."""
    ctx, at = business.ctx, await business.ctx.now()
    settings = {"host": "127.0.0.1", "from": "shop@shop.example"}
    sent = {"key": "mail", "name": "Mail", "kind": "EMAIL", "provider": "SMTP", "settings": settings}
    channel, _ = await create_channel(ctx, {**sent, "consentKey": "mail"})
    for given in (True, False):
        await record_consent(ctx, pass_id=pass_id, external_id=None, channel_key="mail", given=given)
    routes = [(kind, Provider.HTTP) for kind in ChannelKind]
    routes += [(ChannelKind.EMAIL, provider) for provider in Provider if provider not in (Provider.HTTP, Provider.SMTP)]
    for number, (kind, provider) in enumerate(routes):
        over = replace(channel, kind=kind, provider=provider)
        for status in (MessageStatus.SENT, MessageStatus.FAILED):
            queued = Message.queued(
                f"msg_{number}{status}", workspace_id=ctx.workspace.id, channel_key="mail", pass_id=pass_id,
                template_id="", cause=MessageCause(MessageOrigin.API), at=at, now=at,
            )  # fmt: skip
            event = outcome_event(queued.ended(status, at), over, pass_id, at)
            await ctx.workspace.events.insert([(event, b"")])
    await business.run_worker()


async def fold_only(business: Business) -> None:
    """Fold what is pending, and publish nothing."""
    for key in SLOT_RANGES:
        while await fold_once(business.worker, key):
            pass


async def remove(business: Business, external_id: str) -> None:
    """Delete the event with an external id, and run the worker."""
    job, _ = await delete_events(business.ctx, EventQuery(external_id=external_id, sources=("api",)))
    assert job is not None
    await jobs(business.worker, job.id)
    await business.run_worker()


async def deliver(business: Business, endpoint_id: str) -> None:
    """Deliver everything to an endpoint; the clock is ahead of what publish announced."""
    await run_endpoint(business.worker, endpoint_id, now_ms=lambda: system_ms() + 3_600_000, chance=lambda: 0.0)


def test_schema_file_is_the_generated_one() -> None:
    found: Any = json.loads(page(payload_schema.FILE))
    assert found == payload_schema.schema()
