"""Rare interleavings of questions about single customers with merges and erasures, played step by step."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from app.commands.context import Context
from tests.crashes import Crash
from workers.stages import erase, merge

from .scenes import ONE_MS, Scene, Stage, crash, erase_survivor_before_the_merge, fold_and_publish, interleave

Act = Callable[[], Awaitable[None]]


async def buy_thrice(stage: Stage, *names: str) -> None:
    """Let passes have three counted and published purchases each: more than one batch of a merge or an erasure."""
    for _ in range(3):
        await stage.buy(*names)
    await fold_and_publish(stage)


def id_of(stage: Stage, name: str) -> str:
    """Return the id of a pass."""
    return next(str(key) for key, doc in stage.db["passes"].docs.items() if doc["external_id"] == name)


async def merge_in_part(stage: Stage) -> None:
    """Merge bob into ann. The worker crashes after the first batch of events."""
    await stage.merge()
    await fold_and_publish(stage)
    worker = stage.new_worker()
    interleave(worker.merge_queries, "move", after=[crash])
    await let_crash(lambda: merge.merge(worker, id_of(stage, "bob")))


async def erase_in_part(stage: Stage) -> None:
    """Erase ann. The worker crashes after the first batch of events."""
    ann = id_of(stage, "ann")
    await stage.erase_pass()
    await fold_and_publish(stage)
    worker = stage.new_worker()
    interleave(worker.erase_queries, "replace_events_by_stubs", after=[crash])
    await let_crash(lambda: erase.erase(worker, ann))


async def let_crash(act: Act) -> None:
    """Let a process act until it crashes."""
    try:
        await act()
    except Crash:
        return
    raise AssertionError("the process did not come to the step before which it crashes")


async def ask(
    stage: Stage,
    *,
    ctx: Context | None = None,
    after_look: Sequence[Act] = (),
    before_second_look: Sequence[Act] = (),
) -> None:
    """Ask for the customers and check them. Other processes act after the first look, or before the second one."""
    ctx = ctx or stage.new_context()
    interleave(ctx.workspace.removals, "pending", after=after_look)
    interleave(ctx.workspace.removals, "are_same_customers", before=before_second_look)
    await stage.customer_reader.read(ctx)


async def merge_moves_events_after_the_first_look(stage: Stage) -> None:
    """Some events of the customer are on the survivor, and some on the merged pass."""
    await buy_thrice(stage, "ann", "bob")
    await ask(stage, after_look=[lambda: merge_in_part(stage)])


async def merge_is_folded_while_a_question_looks_for_it(stage: Stage) -> None:
    """The tombstone is cleared when it is looked for. The mark of the merged pass is set."""
    await buy_thrice(stage, "ann", "bob")
    await stage.merge()
    ctx = stage.new_context()
    interleave(ctx.workspace.removals, "_oldest", after=[stage.fold])
    await stage.customer_reader.read(ctx)


async def merge_is_decided_and_has_no_tombstone(stage: Stage) -> None:
    """The process that decided the merge has crashed. Nothing else marks the merge yet."""
    await buy_thrice(stage, "ann", "bob")
    ctx = stage.new_context()
    ctx.workspace.removals._store_tombstone = crash  # type: ignore[method-assign,assignment]
    at = await stage.clock.now() + ONE_MS
    await let_crash(lambda: stage.script.merge_step(at, "ann", "bob")(ctx))
    await ask(stage)


async def erasure_has_emptied_some_events(stage: Stage) -> None:
    """The tombstone is cleared, and the epoch has not changed yet. The pass is marked."""
    await buy_thrice(stage, "ann", "bob")
    await ask(stage, after_look=[lambda: erase_in_part(stage)])


async def erasure_ends_before_the_second_look(stage: Stage) -> None:
    """The mark of the pass is gone with it. The epoch has changed."""
    await buy_thrice(stage, "ann", "bob")
    await ask(
        stage,
        after_look=[lambda: erase_in_part(stage)],
        before_second_look=[lambda: stage.sweep_erasures(stage.new_worker())],
    )


async def erasure_ends_after_the_epoch_is_read_again(stage: Stage) -> None:
    """The second look has found the mark of the pass before it reads the epoch."""
    await buy_thrice(stage, "ann", "bob")
    ctx = stage.new_context()

    async def end_after_next_marks() -> None:
        interleave(ctx.workspace.removals, "mark_customers", after=[lambda: stage.sweep_erasures(stage.new_worker())])

    await ask(stage, ctx=ctx, after_look=[lambda: erase_in_part(stage)], before_second_look=[end_after_next_marks])


async def merge_moves_events_to_a_pass_that_is_merged(stage: Stage) -> None:
    """The merge of bob into ann has ended. Then the events of cyd come to bob, where they wait for the fold."""
    await buy_thrice(stage, "ann", "bob", "cyd")
    await stage.merge("bob", "cyd")
    await fold_and_publish(stage)
    await stage.merge("ann", "bob")
    await fold_and_publish(stage)
    await merge.merge(stage.new_worker(), id_of(stage, "bob"))
    await fold_and_publish(stage)
    await merge.merge(stage.new_worker(), id_of(stage, "cyd"))
    await ask(stage)


async def merge_moves_events_to_a_pass_that_is_erased(stage: Stage) -> None:
    """The erasure of ann has ended before the merge is folded. The events of bob wait on ann, and bob is erased, too."""
    await buy_thrice(stage, "ann", "bob")
    await stage.merge()
    await erase_survivor_before_the_merge(stage)
    await merge.merge(stage.new_worker(), id_of(stage, "bob"))
    await stage.sweep_erasures(stage.new_worker())
    await ask(stage)


CUSTOMER_SCENES: Sequence[Scene] = (
    merge_moves_events_after_the_first_look,
    merge_is_folded_while_a_question_looks_for_it,
    merge_is_decided_and_has_no_tombstone,
    erasure_has_emptied_some_events,
    erasure_ends_before_the_second_look,
    erasure_ends_after_the_epoch_is_read_again,
    merge_moves_events_to_a_pass_that_is_merged,
    merge_moves_events_to_a_pass_that_is_erased,
)
