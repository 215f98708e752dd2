"""The part `explain`: the time of explanations and previews of segments over HTTP, on an idle machine."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from functools import partial

from .http import Client
from .stock import BOUGHT, SEGMENTS, Stock
from .timing import Processes, Side, timed

EXPLAIN = """query Explain($pass: String!, $segment: String!) {
  explainMembership(passExternalId: $pass, segmentKey: $segment) { member until text } }"""
PREVIEW = """query Preview($input: SegmentPreviewInput!) {
  segmentPreview(input: $input) { estimate { count exact } entering leaving activities } }"""
BOUGHT_IN_A_YEAR = {"event": {**BOUGHT, "metric": "COUNT", "operator": "GTE", "value": 3, "within": {"days": 365}}}
OTHER = "{ __typename }"
"""A small query that another client sends again and again during a preview."""
PREVIEWS = {
    "criteria that the passes hold": SEGMENTS["bought-within-30"],
    "criteria for which all events are read": BOUGHT_IN_A_YEAR,
}
PREVIEW_SECONDS = {"criteria that the passes hold": 2, "criteria for which all events are read": 6}
"""Targets for `PREVIEWED_PASSES`, each with 5 events."""
PREVIEWED_PASSES = 19_000
"""Passes of which a preview reads all events: of 20,000, they would be more than the 100,000 that it reads at most."""


async def measure_explaining(stock: Stock, client: Client, times: int) -> Side:
    """Measure the seconds of explanations of a pass and a segment, drawn at random."""
    chance = random.Random(4)
    names, keys = [external_id for _, external_id in stock.passes], list(SEGMENTS)

    def draw() -> dict[str, object]:
        return {"pass": chance.choice(names), "segment": chance.choice(keys)}

    return await _measure(Side("explainMembership"), client, EXPLAIN, draw, times)


async def measure_previews(
    client: Client, connect: Callable[[], Awaitable[Client]], processes: Processes, times: int
) -> list[tuple[Side, Side]]:
    """Measure previews of all passes, of each kind of criteria, and the small query of another client during them."""
    sides = []
    for title, criteria in PREVIEWS.items():
        side, beside = Side(title), Side("a small query of another client")
        body = client.body(PREVIEW, {"input": {"criteria": criteria}})
        await client.ask(body)
        # The API closes a connection that is idle during the first preview.
        other = await connect()
        small = other.body(OTHER, {})
        for _ in range(times):
            preview = asyncio.ensure_future(timed(side, processes, partial(client.ask, body)))
            while not preview.done():
                started = time.perf_counter()
                await other.ask(small)
                beside.seconds.append(time.perf_counter() - started)
                await asyncio.sleep(0.05)
            await preview
        await other.aclose()
        sides.append((side, beside))
    return sides


async def _measure(
    side: Side, client: Client, query: str, variables: Callable[[], dict[str, object]], times: int
) -> Side:
    for run in range(times + 1):
        body = client.body(query, variables())
        started = time.perf_counter()
        answer = await client.send(body)
        seconds = time.perf_counter() - started
        assert "errors" not in answer, answer
        # The first answer includes the reading of definitions.
        if run:
            side.seconds.append(seconds)
    return side
