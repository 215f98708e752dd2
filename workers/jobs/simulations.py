"""simulateRule: walk copies of the passes of a workspace under today's definitions and a rule. Nothing else is written."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

from app.domain.definitions import Definitions
from app.domain.jobs import Tally
from app.domain.passes.passes import Pass
from app.domain.simulation import MAX_SIMULATED_EVENTS, Simulated, definitions_with, simulate
from app.domain.values.decimals import plain
from app.domain.values.instants import to_ms
from app.store.codecs.jobs import SimulationOrder
from app.store.mongo.paging import PageRequest

from .lease import JobLease

SIMULATION_BATCH_SIZE = 20
"""Passes that one batch walks."""


async def run_simulation(lease: JobLease) -> bool:
    """Simulate a rule for one slice of time and return whether all passes were walked."""
    order = lease.run.order
    assert isinstance(order, SimulationOrder)
    if lease.run.position is None:
        total = await lease.workspace.passes.count()
        await lease.commit({"after": None, "over": False, "sum": _to_doc(Simulated())}, Tally(), total)
    latest = Definitions(await lease.workspace.definitions.versions()).latest().values()
    definitions = definitions_with(latest, order.rule)
    while not lease.run.position["over"] and await lease.can_continue():
        if not await _simulate_batch(lease, order, definitions):
            return False
    simulated = _from_doc(lease.run.position["sum"])
    lease.result.update(simulated.to_dict())
    return bool(lease.run.position["over"])


async def _simulate_batch(lease: JobLease, order: SimulationOrder, definitions: Definitions) -> bool:
    """Walk the next passes, and return whether the result is stored. A repeat begins with the same passes."""
    position, worker = lease.run.position, lease.worker
    after = position["after"]
    # The newest passes come first, so that passes created meanwhile are left out.
    page = await lease.workspace.passes.page(
        PageRequest(SIMULATION_BATCH_SIZE, None if after is None else tuple(after))
    )
    found = await worker.fold_queries.passes([card.id for card in page.items])
    items = _choose(page.items, found)
    # A pass that was erased between the two reads is not found.
    whole = [found[card.id] for card in items if card.id in found]
    large = [card for card in whole if card.event_count > MAX_SIMULATED_EVENTS]
    cards = [card for card in whole if card.event_count <= MAX_SIMULATED_EVENTS]
    histories = await worker.fold_queries.histories(cards)
    total = replace(Simulated(), left_out=len(large))
    for card in cards:
        one = await asyncio.to_thread(
            simulate,
            card,
            histories[card.id],
            definitions,
            order.rule.rule_id,
            period=order.period,
            texts=worker.texts,
        )
        total = total.plus(one)
    last = items[-1] if items else None
    next_position = {
        "after": after if last is None else [to_ms(last.created_at), last.id],
        "over": not page.has_more and len(items) == len(page.items),
        "sum": _to_doc(_from_doc(position["sum"]).plus(total)),
    }
    return await lease.commit(next_position, lease.run.tally.plus(Tally(len(items))))


def _choose(cards: Sequence[Pass], found: Mapping[str, Pass]) -> list[Pass]:
    """Return the first passes, at least one, whose events one batch walks in a few seconds of processor time."""
    chosen: list[Pass] = []
    size = 0
    for card in cards:
        size += min(found[card.id].event_count, MAX_SIMULATED_EVENTS) if card.id in found else 0
        if chosen and size > MAX_SIMULATED_EVENTS:
            break
        chosen.append(card)
    return chosen


def _to_doc(simulated: Simulated) -> dict[str, Any]:
    counts = {name: getattr(simulated, name) for name in _COUNTS}
    return {**counts, "skipped": dict(simulated.skipped), "points": plain(simulated.points)}


def _from_doc(doc: Mapping[str, Any]) -> Simulated:
    return Simulated(**{name: doc[name] for name in _COUNTS}, skipped=doc["skipped"], points=Decimal(doc["points"]))


_COUNTS = ("passes", "left_out", "matched", "fired", "control", "succeeded", "failed")
