"""Interleavings too rare to wait for, played one step after the other: what a rule of the protocol is there for.

In each, somebody is slow, or dies, at the one place where it matters; then everything is settled and checked as always.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Any

from app.domain.errors import Unavailable
from tests.deaths import Killed
from workers.stages import backfill, due, fold, publish
from workers.worker import Worker

from .schedule import Odds
from .script import QUARTER, START
from .world import World, seeded

Scene = Callable[["Stage"], Awaitable[None]]
EVERYTHING = "0-63"
MOMENT = timedelta(milliseconds=1)


class Stage(World):
    """A world in which nothing happens but what the scene says."""

    def __init__(self) -> None:
        super().__init__(1, Odds())
        self.script.steps.clear()
        self._batches = 0

    async def bought(self, *names: str, quarters: int = 1) -> None:
        """Each of the passes buys something, a while after whatever was before."""
        self._batches += 1
        at = await self.clock.now() + quarters * QUARTER
        await self.script.recorded(str(self._batches), at, list(names or ("ann",)))(self.context())

    async def defined(self, name: str) -> None:
        """A segment is defined."""
        await self.script.defined(name)(self.context())

    async def later(self) -> None:
        """A moment later."""
        await self.script.moved(await self.clock.now() + MOMENT)(self.context())

    async def removed(self, count: int = 1) -> None:
        """Some of the events that were recorded are removed, now."""
        await self.script.removed(await self.clock.now(), count)(self.context())

    async def erased(self, name: str = "ann") -> None:
        """A pass is to be erased."""
        await self.script.erased(await self.clock.now() + MOMENT, name)(self.context())

    def worker(self) -> Worker:
        """A worker that knows nothing yet."""
        return Worker.on(self.process())

    async def folded(self) -> None:
        """Another worker folds whatever is pending."""
        await fold.fold(self.worker(), EVERYTHING)

    async def folded_unmarked(self, step: str = "clear") -> None:
        """Another worker folds whatever is pending, and dies before it marks it."""
        worker = self.worker()
        setattr(worker.fold_queries, step, _killed_at_work)
        try:
            await fold.fold(worker, EVERYTHING)
        except Killed:
            return
        raise AssertionError("there was nothing to fold")

    async def folded_unemptied(self) -> None:
        """Another worker folds whatever is pending, and dies before it empties what was removed."""
        await self.folded_unmarked("replace_by_stubs")

    async def published(self) -> None:
        """Another worker publishes whatever waits."""
        await publish.publish(self.worker(), self.workspace_id)


async def _killed(*_: Any) -> None:
    raise Killed


async def _killed_at_work(work: Sequence[Any], *_: Any) -> None:
    if work:
        raise Killed


def first(
    target: Any,
    step: str,
    *,
    before: Sequence[Callable[[], Awaitable[None]]] = (),
    after: Sequence[Callable[[], Awaitable[None]]] = (),
) -> None:
    """Lets others act before (or after) the first time that a worker takes a step."""
    taken = getattr(target, step)

    async def wrapper(*args: Any) -> Any:
        setattr(target, step, taken)
        for act in before:
            await act()
        answer = await taken(*args)
        for act in after:
            await act()
        return answer

    setattr(target, step, wrapper)


async def a_fold_is_slow_to_read_the_passes(stage: Stage) -> None:
    """What it read as pending was folded and marked since, and a fold later no trace of it is left in the pass."""
    await stage.bought()
    slow = stage.worker()
    first(slow.fold_queries, "passes", before=[stage.folded, stage.bought, stage.folded])
    await fold.fold(slow, EVERYTHING)


async def a_fold_dies_before_it_marks(stage: Stage) -> None:
    """What it counted is still pending."""
    await stage.bought()
    await stage.folded_unmarked()
    await stage.folded()


async def a_fold_dies_before_it_writes(stage: Stage) -> None:
    """Nothing is counted yet."""
    await stage.bought()
    dying = stage.worker()
    dying.fold_queries.save = _killed  # type: ignore[method-assign,assignment]
    try:
        await fold.fold(dying, EVERYTHING)
    except Killed:
        await stage.bought()


async def two_folds_write_at_once(stage: Stage) -> None:
    """Both have read the same pass, and other events."""
    await stage.bought()
    slow = stage.worker()
    first(slow.fold_queries, "save", before=[stage.bought, stage.folded])
    await fold.fold(slow, EVERYTHING)


async def a_pump_is_slow_after_it_saw_nothing_pending(stage: Stage) -> None:
    """Since then an event was counted by a fold that died before it marked it: the pump must leave the trace of that."""
    await stage.bought()
    await stage.folded()
    await stage.defined("regular")
    slow = stage.worker()
    first(slow.fold_queries, "with_pending", after=[stage.bought, stage.folded_unmarked])
    await backfill.backfill(slow, stage.workspace_id)


async def time_has_come_while_an_event_waits(stage: Stage) -> None:
    """The event waits from before the instant at which time alone would move the pass."""
    await stage.defined("recent")
    await stage.bought()
    await stage.folded()
    await stage.bought(quarters=100)
    await stage.script.moved(START + 400 * QUARTER)(stage.context())
    await due.due(stage.worker(), EVERYTHING)


async def more_waits_than_one_fold_takes(stage: Stage) -> None:
    """Between what is taken and now lie events and instants that the fold must not walk past."""
    await stage.defined("recent")
    for _ in range(8):
        await stage.bought(quarters=100)
    await stage.folded()


async def points_end_while_nobody_does_anything(stage: Stage) -> None:
    """They are gone at their instants all the same."""
    for _ in range(4):
        await stage.bought("ann", "bob", "cyd")
    await stage.folded()
    await stage.script.moved(START + 400 * QUARTER)(stage.context())


async def a_fold_is_slow_after_it_looked_at_the_clock(stage: Stage) -> None:
    """What it writes was recorded later than it believes: its lines still come after those before them."""
    await stage.bought()
    slow = stage.worker()
    first(slow.fold_queries, "pending", before=[lambda: stage.bought(quarters=9), stage.folded, stage.bought])
    await fold.fold(slow, EVERYTHING)


async def a_fold_is_slow_to_walk(stage: Stage) -> None:
    """What was recorded since it read the events lies before the instant at which it walks."""
    await stage.defined("recent")
    await stage.bought()
    slow = stage.worker()
    first(
        slow.fold_queries,
        "still_pending",
        before=[lambda: stage.bought(quarters=100), lambda: stage.bought(quarters=40)],
    )
    await fold.fold(slow, EVERYTHING)


async def two_publish_at_once(stage: Stage) -> None:
    """Both are about to write at the same positions, one of them more lines than the other."""
    await stage.bought("ann")
    await stage.bought("ann")
    await stage.folded()
    slow = stage.worker()

    async def another() -> None:
        ann = next(doc for doc in stage.db["passes"].docs.values() if doc["external_id"] == "ann")
        announced = ann.pop("pub", None)
        await stage.bought("bob")
        await stage.folded()
        await stage.published()
        if announced is not None:
            ann["pub"] = announced

    workspace = stage.process().workspace(stage.workspace_id)
    first(workspace.activities, "append", before=[another])
    object.__setattr__(slow.resources, "workspace", lambda _: workspace)
    await publish.publish(slow, stage.workspace_id)


async def a_fold_that_trusts_its_own_mark_is_slow_to_read_the_passes(stage: Stage) -> None:
    """What it read as pending was folded and marked since, by others, on a pass that it had left marked itself."""
    await stage.bought()
    slow = stage.worker()
    await fold.fold(slow, EVERYTHING)
    await stage.bought()
    first(slow.fold_queries, "passes", before=[stage.folded, stage.bought, stage.folded])
    await fold.fold(slow, EVERYTHING)


async def a_fold_dies_before_it_empties_what_was_removed(stage: Stage) -> None:
    """The pass is built without it; whoever comes next still has to empty it."""
    await stage.bought("ann", "bob")
    await stage.folded()
    await stage.later()
    await stage.removed(2)
    await stage.folded_unemptied()
    await stage.bought()


async def a_pump_builds_anew_before_what_was_removed_is_emptied(stage: Stage) -> None:
    """What the last fold removed is still there to be read, and must not count."""
    for _ in range(4):
        await stage.bought()
    await stage.folded()
    await stage.defined("regular")
    await stage.later()
    slow = stage.worker()
    first(
        slow.fold_queries, "with_pending", after=[stage.removed, stage.folded_unemptied, lambda: stage.defined("busy")]
    )
    await backfill.backfill(slow, stage.workspace_id)


async def what_waits_is_removed(stage: Stage) -> None:
    """It counts until it is removed, both in one walk."""
    await stage.defined("new")
    await stage.bought(quarters=4)
    await stage.bought(quarters=4)
    await stage.later()
    await stage.removed()
    await stage.folded()


async def an_erased_pass_waits_for_publish(stage: Stage) -> None:
    """Its last lines are not in the log yet when somebody comes to empty it; and somebody still records on it."""
    await stage.defined("recent")
    await stage.bought("ann", "bob")
    await stage.folded()
    slow = stage.worker()
    first(slow.fold_queries, "pending", after=[stage.bought])
    await stage.erased()
    await fold.fold(slow, EVERYTHING)
    await stage.erase(stage.worker())
    try:
        await stage.bought()
    except Unavailable:
        return
    raise AssertionError("the name was free too early")


async def two_empty_an_erased_pass(stage: Stage) -> None:
    """One of them is slow, while the other is done and the name is somebody else's."""
    await stage.bought()
    await stage.erased()
    await stage.folded()
    await stage.published()
    slow = stage.worker()
    first(slow.erase_queries, "finished", before=[lambda: stage.erase(stage.worker()), stage.bought, stage.folded])
    await stage.erase(slow)


async def a_publisher_dies_before_it_appends(stage: Stage) -> None:
    """Its lines wait for the next one."""
    await stage.bought()
    await stage.folded()
    workspace = stage.process().workspace(stage.workspace_id)
    workspace.activities.append = _killed  # type: ignore[method-assign,assignment]
    dying = stage.worker()
    object.__setattr__(dying.resources, "workspace", lambda _: workspace)
    try:
        await publish.publish(dying, stage.workspace_id)
    except Killed:
        return


SCENES: Sequence[Scene] = (
    a_fold_is_slow_to_read_the_passes,
    a_fold_dies_before_it_marks,
    a_fold_dies_before_it_writes,
    two_folds_write_at_once,
    a_pump_is_slow_after_it_saw_nothing_pending,
    time_has_come_while_an_event_waits,
    more_waits_than_one_fold_takes,
    points_end_while_nobody_does_anything,
    a_fold_is_slow_after_it_looked_at_the_clock,
    a_fold_is_slow_to_walk,
    two_publish_at_once,
    a_publisher_dies_before_it_appends,
    a_fold_that_trusts_its_own_mark_is_slow_to_read_the_passes,
    a_fold_dies_before_it_empties_what_was_removed,
    a_pump_builds_anew_before_what_was_removed_is_emptied,
    what_waits_is_removed,
    an_erased_pass_waits_for_publish,
    two_empty_an_erased_pass,
)


def play(scene: Scene) -> int:
    """How many flips there were in the scene, once everything was settled. Raises AssertionError."""

    async def whole() -> int:
        stage = Stage()
        await stage.found()
        await scene(stage)
        await stage.settle()
        return await stage.flips()

    with seeded(1) as runner:
        return runner.run(whole())
