"""Rare interleavings of the counting of active passes with the writes that change their number, played step by step."""

from __future__ import annotations

from collections.abc import Sequence

from tests.crashes import Crash
from workers.stages.count_active import count_active, mark_left
from workers.stages.seal_passes import seal_passes

from .scenes import Scene, Stage, crash, interleave

A_YEAR = 4 * 366
"""Quarters of a day after which another month and another year have begun."""


async def buy_and_seal(stage: Stage, *names: str) -> None:
    """Let passes have an event each in a sealed month whose active passes are counted."""
    await buy_and_fold(stage, *names)
    await seal(stage)


async def buy_and_fold(stage: Stage, *names: str, quarter_days: int = 1) -> None:
    """Let passes have an event each in a month that is not sealed."""
    await stage.buy(*names, quarter_days=quarter_days)
    await stage.fold()


async def seal(stage: Stage) -> None:
    """Let another worker seal the months of passes, and count."""
    await seal_passes(stage.new_worker(), stage.workspace_id)


async def count(stage: Stage) -> None:
    """Let another worker count what is marked, and do nothing else."""
    await count_active(stage.new_worker(), stage.workspace_id, lambda: False)


async def mark(stage: Stage) -> None:
    """Let another worker mark the numbers of the periods that passes name."""
    await mark_left(stage.new_worker(), stage.workspace_id)


async def read(stage: Stage) -> None:
    """Read and check stored numbers, also those of other periods."""
    for _ in range(12):
        await stage.count_reader.read(stage.new_context())


async def seal_and_crash_at_mark(stage: Stage) -> None:
    """Let another worker seal months, and crash before it marks the numbers that this changes."""
    worker = stage.new_worker()

    async def let_it_crash() -> None:
        worker.active_count_queries.mark = crash  # type: ignore[method-assign,assignment]

    interleave(worker.pass_period_queries, "commit", after=[let_it_crash])
    try:
        await seal_passes(worker, stage.workspace_id)
    except Crash:
        return
    raise AssertionError("no number changed")


async def pass_is_sealed_while_its_month_is_counted(stage: Stage) -> None:
    """The slow worker has counted one pass. Before it stores that, another one seals and counts a second pass."""
    await buy_and_fold(stage, "ann")
    slow = stage.new_worker()

    async def seal_another() -> None:
        await buy_and_seal(stage, "bob")

    interleave(slow.active_count_queries, "count", after=[seal_another])
    await seal_passes(slow, stage.workspace_id)


async def month_is_counted_before_a_seal_writes_its_pass(stage: Stage) -> None:
    """The seal has changed nothing yet, so a number that is counted now lacks the pass."""
    await buy_and_seal(stage, "ann")
    await buy_and_fold(stage, "bob")
    slow = stage.new_worker()
    interleave(slow.pass_period_queries, "commit", before=[lambda: count(stage)])
    await seal_passes(slow, stage.workspace_id)


async def worker_crashes_before_it_marks_a_number(stage: Stage) -> None:
    """The pass still names its periods, so the next worker marks them."""
    await buy_and_seal(stage, "ann")
    await buy_and_fold(stage, "bob")
    await seal_and_crash_at_mark(stage)
    await read(stage)


async def numbers_are_marked_while_a_reader_reads_them(stage: Stage) -> None:
    """The reader asks for the number, and another worker marks it and takes the periods from the pass."""
    await buy_and_seal(stage, "ann")
    await buy_and_fold(stage, "bob")
    await seal_and_crash_at_mark(stage)
    for _ in range(6):
        ctx = stage.new_context()
        interleave(ctx.workspace.active_counts, "_by_ids", after=[lambda: mark(stage)])
        await stage.count_reader.read(ctx)


async def pass_is_sealed_anew_before_its_periods_are_taken(stage: Stage) -> None:
    """The slow worker has marked the second month. The pass names the first one by then, which nobody has marked."""
    await buy_and_seal(stage, "ann")
    await buy_and_fold(stage, "ann", quarter_days=A_YEAR)
    slow = stage.new_worker()

    async def seal_the_other_month() -> None:
        await stage.remove_events(2)
        await stage.fold()
        await seal_and_crash_at_mark(stage)

    interleave(slow.active_count_queries, "take_recounts", before=[seal_the_other_month])
    await seal_passes(slow, stage.workspace_id)


async def pass_is_merged_after_its_month_was_counted(stage: Stage) -> None:
    """The month has one customer less, and no event of it has changed."""
    await buy_and_seal(stage, "ann", "bob")
    await stage.merge()
    await stage.fold()
    await read(stage)


async def pass_is_erased_after_its_month_was_counted(stage: Stage) -> None:
    """The erase stage ends before any worker looks at the periods that the pass names."""
    await buy_and_seal(stage, "ann", "bob")
    await stage.erase_pass()
    await stage.fold()
    await stage.publish()
    await stage.sweep_erasures(stage.new_worker())
    await read(stage)


COUNT_SCENES: Sequence[Scene] = (
    pass_is_sealed_while_its_month_is_counted,
    month_is_counted_before_a_seal_writes_its_pass,
    worker_crashes_before_it_marks_a_number,
    numbers_are_marked_while_a_reader_reads_them,
    pass_is_sealed_anew_before_its_periods_are_taken,
    pass_is_merged_after_its_month_was_counted,
    pass_is_erased_after_its_month_was_counted,
)
"""Scenes of stored numbers of active passes."""
