"""Rare interleavings of seals with the stages that mark hours, played step by step."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from app.domain.events.events import Event
from tests.crashes import Crash
from workers.stages import fold, merge, publish, seal, seal_passes
from workers.worker import Worker

from .count_scenes import COUNT_SCENES, buy_and_fold
from .count_scenes import seal as seal_months
from .scenes import (
    ALL_SLOTS,
    Scene,
    Stage,
    crash,
    erase_survivor_before_the_merge,
    fold_and_publish,
    interleave,
    play,
)  # fmt: skip

TWO_MONTHS = 4 * 62
"""Quarters of a day after which another month has begun."""


async def seal_marked(stage: Stage) -> None:
    """Let another worker seal all that is marked and has nothing pending."""
    await seal.seal(stage.new_worker(), stage.workspace_id)


async def merge_after_sealing(stage: Stage) -> None:
    """Let two passes have an event each, in rollups. Then request their merge."""
    await stage.buy()
    await stage.buy("bob")
    await fold_and_publish(stage)
    await seal_marked(stage)
    await stage.merge()


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
    await seal_marked(stage)
    await stage.remove_events(2)
    slow = stage.new_worker()
    interleave(slow.fold_queries, "replace_by_stubs", before=[lambda: seal_marked(stage)])
    await fold.fold(slow, ALL_SLOTS)


async def event_is_removed_while_its_hour_is_sealed(stage: Stage) -> None:
    """A seal has read the event. It compares its mark with the one that the removal has set."""
    await stage.buy("ann", "bob")
    await stage.fold()
    await stage.advance_clock()
    await stage.remove_events()
    slow = stage.new_worker()
    interleave(slow.seal_queries, "insert", before=[stage.fold])
    await seal.seal(slow, stage.workspace_id)


async def worker_crashes_after_it_emptied_events_that_another_erases(stage: Stage) -> None:
    """A second worker finds no event left. So it must find the hours of those that were emptied before it looked."""
    await stage.buy()
    await fold_and_publish(stage)
    await seal_marked(stage)
    await stage.erase_pass()
    await fold_and_publish(stage)
    other = stage.new_worker()
    interleave(other.erase_queries, "events_of", before=[lambda: erase_and_crash_at_mark(stage)])
    await stage.sweep_erasures(other)


async def two_workers_erase_batches_of_different_hours(stage: Stage) -> None:
    """Each batch has a name of its own: the slow worker crashes after the other one has taken out its own name."""
    for _ in range(3):
        await stage.buy()
        await fold_and_publish(stage)
    await seal_marked(stage)
    await seal_marked(stage)
    await stage.erase_pass()
    await fold_and_publish(stage)
    slow = stage.new_worker()
    interleave(slow.erase_queries, "replace_events_by_stubs", after=[lambda: erase_and_crash_at_mark(stage)])
    await crash_at_mark(slow, stage.sweep_erasures)


async def event_counted_before_its_merge_is_pending_on_an_erased_pass(stage: Stage) -> None:
    """Rollups hold the event. The fold that counted it on the survivor crashes, and the same write erased the survivor."""
    await merge_after_sealing(stage)
    await fold_and_publish(stage)
    worker = stage.new_worker()
    for pass_id in await worker.merge_queries.waiting():
        await merge.merge(worker, pass_id)
    await stage.erase_pass()
    await fold_and_crash_at_mark(stage)
    await stage.fold()


async def merge_moves_an_event_to_a_pass_that_is_gone(stage: Stage) -> None:
    """The erasure of the survivor is finished before the merge is folded. Rollups hold the event that moves."""
    await merge_after_sealing(stage)
    await erase_survivor_before_the_merge(stage)
    await stage.sweep_merges(stage.new_worker())
    await fold_and_crash_at_mark(stage)


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
        await seal_marked(stage)
        await insert(workspace_id, made)

    slow.publish_queries.insert_made = seal_then_insert  # type: ignore[method-assign]
    await publish.publish(slow, stage.workspace_id)


async def hour_is_sealed_before_an_event_is_cleared(stage: Stage) -> None:
    """The hour is marked already. The event is pending, so the seal leaves the hour."""
    await stage.buy()
    slow = stage.new_worker()
    interleave(slow.fold_queries, "clear", before=[lambda: seal_marked(stage)])
    await fold.fold(slow, ALL_SLOTS)


async def large_hour_is_sealed_before_its_events_are_cleared(stage: Stage) -> None:
    """The store adds up the events of the hour. They are pending, so the seal leaves the hour."""
    await stage.buy("ann", "bob", "cyd")
    slow = stage.new_worker()
    interleave(slow.fold_queries, "clear", before=[lambda: seal_marked(stage)])
    await fold.fold(slow, ALL_SLOTS)


async def event_counts_in_an_hour_of_a_sealed_day(stage: Stage) -> None:
    """The hour is marked, its day is not. A reader uses neither."""
    await stage.buy()
    await stage.fold()
    await seal_marked(stage)
    await stage.buy("bob")
    await stage.fold()
    await read_several_times(stage)


async def event_moves_after_its_hour_was_sealed(stage: Stage) -> None:
    """The event is pending again, and the rollup of its hour has it."""
    await merge_after_sealing(stage)
    await fold_and_publish(stage)
    await stage.sweep_merges(stage.new_worker())
    await read_several_times(stage)


async def event_is_cleared_while_rows_are_read(stage: Stage) -> None:
    """The reader has found the hour clean. It finds no pending event any more, and the hour is marked now."""
    await stage.buy()
    await stage.fold()
    await seal_marked(stage)
    await stage.buy("bob", quarter_days=0)
    await read_while(stage, stage.fold)


async def hour_is_sealed_anew_while_rows_are_read(stage: Stage) -> None:
    """The reader has the content of the hour before. Only the token of its head has changed."""
    await stage.buy()
    await stage.fold()
    await seal_marked(stage)
    await stage.buy("bob", quarter_days=0)
    await read_while(stage, stage.fold, lambda: seal_marked(stage))


async def pass_ends_while_a_question_looks_for_removals(stage: Stage) -> None:
    """The tombstone is cleared after the first look. The mark of the pass is set, and the event still counts."""
    await stage.buy()
    await fold_and_publish(stage)
    await stage.erase_pass()
    ctx = stage.new_context()
    interleave(ctx.workspace.removals, "_oldest", after=[stage.fold])
    await stage.row_reader.read(ctx)


async def read_several_times(stage: Stage) -> None:
    """Read and check rows, by days and by quarters of an hour."""
    for _ in range(6):
        await stage.row_reader.read(stage.new_context())


async def read_while(stage: Stage, *acts: Callable[[], Awaitable[None]]) -> None:
    """Read and check rows. Between the look at the heads and the read of pending events, the others act."""
    ctx = stage.new_context()
    interleave(ctx.workspace.rollups, "pending_rows", before=acts)
    await stage.row_reader.read(ctx)


async def month_is_sealed_between_the_reads_and_the_write_of_a_fold(stage: Stage) -> None:
    """The fold has read that the month is marked. The seal takes the mark away, and changes no version of the pass."""
    await stage.buy()
    await stage.fold()
    await stage.buy()
    slow, other = stage.new_worker(), stage.new_worker()
    interleave(slow.fold_queries, "save", before=[lambda: seal_passes.seal_passes(other, stage.workspace_id)])
    await fold.fold(slow, ALL_SLOTS)


async def event_counts_in_a_month_before_the_last_one(stage: Stage) -> None:
    """The last month is sealed before. Its sums of twelve months change, although its own events do not."""
    stage.has_late_events = True
    await stage.buy()
    held = stage.hold_back("")
    await buy_and_fold(stage, "ann", quarter_days=TWO_MONTHS)
    await seal_months(stage)
    stage.give_back(held)
    await stage.fold()


async def last_month_loses_its_events(stage: Stage) -> None:
    """An earlier month is the last one again. Nothing has changed in it."""
    for _ in range(3):
        await buy_and_fold(stage, "ann", quarter_days=TWO_MONTHS)
        await seal_months(stage)
    await stage.remove_event(3)
    await stage.fold()


SEALING_SCENES: Sequence[Scene] = (
    hour_is_sealed_before_an_event_is_cleared,
    large_hour_is_sealed_before_its_events_are_cleared,
    event_counts_in_an_hour_of_a_sealed_day,
    event_moves_after_its_hour_was_sealed,
    event_is_cleared_while_rows_are_read,
    hour_is_sealed_anew_while_rows_are_read,
    fold_crashes_before_it_marks,
    hour_is_sealed_before_a_removed_event_is_a_stub,
    event_is_removed_while_its_hour_is_sealed,
    worker_crashes_after_it_emptied_events_that_another_erases,
    two_workers_erase_batches_of_different_hours,
    event_counted_before_its_merge_is_pending_on_an_erased_pass,
    merge_moves_an_event_to_a_pass_that_is_gone,
    pass_ends_while_a_question_looks_for_removals,
)
"""Scenes without rules."""
SEALING_RULE_SCENES: Sequence[Scene] = (hour_is_sealed_before_a_made_event_is_stored,)
"""Scenes with rules that give points for purchases."""
SEALING_MONTH_SCENES: Sequence[Scene] = (
    month_is_sealed_between_the_reads_and_the_write_of_a_fold,
    event_counts_in_a_month_before_the_last_one,
    last_month_loses_its_events,
    *COUNT_SCENES,
)
"""Scenes in which the months of passes are sealed."""


def play_sealing(scene: Scene) -> None:
    """Play a scene of any kind. Raises AssertionError."""
    play(scene, rules=scene in SEALING_RULE_SCENES, months=scene in SEALING_MONTH_SCENES)
