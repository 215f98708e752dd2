"""Interleavings that are too rare for chance, played step by step: each shows what one rule of the protocol prevents.

In each scene a process stalls or crashes at the one step where it matters. Then a worker finishes everything, and the
same checks follow as after a random run.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Any

from app.domain.errors import Unavailable
from app.domain.events.events import EventInput
from app.domain.ids import event_id
from tests.crashes import Crash
from workers.stages import backfill, due, fold, merge, publish

from .memory import Doc
from .schedule import Odds
from .script import QUARTER_DAY, START
from .world import World, seeded_runner

Scene = Callable[["Stage"], Awaitable[None]]
ALL_SLOTS = "0-63"
ONE_MS = timedelta(milliseconds=1)


class Stage(World):
    """A world in which only the steps of a scene happen."""

    def __init__(self, *, guarded: bool = False, rules: bool = False, months: bool = False) -> None:
        super().__init__(1, Odds(), guarded=guarded, rules=rules, sealing=True, months=months, customers=True)
        self.db.history.is_kept = True
        self.script.steps.clear()
        self.batches = 0

    async def buy(self, *names: str, quarter_days: int = 1) -> None:
        """Record one purchase for each of the passes, so many quarters of a day after the last step."""
        self.batches += 1
        at = await self.clock.now() + quarter_days * QUARTER_DAY
        await self.script.record_step(str(self.batches), at, list(names or ("ann",)))(self.new_context())

    async def correct(self, *names: str) -> None:
        """Correct the points that these passes got by the last purchases, at the same instant."""
        await self.script.correct_step(str(self.batches), list(names or ("ann",)))(self.new_context())

    async def deduct(self, *names: str, points: int = 40) -> None:
        """Record a guarded deduction for each of the passes now. No purchase gives 40 points."""
        self.batches += 1
        inputs = [
            EventInput(
                "point_sub", pass_external_id=name, points=-points, guard={"minBalance": 0},
                external_id=f"{self.batches} {name}",
            )
            for name in names or ("ann",)
        ]  # fmt: skip
        step = self.script.deduct_step(str(self.batches), await self.clock.now(), inputs)
        await step(self.new_context())

    async def deduct_before(self, batch: int, points: int) -> None:
        """Record a guarded deduction for ann now, with an id that sorts before that of her purchase in the batch."""
        while self.sent_id(self.batches + 1) > self.sent_id(batch):
            self.batches += 1
        await self.deduct(points=points)

    def sent_id(self, batch: int) -> str:
        """Return the id of the event that a batch records for ann."""
        return event_id(self.workspace_id, "api", f"{batch} ann")

    async def define_rules(self) -> None:
        """Create the rules that give points for purchases."""
        await self.script.rules_step()(self.new_context())

    async def refund(self, *names: str) -> None:
        """Refund a part of the last purchases of these passes, half an hour from now."""
        at = await self.clock.now() + timedelta(minutes=30)
        await self.script.refund_step(str(self.batches), at, list(names or ("ann",)))(self.new_context())

    async def refund_quarter(self, part: str) -> None:
        """Refund a quarter of the last purchase of ann, half an hour from now. The part gives the refund its id."""
        at = await self.clock.now() + timedelta(minutes=30)
        step = self.script.refund_step(str(self.batches), at, ["ann"], part, divisors=(4,))
        await step(self.new_context())

    async def define_deducting_segment(self) -> None:
        """Create a segment whose measure is built from the deductions in the history."""
        await self.script.define_deducting_step()(self.new_context())

    async def merge(self, survivor: str = "ann", other: str = "bob") -> None:
        """Merge a pass into another one, one millisecond from now."""
        await self.script.merge_step(await self.clock.now() + ONE_MS, survivor, other)(self.new_context())

    def hold_back(self, prefix: str) -> list[Doc]:
        """Take the pending events whose ids begin so out of the store, as if no fold had reached them yet."""
        events = self.db["events"].docs
        return [events.pop(key) for key in list(events) if key.startswith(prefix)]

    def give_back(self, docs: Sequence[Doc]) -> None:
        """Put events into the store that were held back."""
        self.db["events"].docs.update({doc["_id"]: doc for doc in docs})

    async def elect(self, state: int) -> None:
        """Elect a primary whose next read shows an earlier state."""
        self.db.elect(state)

    async def define_segment(self, name: str) -> None:
        """Create a segment."""
        await self.script.define_step(name)(self.new_context())

    async def advance_clock(self) -> None:
        """Set the clock one millisecond ahead."""
        await self.script.clock_step(await self.clock.now() + ONE_MS)(self.new_context())

    async def remove_events(self, count: int = 1) -> None:
        """Remove some of the recorded events now."""
        await self.script.remove_step(await self.clock.now(), count)(self.new_context())

    async def remove_event(self, batch: int) -> None:
        """Remove the event that a batch recorded for ann now."""
        step = self.script.remove_step(await self.clock.now(), 1, among=[self.sent_id(batch)])
        await step(self.new_context())

    async def erase_pass(self, name: str = "ann") -> None:
        """Erase a pass one millisecond from now."""
        await self.script.erase_step(await self.clock.now() + ONE_MS, name)(self.new_context())

    async def fold(self) -> None:
        """Let another worker fold the pending events."""
        await fold.fold(self.new_worker(), ALL_SLOTS)

    async def fold_and_crash(self, step: str = "clear") -> None:
        """Let another worker fold the pending events and crash before the step, by default before it clears them."""
        worker = self.new_worker()
        setattr(worker.fold_queries, step, _crash_at_work)
        try:
            await fold.fold(worker, ALL_SLOTS)
        except Crash:
            return
        raise AssertionError("there was nothing to fold")

    async def fold_and_crash_before_stubs(self) -> None:
        """Let another worker fold the pending events and crash before it replaces removed events by stubs."""
        await self.fold_and_crash("replace_by_stubs")

    async def publish(self) -> None:
        """Let another worker publish the outboxes."""
        await publish.publish(self.new_worker(), self.workspace_id)


async def fold_and_publish(stage: Stage) -> None:
    """Let other workers fold the pending events and publish what follows."""
    await stage.fold()
    await stage.publish()


async def erase_survivor_before_the_merge(stage: Stage) -> None:
    """Erase ann. The fold sees a merge into ann, which was requested before, only when the erasure is finished."""
    merged = stage.hold_back("mg:")
    await stage.erase_pass()
    await fold_and_publish(stage)
    await stage.sweep_erasures(stage.new_worker())
    stage.give_back(merged)
    await fold_and_publish(stage)


async def crash(*_: Any) -> None:
    """Crash instead of doing a step."""
    raise Crash


async def _crash_at_work(work: Sequence[Any], *_: Any, **_options: Any) -> None:
    if work:
        raise Crash


def interleave(
    target: Any,
    step: str,
    *,
    before: Sequence[Callable[[], Awaitable[None]]] = (),
    after: Sequence[Callable[[], Awaitable[None]]] = (),
) -> None:
    """Let other processes act before or after the first call of a worker's step."""
    original = getattr(target, step)

    async def wrapper(*args: Any, **options: Any) -> Any:
        setattr(target, step, original)
        for act in before:
            await act()
        answer = await original(*args, **options)
        for act in after:
            await act()
        return answer

    setattr(target, step, wrapper)


async def fold_reads_passes_late(stage: Stage) -> None:
    """Another fold counts and clears the events that a slow fold read as pending.

    One more fold follows, so `last_folded_ids` no longer names the events when the slow fold reads the pass.
    """
    await stage.buy()
    slow = stage.new_worker()
    interleave(slow.fold_queries, "passes", before=[stage.fold, stage.buy, stage.fold])
    await fold.fold(slow, ALL_SLOTS)


async def fold_crashes_before_it_clears(stage: Stage) -> None:
    """The events are counted and still pending."""
    await stage.buy()
    await stage.fold_and_crash()
    await stage.fold()


async def fold_crashes_before_it_writes(stage: Stage) -> None:
    """The events are not counted yet."""
    await stage.buy()
    crashing = stage.new_worker()
    crashing.fold_queries.save = crash  # type: ignore[method-assign,assignment]
    try:
        await fold.fold(crashing, ALL_SLOTS)
    except Crash:
        await stage.buy()


async def two_folds_write_at_once(stage: Stage) -> None:
    """Both folds read the same version of the pass and different events."""
    await stage.buy()
    slow = stage.new_worker()
    interleave(slow.fold_queries, "save", before=[stage.buy, stage.fold])
    await fold.fold(slow, ALL_SLOTS)


async def backfill_is_slow_after_it_found_nothing_pending(stage: Stage) -> None:
    """A fold counts an event meanwhile and crashes before it clears the event. Then a segment is defined.

    The backfill must keep the `last_folded_ids` that this fold wrote.
    """
    await stage.buy()
    await stage.fold()
    await stage.define_segment("regular")
    slow = stage.new_worker()
    interleave(
        slow.fold_queries,
        "with_pending",
        after=[stage.buy, stage.fold_and_crash, lambda: stage.define_segment("busy")],
    )
    await backfill.backfill(slow, stage.workspace_id)


async def pass_is_due_while_an_event_is_pending(stage: Stage) -> None:
    """The pending event occurred before the instant at which time alone would change a membership."""
    await stage.define_segment("recent")
    await stage.buy()
    await stage.fold()
    await stage.buy(quarter_days=100)
    await stage.script.clock_step(START + 400 * QUARTER_DAY)(stage.new_context())
    await due.due(stage.new_worker(), ALL_SLOTS)


async def more_events_are_pending_than_one_fold_counts(stage: Stage) -> None:
    """The fold must not walk past the events and instants between the last event it counts and now."""
    await stage.define_segment("recent")
    for _ in range(8):
        await stage.buy(quarter_days=100)
    await stage.fold()


async def points_expire_while_no_event_comes(stage: Stage) -> None:
    """The points expire at their instants."""
    for _ in range(4):
        await stage.buy("ann", "bob", "cyd")
    await stage.fold()
    await stage.script.clock_step(START + 400 * QUARTER_DAY)(stage.new_context())


async def fold_is_slow_after_it_read_the_clock(stage: Stage) -> None:
    """The fold writes later than the time of recording that it read.

    Its activities still follow those that are in the log by then.
    """
    await stage.buy()
    slow = stage.new_worker()
    interleave(slow.fold_queries, "pending", before=[lambda: stage.buy(quarter_days=9), stage.fold, stage.buy])
    await fold.fold(slow, ALL_SLOTS)


async def fold_is_slow_to_walk(stage: Stage) -> None:
    """Events recorded since the fold read its events occur before the instant of its walk."""
    await stage.define_segment("recent")
    await stage.buy()
    slow = stage.new_worker()
    interleave(
        slow.fold_queries,
        "still_pending",
        before=[lambda: stage.buy(quarter_days=100), lambda: stage.buy(quarter_days=40)],
    )
    await fold.fold(slow, ALL_SLOTS)


async def two_publishers_append_at_once(stage: Stage) -> None:
    """Both append at the same positions, and one of them has more activities."""
    await stage.buy("ann")
    await stage.buy("ann")
    await stage.fold()
    slow = stage.new_worker()

    async def publish_other_pass() -> None:
        ann = next(doc for doc in stage.db["passes"].docs.values() if doc["external_id"] == "ann")
        announced = ann.pop("pub", None)
        await stage.buy("bob")
        await stage.fold()
        await stage.publish()
        if announced is not None:
            ann["pub"] = announced

    workspace = stage.open_process().workspace(stage.workspace_id)
    interleave(workspace.activities, "append", before=[publish_other_pass])
    object.__setattr__(slow.resources, "workspace", lambda _: workspace)
    await publish.publish(slow, stage.workspace_id)


async def fold_reads_old_events_after_its_own_writes(stage: Stage) -> None:
    """An election follows two folds of one worker. The next read of the worker is older than both.

    It shows the first event as pending. The pass is read as the worker wrote it last, with the second event in
    `last_folded_ids`.
    """
    worker = stage.new_worker()
    await stage.buy()
    before_folds = stage.db.history.newest
    for _ in range(2):
        await fold.fold(worker, ALL_SLOTS)
        await stage.buy()
    with stage.db.lagging(before_folds):
        await fold.fold(worker, ALL_SLOTS)


async def fold_reads_old_events_and_an_old_pass_after_its_own_writes(stage: Stage) -> None:
    """As before, and the pass is read as it was before the folds, too."""
    worker = stage.new_worker()
    await stage.buy()
    await fold.fold(worker, ALL_SLOTS)
    await stage.buy()
    before_folds = stage.db.history.newest
    for _ in range(2):
        await fold.fold(worker, ALL_SLOTS)
        await stage.buy()
    states = iter([before_folds])
    with stage.db.lagging(before_folds, lambda _, newest: next(states, newest)):
        await fold.fold(worker, ALL_SLOTS)


async def election_comes_between_the_pass_and_the_pending_events(stage: Stage) -> None:
    """The new primary shows an event as pending that two folds before have counted and cleared."""
    await stage.buy()
    before_folds = stage.db.history.newest
    slow = stage.new_worker()
    interleave(slow.fold_queries, "passes", before=[stage.fold, stage.buy, stage.fold])
    interleave(slow.fold_queries, "still_pending", before=[lambda: stage.elect(before_folds)])
    with contextlib.suppress(Unavailable):
        await fold.fold(slow, ALL_SLOTS)


async def election_comes_between_the_pass_and_its_history(stage: Stage) -> None:
    """A removal rebuilds the pass. The new primary shows an event as pending that an earlier fold has counted."""
    await stage.buy()
    before_fold = stage.db.history.newest
    await stage.fold()
    await stage.buy()
    await stage.fold()
    await stage.advance_clock()
    await stage.remove_events()
    slow = stage.new_worker()
    interleave(slow.fold_queries, "histories", before=[lambda: stage.elect(before_fold)])
    with contextlib.suppress(Unavailable):
        await fold.fold(slow, ALL_SLOTS)


async def election_comes_before_the_events_of_a_merged_pass_are_read(stage: Stage) -> None:
    """The new primary shows events as pending that the merged pass has counted and published."""
    await stage.buy("ann", "bob")
    before_fold = stage.db.history.newest
    await stage.fold()
    await stage.publish()
    await stage.merge()
    await stage.fold()
    await stage.publish()
    slow = stage.new_worker()
    interleave(slow.merge_queries, "move", before=[lambda: stage.elect(before_fold)])
    for pass_id in await slow.merge_queries.waiting():
        with contextlib.suppress(Unavailable):
            await merge.merge(slow, pass_id)


async def fold_reads_passes_late_after_its_own_writes(stage: Stage) -> None:
    """The slow fold cleared its own events, then others count and clear the events that it read as pending."""
    await stage.buy()
    slow = stage.new_worker()
    await fold.fold(slow, ALL_SLOTS)
    await stage.buy()
    interleave(slow.fold_queries, "passes", before=[stage.fold, stage.buy, stage.fold])
    await fold.fold(slow, ALL_SLOTS)


async def fold_crashes_before_it_writes_stubs(stage: Stage) -> None:
    """The pass is rebuilt without the removed events; the next fold must still replace them by stubs."""
    await stage.buy("ann", "bob")
    await stage.fold()
    await stage.advance_clock()
    await stage.remove_events(2)
    await stage.fold_and_crash_before_stubs()
    await stage.buy()


async def backfill_rebuilds_before_stubs_are_written(stage: Stage) -> None:
    """The backfill can still read the events that the last fold removed, and must not count them."""
    for _ in range(4):
        await stage.buy()
    await stage.fold()
    await stage.define_segment("regular")
    await stage.advance_clock()
    slow = stage.new_worker()
    interleave(
        slow.fold_queries,
        "with_pending",
        after=[stage.remove_events, stage.fold_and_crash_before_stubs, lambda: stage.define_segment("busy")],
    )
    await backfill.backfill(slow, stage.workspace_id)


async def pending_event_is_removed(stage: Stage) -> None:
    """The event counts until it is removed, and one walk visits both instants."""
    await stage.define_segment("new")
    await stage.buy(quarter_days=4)
    await stage.buy(quarter_days=4)
    await stage.advance_clock()
    await stage.remove_events()
    await stage.fold()


async def erased_pass_has_unpublished_activities(stage: Stage) -> None:
    """Erase runs before the last activities of the pass are in the log, and an event is recorded on the erased pass."""
    await stage.define_segment("recent")
    await stage.buy("ann", "bob")
    await stage.fold()
    slow = stage.new_worker()
    interleave(slow.fold_queries, "pending", after=[stage.buy])
    await stage.erase_pass()
    await fold.fold(slow, ALL_SLOTS)
    await stage.sweep_erasures(stage.new_worker())
    try:
        await stage.buy()
    except Unavailable:
        return
    raise AssertionError("the external id was free too early")


async def two_workers_erase_a_pass(stage: Stage) -> None:
    """One worker is slow. The other finishes the erasure, and the external id belongs to a new pass by then."""
    await stage.buy()
    await stage.erase_pass()
    await stage.fold()
    await stage.publish()
    slow = stage.new_worker()
    interleave(
        slow.erase_queries,
        "finish",
        before=[lambda: stage.sweep_erasures(stage.new_worker()), stage.buy, stage.fold],
    )
    await stage.sweep_erasures(slow)


async def publisher_crashes_before_it_appends(stage: Stage) -> None:
    """The next publisher appends the activities."""
    await stage.buy()
    await stage.fold()
    workspace = stage.open_process().workspace(stage.workspace_id)
    workspace.activities.append = crash  # type: ignore[method-assign,assignment]
    crashing = stage.new_worker()
    object.__setattr__(crashing.resources, "workspace", lambda _: workspace)
    try:
        await publish.publish(crashing, stage.workspace_id)
    except Crash:
        return


async def points_are_corrected_at_the_instant_of_their_grant(stage: Stage) -> None:
    """Ids are hashes, so about half of the corrections sort before what they correct.

    Some corrections are folded together with their original, others after it.
    """
    for number in range(12):
        await stage.buy("ann", "bob", "cyd")
        if number % 2:
            await stage.fold()
        await stage.correct("ann", "bob", "cyd")
    await stage.fold()
    await stage.script.clock_step(START + 400 * QUARTER_DAY)(stage.new_context())


async def backfill_writes_between_a_decision_and_its_clearing(stage: Stage) -> None:
    """A fold declines a deduction and crashes before it clears the event. A backfill that saw nothing pending goes on.

    It must keep the decision, and a new segment must not count the event.
    """
    for _ in range(3):
        await stage.buy()
    await stage.deduct(points=5)
    await stage.fold()
    await stage.define_segment("regular")
    await stage.advance_clock()
    slow = stage.new_worker()
    acts: list[Callable[[], Awaitable[None]]] = [
        stage.deduct, lambda: stage.deduct(points=90), stage.fold_and_crash, stage.define_deducting_segment,
    ]  # fmt: skip
    interleave(slow.fold_queries, "with_pending", after=acts)
    await backfill.backfill(slow, stage.workspace_id)


async def fold_crashes_before_it_clears_what_it_declined(stage: Stage) -> None:
    """The next fold clears the event with the decision that the pass stores."""
    await stage.buy()
    await stage.deduct()
    await stage.fold_and_crash()
    await stage.fold()


async def primary_fails_while_it_clears_what_was_decided(stage: Stage) -> None:
    """It runs the first operation of the bulk write. The next fold clears the others with the decisions of the pass."""
    await stage.buy()
    await stage.deduct()
    await stage.deduct(points=90)
    slow = stage.new_worker()

    async def fail() -> None:
        stage.db["events"].fail_in_next_bulk_write(after=1)

    interleave(slow.fold_queries, "clear", before=[fail])
    with contextlib.suppress(Unavailable):
        await fold.fold(slow, ALL_SLOTS)


async def merged_pass_declined_what_the_survivor_can_afford(stage: Stage) -> None:
    """The event stays declined when it has moved, also if the survivor was merged meanwhile."""
    await stage.buy("ann", "bob", "cyd")
    await stage.deduct("bob")
    await stage.fold()
    await stage.publish()
    for _ in range(4):
        await stage.buy("cyd", "ann")
    await stage.merge("ann", "bob")
    await stage.fold()
    await stage.publish()
    await stage.merge("cyd", "ann")
    await stage.fold()


async def purchase_is_read_after_guarded_events_of_its_instant(stage: Stage) -> None:
    """A full batch ends between the guarded events and the purchase, which gives the points for the first of them."""
    await stage.buy()
    await stage.buy()
    points = stage.script.points
    while not points[stage.sent_id(stage.batches)].points:
        await stage.buy()
    balance, bought = sum(each.points for each in points.values()), stage.batches
    for _ in range(5):
        await stage.deduct_before(bought, points=int(balance))
    await stage.fold()


async def purchase_is_removed_after_its_points_were_deducted(stage: Stage) -> None:
    """The rebuild takes the deduction as it was decided, and the pass has a debt."""
    for _ in range(2):
        await stage.buy()
    await stage.deduct(points=5)
    await stage.fold()
    await stage.remove_events(2)
    await stage.fold()


async def event_is_removed_before_a_merge_moves_it(stage: Stage) -> None:
    """The survivor counts the tombstone first. The event was published by the merged pass and never counts again."""
    await stage.buy("ann", "bob")
    await stage.fold()
    await stage.publish()
    await stage.merge()
    await stage.fold()
    await stage.remove_events(2)
    await stage.fold()


async def refund_comes_before_the_events_of_the_merged_pass(stage: Stage) -> None:
    """The points that the refund takes back wait until the purchase and the firing are on the survivor, too."""
    stage.has_late_events = True  # those that the merge moves
    await stage.define_rules()
    for _ in range(2):
        await stage.buy("ann", "bob")
        await stage.fold()
        await stage.publish()
    await stage.merge()
    await stage.refund("bob")
    await stage.fold()


async def refunds_are_counted_after_a_fold_has_read_their_family(stage: Stage) -> None:
    """The fold is slow before it reads the pass. Another one counts what one walk takes, and leaves one refund."""
    await stage.define_rules()
    await stage.buy()
    await stage.fold()
    await stage.publish()
    for part in "abcd":
        await stage.refund_quarter(part)
    slow = stage.new_worker()

    async def count_some() -> None:
        await fold.fold_once(stage.new_worker(), ALL_SLOTS)
        await stage.publish()

    async def interrupt_next_read() -> None:
        interleave(slow.fold_queries, "passes", before=[count_some])

    interleave(slow.fold_queries, "passes", after=[interrupt_next_read])
    await fold.fold(slow, ALL_SLOTS)


SCENES: Sequence[Scene] = (
    fold_reads_passes_late,
    fold_crashes_before_it_clears,
    fold_crashes_before_it_writes,
    two_folds_write_at_once,
    backfill_is_slow_after_it_found_nothing_pending,
    pass_is_due_while_an_event_is_pending,
    more_events_are_pending_than_one_fold_counts,
    points_expire_while_no_event_comes,
    fold_is_slow_after_it_read_the_clock,
    fold_is_slow_to_walk,
    two_publishers_append_at_once,
    publisher_crashes_before_it_appends,
    fold_reads_old_events_after_its_own_writes,
    fold_reads_old_events_and_an_old_pass_after_its_own_writes,
    election_comes_between_the_pass_and_the_pending_events,
    election_comes_between_the_pass_and_its_history,
    election_comes_before_the_events_of_a_merged_pass_are_read,
    fold_reads_passes_late_after_its_own_writes,
    fold_crashes_before_it_writes_stubs,
    backfill_rebuilds_before_stubs_are_written,
    pending_event_is_removed,
    erased_pass_has_unpublished_activities,
    two_workers_erase_a_pass,
    points_are_corrected_at_the_instant_of_their_grant,
    event_is_removed_before_a_merge_moves_it,
)


GUARDED_SCENES: Sequence[Scene] = (
    backfill_writes_between_a_decision_and_its_clearing,
    fold_crashes_before_it_clears_what_it_declined,
    primary_fails_while_it_clears_what_was_decided,
    purchase_is_read_after_guarded_events_of_its_instant,
    merged_pass_declined_what_the_survivor_can_afford,
    purchase_is_removed_after_its_points_were_deducted,
)
"""Scenes with guarded deductions."""

RULE_SCENES: Sequence[Scene] = (
    refund_comes_before_the_events_of_the_merged_pass,
    refunds_are_counted_after_a_fold_has_read_their_family,
)
"""Scenes with rules that give points for purchases."""


def play(scene: Scene, *, rules: bool = False, months: bool = False) -> int:
    """Play the scene, finish the work, check the store, and return the number of transitions. Raises AssertionError."""

    async def run_scene() -> int:
        stage = Stage(guarded=scene in GUARDED_SCENES, rules=rules or scene in RULE_SCENES, months=months)
        await stage.create_workspace()
        await scene(stage)
        await stage.finish()
        return await stage.check()

    with seeded_runner(1) as runner:
        return runner.run(run_scene())
