"""The part `rules`: what rules cost, those that do not fire and one that fires on each event.

Each side has a workspace of its own with the same stock and the same events. The figures that count are CPU seconds of
Punchcard and the store together: a busy machine changes them less than times.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from app.commands.events.record import record_events
from app.commands.rules.rules import create_rule
from app.flow import SLOT_RANGES
from app.resources import Resources
from app.store.mongo.queries import Doc
from workers.stages.fold import fold
from workers.stages.publish import publish
from workers.worker import Worker

from .recording import generate_items, to_inputs
from .stock import Stock
from .timing import Processes, Run, Side, compare

EVENTS = 1_000
POINTS = {"awardPoints": {"perAmount": {"points": 1, "each": 1}}}
BOUGHT = {"event": {"types": ["purchase"]}}
FIRING: Sequence[Mapping[str, Any]] = [{"trigger": BOUGHT}]
"""One rule, which gives points for each purchase."""
SILENT: Sequence[Mapping[str, Any]] = [
    *({"trigger": {"event": {"types": [f"campaign-{number}"]}}} for number in range(5)),
    *(
        {"trigger": BOUGHT, "eventMetadata": [{"path": "store", "operator": "EQ", "value": f"closed-{number}"}]}
        for number in range(5)
    ),
    *(
        {
            "trigger": BOUGHT,
            "conditions": {"pass": {"field": "fields.city", "operator": "EQ", "value": f"City {number}"}},
        }
        for number in range(4)
    ),
    *({"trigger": {"event": {"types": ["purchase"], "amountMin": 1_000_000 + number}}} for number in range(2)),
    *({"trigger": BOUGHT, "nth": {"equals": 100_000 + number}} for number in range(2)),
    *(
        {
            "trigger": {"balance": {"pointsReach": 1_000_000 + number}},
            "effects": [{"recordEvent": {"type": "milestone"}}],
        }
        for number in range(2)
    ),
]
"""Twenty rules that do not fire: of five, nothing has the type; the others are asked about each event."""


async def measure_silent_rules(stocks: Sequence[Stock], processes: Processes, rounds: int) -> list[Side]:
    """Measure the fold of 1,000 events over 1,000 passes: without rules, and with 20 that do not fire."""
    plain, ruled = stocks
    await create_rules(ruled, SILENT)
    sides = [_fold_side("without rules", plain), _fold_side(f"{len(SILENT)} rules, none fires", ruled)]
    resources = plain.ctx.resources
    await compare(sides, processes, rounds=rounds, clean=lambda: _drop_outboxes(resources))
    return sides


async def measure_firing_rule(stocks: Sequence[Stock], processes: Processes, rounds: int) -> list[Side]:
    """Measure 1,000 events from the call to the published activities: without rules, and with one that fires on each."""
    plain, ruled = stocks
    await create_rules(ruled, FIRING)
    sides = [_whole_side("without rules", plain, 0), _whole_side("one rule fires on each event", ruled, 2 * EVENTS)]
    await compare(sides, processes, rounds=rounds)
    return sides


async def create_rules(stock: Stock, rules: Sequence[Mapping[str, Any]]) -> None:
    """Create rules with the effect `POINTS`, and wait until they hold for the events of the last second."""
    for number, rule in enumerate(rules):
        key = f"rule-{number}"
        await create_rule(stock.ctx, {"key": key, "name": key, "effects": [POINTS], **rule})
    await asyncio.sleep(1.1 * EVENTS / 1_000)


def _fold_side(name: str, stock: Stock) -> Side:
    worker = Worker.on(stock.ctx.resources)

    async def prepare() -> Run:
        await record_events(stock.ctx, to_inputs(generate_items(stock, EVENTS, EVENTS)))
        return lambda: _fold(worker)

    return Side(name, prepare, EVENTS)


def _whole_side(name: str, stock: Stock, made: int) -> Side:
    """Return a side whose runs make `made` events: a firing and an award for each event, or none."""
    resources = stock.ctx.resources
    worker = Worker.on(resources)

    async def prepare() -> Run:
        sent = to_inputs(generate_items(stock, EVENTS, EVENTS))
        of_rules: Doc = {"workspace": stock.ctx.workspace.id, "origin.rule": {"$gte": ""}}
        before = await resources.db["events"].count_documents(of_rules) if made else 0

        async def run() -> None:
            await record_events(stock.ctx, sent)
            await _fold(worker)
            await publish(worker, stock.ctx.workspace.id)

        return _checked(run, lambda: resources.db["events"].count_documents(of_rules), before + made) if made else run

    return Side(name, prepare, EVENTS)


def _checked(run: Run, count: Callable[[], Awaitable[int]], expected: int) -> Run:
    """Return the run with a check that it left as many made events as expected."""

    async def checked() -> None:
        await run()
        assert (found := await count()) == expected, (found, expected)

    return checked


async def _fold(worker: Worker) -> None:
    await asyncio.gather(*(fold(worker, key) for key in SLOT_RANGES))


async def _drop_outboxes(resources: Resources) -> None:
    await resources.db["passes"].update_many({"pub": {"$gte": 0}}, {"$set": {"out": []}, "$unset": {"pub": ""}})
