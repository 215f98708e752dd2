"""Mark the hours that hold events of a type, so that they are sealed with totals by its dimensions.

Hours are marked after the definition is stored. A seal reads the mark of an hour before it reads the definition, so it
either sees the new dimension or does not make its content valid.
"""

from __future__ import annotations

from app.domain.jobs import Tally
from app.domain.values.instants import DAY_MS, EARLIEST, to_ms
from app.store.codecs.jobs import DimensionsOrder
from app.store.operations.rollup_marking import RollupMarking

from .lease import JobLease


async def run_preparation(lease: JobLease) -> bool:
    """Mark hours for one slice of time and return whether all are marked. A repeated batch marks the same hours again."""
    order, run = lease.run.order, lease.run
    assert isinstance(order, DimensionsOrder)
    resources = lease.worker.resources
    marking = RollupMarking(resources.db, resources.in_chunk, is_sharded=resources.is_sharded)
    position = run.position or {"at": to_ms(EARLIEST), "span": DAY_MS}
    while await lease.can_continue():
        found = await marking.find_hours(run.workspace_id, order.event_type, position["at"], position["span"])
        if found is None:
            # The expected number of hours is not known before the end.
            if not await lease.commit(position, lease.run.tally, lease.run.tally.done):
                return False
            lease.result["hours"] = lease.run.tally.done
            return True
        await lease.worker.rollup_marks.mark_hours((run.workspace_id, hour) for hour in found.hours)
        position = {"at": found.until_ms, "span": found.span_ms}
        if not await lease.commit(position, lease.run.tally.plus(Tally(len(found.hours)))):
            return False
    return False
