"""Rare interleavings of seals with the stages that mark hours, played step by step."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from random import Random

from app.domain.events.events import Event
from tests.crashes import Crash
from workers.stages import fold, merge, publish
from workers.worker import Worker

from .scenes import ALL_SLOTS, Scene, Stage, crash, interleave, play
from .sealing import Sealer


async def seal_all(stage: Stage) -> None:
    """Seal all marked hours in which nothing is pending."""
    await Sealer(stage.db, Random(1)).seal_some()


async def fold_and_crash_at_mark(stage: Stage) -> None:
    """Let another worker fold the pending events and crash before it marks their hours."""
    await crash_at_mark(stage.new_worker(), lambda worker: fold.fold(worker, ALL_SLOTS))


async def erase_and_crash_at_mark(stage: Stage) -> None:
    """Let another worker erase, and crash before it marks the hours of the first batch."""
    await crash_at_mark(stage.new_worker(), stage.sweep_erasures)


async def crash_at_mark(worker: Worker, run: Callable[[Worker], Awaitable[None]]) -> None:
    """Let the worker run a stage, and crash before it marks hours."""
    worker.rollup_marks.mark_hours = crash  # type: ignore[method-assign,assignment]
    try:
        await run(worker)
    except Crash:
        return
    raise AssertionError("no hour changed")


async def hour_is_sealed_before_a_removed_event_is_a_stub(stage: Stage) -> None:
    """A seal counts the event once more. The mark that follows the stub makes that harmless.

    The tombstones lie in the hour of the later event.
    """
    await stage.buy()
    await stage.buy("bob")
    await stage.fold()
    await seal_all(stage)
    await stage.remove_events(2)
    slow = stage.new_worker()
    interleave(slow.fold_queries, "replace_by_stubs", before=[lambda: seal_all(stage)])
    await fold.fold(slow, ALL_SLOTS)


async def event_is_removed_while_its_hour_is_sealed(stage: Stage) -> None:
    """A seal has read the event. It compares its mark with the one that the removal has set."""
    await stage.buy("ann", "bob")
    await stage.fold()
    await stage.advance_clock()
    await stage.remove_events()
    sealer = Sealer(stage.db, Random(1))
    interleave(sealer, "store", before=[stage.fold])
    await sealer.seal_some()


async def worker_crashes_after_it_emptied_events_that_another_erases(stage: Stage) -> None:
    """A second worker finds no event left. So it must find the hours of those that were emptied before it looked."""
    await stage.buy()
    await stage.fold()
    await stage.publish()
    await seal_all(stage)
    await stage.erase_pass()
    await stage.fold()
    await stage.publish()
    other = stage.new_worker()
    interleave(other.erase_queries, "events_of", before=[lambda: erase_and_crash_at_mark(stage)])
    await stage.sweep_erasures(other)


async def two_workers_erase_batches_of_different_hours(stage: Stage) -> None:
    """Each batch has a name of its own: the slow worker crashes after the other one has taken out its own name."""
    for _ in range(3):
        await stage.buy()
        await stage.fold()
        await stage.publish()
    await seal_all(stage)
    await seal_all(stage)
    await stage.erase_pass()
    await stage.fold()
    await stage.publish()
    slow = stage.new_worker()
    interleave(slow.erase_queries, "replace_events_by_stubs", after=[lambda: erase_and_crash_at_mark(stage)])
    await crash_at_mark(slow, stage.sweep_erasures)


async def event_counted_before_its_merge_is_pending_on_an_erased_pass(stage: Stage) -> None:
    """Rollups hold the event. The fold that counted it on the survivor crashes, and the same write erased the survivor."""
    await stage.buy()
    await stage.buy("bob")
    await stage.fold()
    await stage.publish()
    await seal_all(stage)
    await stage.merge()
    await stage.fold()
    await stage.publish()
    worker = stage.new_worker()
    for pass_id in await worker.merge_queries.waiting():
        await merge.merge(worker, pass_id)
    await stage.erase_pass()
    await fold_and_crash_at_mark(stage)
    await stage.fold()


async def fold_crashes_before_it_marks(stage: Stage) -> None:
    """The fold that follows only clears the event, and marks its hour before."""
    await stage.buy()
    await fold_and_crash_at_mark(stage)
    await stage.fold()


async def hour_is_sealed_before_a_made_event_is_stored(stage: Stage) -> None:
    """A seal finds only the purchase. The mark that follows the insert makes that harmless."""
    await stage.define_rules()
    await stage.buy()
    await stage.fold()
    slow = stage.new_worker()
    insert = slow.publish_queries.insert_made

    async def seal_then_insert(workspace_id: str, made: Sequence[Event]) -> None:
        await seal_all(stage)
        await insert(workspace_id, made)

    slow.publish_queries.insert_made = seal_then_insert  # type: ignore[method-assign]
    await publish.publish(slow, stage.workspace_id)


SEALING_SCENES: Sequence[Scene] = (
    fold_crashes_before_it_marks,
    hour_is_sealed_before_a_removed_event_is_a_stub,
    event_is_removed_while_its_hour_is_sealed,
    worker_crashes_after_it_emptied_events_that_another_erases,
    two_workers_erase_batches_of_different_hours,
    event_counted_before_its_merge_is_pending_on_an_erased_pass,
)
"""Scenes without rules."""
SEALING_RULE_SCENES: Sequence[Scene] = (hour_is_sealed_before_a_made_event_is_stored,)
"""Scenes with rules that give points for purchases."""


def play_sealing(scene: Scene) -> None:
    """Play a scene of either kind. Raises AssertionError."""
    play(scene, rules=scene in SEALING_RULE_SCENES)
