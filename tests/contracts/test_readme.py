"""What the README says to run does run."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from app.cli.main import main
from tests.business import Business
from tests.graphql.serving import serving

TUTORIAL = Path(__file__).parents[2] / "docs" / "tutorial.md"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", TUTORIAL.read_text(), re.MULTILINE | re.DOTALL)


async def test_the_tour_runs_in_its_order_and_shows_what_it_says(business: Business) -> None:
    record, define, customer, feed, follow = blocks("graphql")[:5]
    async with serving(business) as api:
        run = api.data
        batch = (await run(record))["recordEvents"]
        assert [r["status"] for r in batch["results"]] == ["CREATED", "CREATED", "CREATED", "REJECTED"]
        assert batch["results"][3]["userErrors"][0]["field"] == ["events", "3", "amount"]
        await business.settle()
        assert all(made["userErrors"] == [] for made in (await run(define)).values())
        await business.settle()
        shown = await run(customer)
        [spend] = shown["pass"]["statistics"]["spend"]
        assert (spend["currency"], spend["net"], spend["orders"]) == ("USD", "41.30", 2)
        assert [m["segment"]["key"] for m in shown["pass"]["memberships"]["nodes"]] == ["regulars"]
        assert {s["key"]: s["memberCount"] for s in shown["segments"]["nodes"]} == {"regulars": 1, "away": 0}
        edges = (await run(feed))["activity"]["edges"]
        assert [edge["node"]["sequence"] for edge in edges] == list(range(1, len(edges) + 1))
        assert edges[-1]["node"]["type"] == "customer.segment.entered"
        assert (await run(record))["recordEvents"]["duplicate"] == 3
        async with api.socket() as socket:
            await socket.subscribe(follow)
            assert (await socket.next())["activity"]["__typename"] == "Heartbeat"


@pytest.mark.parametrize(
    "line", [line for block in blocks("sh") for line in block.splitlines() if "punchcard " in line]
)
def test_every_command_shown_exists(line: str) -> None:
    [words] = re.findall(r"punchcard ([\w\- ]+)", line)
    command: click.Command = main
    for word in words.split():
        if not isinstance(command, click.Group) or word.startswith("-") or word.isupper():
            break
        found = command.get_command(click.Context(command), word)
        assert found is not None, f"punchcard {words}: no '{word}'"
        command = found
