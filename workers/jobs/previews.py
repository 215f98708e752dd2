"""previewSegment: who would be in a segment, and what saving it would cause. Nothing else is written."""

from __future__ import annotations

from app.commands.preview_runs import PreviewRun, start_run
from app.domain.definitions import Definitions
from app.domain.jobs import Tally
from app.domain.preview import PreviewOrder, PreviewTally, sum_tallies
from app.domain.values.instants import to_ms
from app.store.mongo.paging import PageRequest

from .lease import JobLease

PREVIEW_BATCH_SIZE = 200
"""Passes of one batch."""


async def run_preview(lease: JobLease) -> bool:
    """Preview a segment for one slice of time, and return whether all passes are done."""
    order = lease.run.order
    assert isinstance(order, PreviewOrder)
    store = lease.workspace
    if lease.run.position is None:
        total = await store.passes.count()
        await lease.commit({"after": None, "over": False, "sum": PreviewTally().to_dict()}, Tally(), total)
    run: PreviewRun | None = None
    at_ms = to_ms(await lease.worker.resources.clock.elapsed())
    while not lease.run.position["over"] and await lease.can_continue():
        position = lease.run.position
        if run is None:
            run = await start_run(store, Definitions(await store.definitions.versions()), order, at_ms)
        after = None if position["after"] is None else tuple(position["after"])
        # The newest passes come first, so that passes created meanwhile are left out.
        page = await run.read(PageRequest(PREVIEW_BATCH_SIZE, after))
        if run.is_outdated(page.items):
            run = None
            continue
        done = await run.add(page.items)
        last = page.items[-1] if page.items else None
        next_position = {
            "after": position["after"] if last is None else [to_ms(last.created_at), last.id],
            "over": not page.has_more,
            "sum": sum_tallies([PreviewTally(**position["sum"]), done.tally]).to_dict(),
        }
        if not await lease.commit(next_position, lease.run.tally.plus(Tally(len(page.items)))):
            return False
    tally = PreviewTally(**lease.run.position["sum"])
    lease.result.update({**tally.to_dict(), "staying": tally.staying})
    return bool(lease.run.position["over"])
