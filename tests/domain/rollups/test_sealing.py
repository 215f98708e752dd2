"""Order and delays of sealing: an hour waits for its end and for quiet, an import for its end, and no hour for ever."""

from __future__ import annotations

from app.domain.rollups.levels import Level
from app.domain.rollups.sealing import AT_ONCE, DirtyNotes, DirtyPeriod, SealTask, Timing
from app.domain.values.instants import DAY_MS, HOUR_MS

TIMING = Timing(quiet=5, limit=30, old_quiet=10, old_limit=3_600)
DAY = 20_000 * DAY_MS
NOW = DAY + 12 * HOUR_MS + 60_000
OPEN, LATEST, OLD = DAY + 12 * HOUR_MS, DAY + 11 * HOUR_MS, DAY - 40 * DAY_MS


def hour(start_ms: int, mark: int = 1) -> DirtyPeriod:
    return DirtyPeriod(Level.HOUR, start_ms, mark)


def test_hour_that_has_not_ended_waits_for_its_end() -> None:
    plan = DirtyNotes().plan([hour(OPEN)], NOW, 0.0, TIMING)
    assert (plan.tasks, plan.wait_seconds, plan.open_hour_ms) == ([], 3_540.0, OPEN)


def test_hour_that_ended_lately_is_sealed_once_its_mark_is_unchanged_for_a_while() -> None:
    notes = DirtyNotes()
    assert notes.plan([hour(LATEST)], NOW, 0.0, TIMING).wait_seconds == 5.0
    assert notes.plan([hour(LATEST, 2)], NOW, 4.0, TIMING).wait_seconds == 5.0
    assert notes.plan([hour(LATEST, 2)], NOW, 9.0, TIMING).tasks == [SealTask(Level.DAY, DAY, (LATEST,))]


def test_hour_that_ended_lately_and_keeps_changing_waits_thirty_seconds() -> None:
    notes = DirtyNotes()
    tasks = [notes.plan([hour(LATEST, mark)], NOW, float(mark), TIMING).tasks for mark in range(32)]
    assert [mark for mark, found in enumerate(tasks) if found] == [30, 31]


def test_older_hours_wait_until_none_of_them_changes() -> None:
    notes = DirtyNotes()
    for seconds in range(100):
        plan = notes.plan([hour(OLD, seconds), hour(OLD - DAY_MS)], NOW, float(seconds), TIMING)
        assert not plan.tasks
    plan = notes.plan([hour(OLD, 99), hour(OLD - DAY_MS)], NOW, 109.0, TIMING)
    assert [task.start_ms for task in plan.tasks] == [OLD, OLD - DAY_MS]


def test_older_hours_that_keep_changing_are_sealed_after_an_hour() -> None:
    notes = DirtyNotes()
    assert not notes.plan([hour(OLD, 1)], NOW, 0.0, TIMING).tasks
    assert not notes.plan([hour(OLD, 2)], NOW, 3_599.0, TIMING).tasks
    assert notes.plan([hour(OLD, 3)], NOW, 3_600.0, TIMING).tasks


def test_import_does_not_delay_the_hour_that_ended_lately() -> None:
    notes = DirtyNotes()
    for seconds in range(10):
        plan = notes.plan([hour(OLD, seconds), hour(LATEST)], NOW, float(seconds), TIMING)
    assert [task.start_ms for task in plan.tasks] == [DAY]


def test_hour_that_could_not_be_sealed_waits_anew() -> None:
    notes = DirtyNotes()
    notes.plan([hour(LATEST)], NOW, 0.0, TIMING)
    notes.postpone([LATEST, OPEN], 40.0)
    assert notes.plan([hour(LATEST)], NOW, 41.0, TIMING).wait_seconds == 4.0


def test_tasks_are_newest_first_and_hours_of_a_day_come_together() -> None:
    dirty = [hour(OLD), hour(LATEST), hour(LATEST - HOUR_MS), hour(OPEN)]
    assert DirtyNotes().plan(dirty, NOW, 0.0, AT_ONCE).tasks == [
        SealTask(Level.DAY, DAY, (OPEN, LATEST, LATEST - HOUR_MS)),
        SealTask(Level.DAY, OLD, (OLD,)),
    ]


def test_day_and_month_are_joined_only_if_nothing_in_them_is_dirty() -> None:
    day, month = DirtyPeriod(Level.DAY, OLD, 1), DirtyPeriod(Level.MONTH, Level.MONTH.start_ms(OLD), 1)
    notes = DirtyNotes()
    assert not notes.plan([hour(OLD), day, month], NOW, 0.0, TIMING).tasks
    assert notes.plan([day, month], NOW, 0.0, TIMING).tasks == [SealTask(Level.DAY, OLD)]
    assert notes.plan([month], NOW, 0.0, TIMING).tasks == [SealTask(Level.MONTH, month.start_ms)]


def test_older_hours_behind_a_full_list_wait_as_long_as_those_in_it() -> None:
    notes = DirtyNotes()
    newest, behind, later = OLD, OLD - DAY_MS, OLD - HOUR_MS
    notes.plan([hour(newest)], NOW, 0.0, TIMING, cut_ms=newest)
    notes.plan([hour(newest)], NOW, 10.0, TIMING, cut_ms=newest)
    assert notes.plan([hour(behind)], NOW, 11.0, TIMING).tasks == [SealTask(Level.DAY, behind, (behind,))]
    # The list was not full, so the next hour was marked since.
    assert notes.plan([hour(later), hour(behind)], NOW, 12.0, TIMING).tasks == []
