"""Time zones in every input that takes one: only names of the IANA list are accepted."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from app.commands.jobs.imports import import_events
from app.commands.segments import create_segment, update_segment
from app.commands.workspaces.workspaces import create_workspace
from app.domain.errors import Code, InvalidInput
from tests.business import Business, purchases
from tests.graphql.serving import Api
from tests.workers.jobs.test_imports import File

REFUSED = ("posixrules", "right/Europe/Berlin", "posix/Europe/Berlin", "Factory", "localtime", "EUROPE/BERLIN", "Mars")
MONTHLY = purchases(1, calendar={"unit": "MONTH"})


def commands(business: Business, segment_id: str) -> dict[str, Callable[[str], Awaitable[object]]]:
    """Return each command that takes a time zone, as a function of the zone."""
    ctx = business.ctx
    return {
        "createWorkspace": lambda zone: create_workspace(ctx.resources, "Shop", timezone=zone),
        "createSegment": lambda zone: create_segment(ctx, "buyers", "Buyers", MONTHLY, timezone=zone),
        "updateSegment": lambda zone: update_segment(ctx, segment_id, timezone=zone),
        "importEvents": lambda zone: import_events(ctx, File("customer_id,date\nann,2025-01-02\n"), timezone=zone),
    }


@pytest.mark.parametrize("command", ["createWorkspace", "createSegment", "updateSegment", "importEvents"])
async def test_command_accepts_only_time_zones_of_the_iana_list(business: Business, command: str) -> None:
    segment = await create_segment(business.ctx, "changed", "Changed", MONTHLY)
    run = commands(business, segment.id)[command]
    for zone in REFUSED:
        with pytest.raises(InvalidInput) as refused:
            await run(zone)
        [problem] = refused.value.problems
        assert (problem.code, problem.field, f'"{zone}"' in problem.message) == (Code.UNKNOWN, ("timezone",), True)
    await run("Europe/Berlin")


async def test_query_accepts_only_time_zones_of_the_iana_list(api: Api) -> None:
    await api.business.create_passes("ann")
    queries = {
        '{ pass(externalId: "ann") { statistics(timezone: "%s") { eventCount } } }': ["timezone"],
        '{ pass(externalId: "ann") { statistics(timezone: "%s", timeWindow: {calendar: DAY}) { eventCount } } }': [
            "timezone"
        ],
        '{ aggregateEvents(input: {function: COUNT, timezone: "%s"}) { value } }': ["input", "timezone"],
        '{ aggregateEvents(input: {function: COUNT, groupBy: [DAY], timezone: "%s"}) { value } }': [
            "input",
            "timezone",
        ],
    }
    for query, field in queries.items():
        for zone in REFUSED:
            [problem] = (await api.fetch_error(query % zone))["extensions"]["problems"]
            assert (problem["code"], problem["field"]) == ("UNKNOWN", field), (query, zone)
        await api.fetch_data(query % "Europe/Berlin")
