"""Questions that are refused: as soon as it is known, and with the commands to the store that this takes."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import AsyncIterator
from datetime import UTC
from typing import Any

import pytest
from motor.motor_asyncio import AsyncIOMotorClient

from app.clock import FixedClock
from app.graphql.aggregations import questions
from app.resources import Resources
from app.store.workspace import aggregations
from tests.business import Business, open_business
from tests.commands.test_round_trips import CommandCounter
from tests.graphql.serving import Api

GROUPS = """query Ask($input: AggregateInput!, $no: Boolean = false) { aggregateEvents(input: $input) { value
  few: groups(first: 1) @skip(if: $no) { totalCount } many: groups(first: 251) @skip(if: $no) { totalCount }
  groups @include(if: $no) { totalCount } freshness { exact } } }"""
SERIES = """{ eventSummary(input: { from: "2025-01-01T00:00:00Z", to: "2026-03-01T00:00:00Z" }) {
  totalEvents ... { months: series(unit: MONTH) { totalEvents } days: series { totalEvents } } } }"""
TOP = """{ topPasses(input: { by: SPEND, month: "2025-12", first: 251 }) {
  freshness { exact } passes { nodes { rank } } } }"""
READ = {"events", "rollups", "rollup_heads", "passes", "jobs"}


@pytest.fixture
async def commands() -> CommandCounter:
    """Return the counter of the commands that the API sends to the store."""
    return CommandCounter()


@pytest.fixture
async def business(resources: Resources, clock: FixedClock, commands: CommandCounter) -> AsyncIterator[Business]:
    """Return a business with six visits of different cities."""
    settings = resources.settings
    client: AsyncIOMotorClient[dict[str, object]] = AsyncIOMotorClient(
        settings.mongodb_uri, tz_aware=True, tzinfo=UTC, event_listeners=[commands]
    )
    created = await open_business(dataclasses.replace(resources, db=client[settings.database]), clock)
    await created.record(*({"type": "visit", "metadata": {"city": f"city {number}"}} for number in range(6)))
    yield created
    client.close()


async def refuse(api: Api, commands: CommandCounter, query: str, **variables: Any) -> tuple[str, list[str], list[str]]:
    """Return the code, the field and the path of the error, after the commands were counted anew."""
    commands.sent.clear()
    error = await api.fetch_error(query, **variables)
    [problem] = error["extensions"]["problems"]
    return problem["code"], problem["field"], error["path"]


def read_of(commands: CommandCounter) -> dict[str, int]:
    """Return the numbers of the commands that read what questions are answered from."""
    return {command: number for command, number in commands.sent.items() if command.split()[1] in READ}


async def test_what_the_input_shows_is_refused_before_anything_is_read(api: Api, commands: CommandCounter) -> None:
    count = {"function": "COUNT", "groupBy": ["TYPE"]}
    assert await refuse(api, commands, GROUPS, input=count) == (
        "OUT_OF_RANGE", ["first"], ["aggregateEvents", "many"],
    )  # fmt: skip
    assert read_of(commands) == {}
    assert await refuse(api, commands, GROUPS, input={**count, "first": 251}, no=True) == (
        "OUT_OF_RANGE", ["input", "first"], ["aggregateEvents", "groups"],
    )  # fmt: skip
    assert read_of(commands) == {}
    assert await refuse(api, commands, SERIES) == ("OUT_OF_RANGE", ["unit"], ["eventSummary", "days"])
    assert read_of(commands) == {}
    assert await refuse(api, commands, TOP) == ("OUT_OF_RANGE", ["input", "first"], ["topPasses", "passes"])
    assert read_of(commands) == {}


async def test_arguments_of_fields_that_are_left_out_are_not_checked(api: Api) -> None:
    data = await api.fetch_data(GROUPS, input={"function": "COUNT"}, no=True)
    assert data["aggregateEvents"]["groups"] == {"totalCount": 0}
    deferred = SERIES.replace("... {", "... @defer {")
    response = await api.post(f'{{"query": {json.dumps(deferred)}}}', accept="application/json, multipart/mixed")
    assert '"totalEvents":6' in response.text.replace(" ", ""), response.text
    assert "OUT_OF_RANGE" in response.text


@pytest.mark.embedded_only("it sends all events in the first part")
async def test_reading_ends_at_the_part_that_has_too_many_groups(
    api: Api, commands: CommandCounter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aggregations, "EVENTS_PER_PART", 2)
    by_city = {"function": "COUNT", "groupByMetadata": ["city"]}
    commands.sent.clear()
    await api.fetch_data(GROUPS, input=by_city, no=True)
    assert commands.sent["getMore events"] == 3
    monkeypatch.setattr(questions, "MAX_GROUPS", 3)
    assert await refuse(api, commands, GROUPS, input=by_city, no=True) == (
        "LIMIT", ["input", "groupByMetadata"], ["aggregateEvents", "groups"],
    )  # fmt: skip
    assert commands.sent["getMore events"] == 1
