"""The history of segments compared with the log, and its protocol with one rule removed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from app.domain.activities import ENTERED, LEFT, Activity
from app.domain.passes.passes import Pass
from app.store.workspace.segment_history import SegmentHistory
from workers.stages import merge, publish

from .memory import Doc, MemoryDatabase
from .mutants import Mutant

HISTORY_MUTANTS = (
    Mutant(
        name="history skips what another publisher appended",
        seed=3,
        owner=publish,
        function="_record_history",
        old="        await history.follow(last)\n",
        new="        await history.record([each for each in published if each.type in TRANSITIONS], before, last)\n",
    ),
    Mutant(
        name="day is counted without its position",
        owner=SegmentHistory,
        function="_add",
        old='"pos": position}',
        new="}",
    ),
    Mutant(
        name="intervals of a merged pass stay with it",
        owner=merge,
        function="merge_once",
        old=".history.move(alias.id, alias.alias_of)",
        new=".history.position()",
        runs=("merging",),
    ),
)


def check_history(
    db: MemoryDatabase, log: Sequence[Activity], passes: Sequence[Pass], erased: Mapping[str, Doc]
) -> None:
    """Check that intervals and days are those of the log. Raises AssertionError."""
    survivors = {card.id: card.alias_of for card in passes if card.alias_of is not None}
    expected: dict[str, list[object]] = {}
    last: dict[tuple[str, str | None], str] = {}
    days: Counter[tuple[str | None, str, str]] = Counter()
    for activity in log:
        if activity.type not in (ENTERED, LEFT):
            continue
        days[activity.segment_id, activity.occurred_at.date().isoformat(), activity.type] += 1
        key = activity.pass_id, activity.segment_id
        if activity.type == ENTERED:
            answering: str | None = activity.pass_id
            while answering in survivors:
                answering = survivors[answering]
            answering = None if answering in erased else answering
            last[key] = f"act_{activity.pass_id.removeprefix('pass_')}:{activity.pass_sequence}"
            expected[last[key]] = [
                activity.segment_id, answering, activity.occurred_at, dict(activity.cause), None, None,
            ]  # fmt: skip
        else:
            assert key in last, "an exit has no entry before it"
            expected[last[key]][4:] = [activity.occurred_at, dict(activity.cause)]
    found = {
        doc["_id"]: [doc["segment"], doc.get("pass"), doc["entered"], doc["enter"], doc.get("left"), doc.get("leave")]
        for doc in db["intervals"].docs.values()
    }
    assert found == expected, "the intervals are not those of the log"
    counted = Counter({
        (doc["segment"], doc["day"].date().isoformat(), kind): doc[name]
        for doc in db["segment_days"].docs.values()
        for kind, name in ((ENTERED, "entered"), (LEFT, "left"))
        if doc[name]
    })  # fmt: skip
    assert counted == days, "the days are not those of the log"
