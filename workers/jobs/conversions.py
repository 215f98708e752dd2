"""measureRuleConversion: the first firing of each pass, and whether it converted, pass by pass. Nothing else is written."""

from __future__ import annotations

import asyncio

from app.domain.jobs import Tally
from app.domain.rules.statistics import Conversion, ConversionGroup
from app.domain.values.instants import to_ms
from app.store.codecs.jobs import ConversionOrder
from app.store.mongo.paging import PageRequest

from .lease import JobLease

CONVERSION_BATCH_SIZE = 50
"""Passes that one batch reads."""
GROUPS = ("treated", "control")


async def run_conversion(lease: JobLease) -> bool:
    """Measure for one slice of time and return whether all passes were read."""
    order = lease.run.order
    assert isinstance(order, ConversionOrder)
    if lease.run.position is None:
        total = await lease.workspace.passes.count()
        start = {"after": None, "over": False, "sum": {name: [0, 0] for name in GROUPS}}
        if not await lease.commit(start, Tally(), total):
            return False
    while not lease.run.position["over"] and await lease.can_continue():
        if not await _measure_batch(lease, order):
            return False
    groups = (ConversionGroup(*lease.run.position["sum"][name]) for name in GROUPS)
    lease.result |= Conversion(*groups).to_dict()
    return bool(lease.run.position["over"])


async def _measure_batch(lease: JobLease, order: ConversionOrder) -> bool:
    """Read the next passes, and return whether the sums are stored. A repeat begins with the same passes."""
    position, store = lease.run.position, lease.workspace.firings
    after = position["after"]
    # The newest passes come first, so that passes created meanwhile are left out.
    page = await lease.workspace.passes.page(
        PageRequest(CONVERSION_BATCH_SIZE, None if after is None else tuple(after))
    )
    fired = [card.id for card in page.items if order.rule_id in card.firings]
    first = await store.first_firings(order.rule_id, fired, order.after, order.before)
    converted = await asyncio.gather(
        *(store.has_converted(pass_id, order.types, each.at_ms, order.within_ms) for pass_id, each in first.items())
    )
    sums = {name: list(position["sum"][name]) for name in GROUPS}
    for each, is_converted in zip(first.values(), converted, strict=True):
        group = sums[GROUPS[each.is_control]]
        group[0] += 1
        group[1] += is_converted
    last = page.items[-1] if page.items else None
    next_position = {
        "after": after if last is None else [to_ms(last.created_at), last.id],
        "over": not page.has_more,
        "sum": sums,
    }
    return await lease.commit(next_position, lease.run.tally.plus(Tally(len(page.items))))
