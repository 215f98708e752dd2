"""Schedule of sealing: one look at a workspace for many marks, and none for marks of the hour that has not ended."""

from __future__ import annotations

from app.domain.rollups.sealing import AT_ONCE
from app.domain.values.instants import HOUR_MS
from workers.seals import RETRY_SECONDS, Seals


class Seconds:
    """Clock that the test sets."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_marks_schedule_one_look_at_their_workspace_after_a_while() -> None:
    seconds = Seconds()
    seals = Seals(seconds)
    seals.note_marked([("ws_1", 0), ("ws_2", HOUR_MS)])
    seconds.now = 1.0
    seals.note_marked([("ws_1", 0), ("ws_1", HOUR_MS)])
    assert seals.take_due() is None
    seconds.now = seals.timing.quiet
    assert [seals.take_due() for _ in range(3)] == ["ws_1", "ws_2", None]


def test_marks_of_the_hour_that_has_not_ended_schedule_no_look() -> None:
    seals = Seals(Seconds())
    seals.begin_look("ws_1").open_hour_ms = HOUR_MS
    seals.end_look("ws_1", None)
    seals.note_marked([("ws_1", HOUR_MS)])
    assert not seals.is_scheduled("ws_1")
    seals.note_marked([("ws_1", 0)])
    assert seals.is_scheduled("ws_1")


def test_marks_of_the_open_hour_are_handed_on_once_and_those_of_others_each_time() -> None:
    seals = Seals(Seconds())
    for now_ms, notes_again in ((HOUR_MS + 1, False), (2 * HOUR_MS, True)):
        workspace_id = f"ws_{now_ms}"
        seals.note_marked([(workspace_id, 0), (workspace_id, HOUR_MS)])
        seals.timing = AT_ONCE
        seals.schedule(workspace_id, 0.0)
        assert seals.take_due() == workspace_id
        seals.hand_on(workspace_id, now_ms)
        seals.note_marked([(workspace_id, HOUR_MS)])
        assert seals.is_scheduled(workspace_id) == notes_again
        seals.note_marked([(workspace_id, 0)])
        assert seals.is_scheduled(workspace_id)
        seals.take_due()


def test_workspace_with_dirty_heads_is_looked_at_unless_a_look_has_seen_them() -> None:
    seconds = Seconds()
    seals = Seals(seconds)
    seals.begin_look("ws_1")
    for workspace_id in ("ws_1", "ws_2"):
        seals.note_dirty(workspace_id)
    assert [seals.take_due() for _ in range(2)] == ["ws_2", None]
    seconds.now = RETRY_SECONDS
    seals.note_dirty("ws_1")
    assert seals.take_due() == "ws_1"


def test_look_that_fails_is_repeated_after_a_minute() -> None:
    seconds = Seconds()
    seals = Seals(seconds)
    seals.schedule("ws_1", 0.0)
    seals.begin_look("ws_1")
    assert seals.take_due() is None
    seconds.now = RETRY_SECONDS
    assert seals.take_due() == "ws_1"


def test_end_of_a_look_keeps_what_was_noted_meanwhile() -> None:
    seconds = Seconds()
    seals = Seals(seconds)
    for workspace_id in ("ws_1", "ws_2", "ws_3"):
        seals.begin_look(workspace_id)
    seals.note_marked([("ws_1", 0)])
    for workspace_id, wait_seconds in (("ws_1", 3_600.0), ("ws_2", None), ("ws_3", 3_600.0)):
        seals.end_look(workspace_id, wait_seconds)
    seconds.now = seals.timing.quiet
    assert [seals.take_due(), seals.take_due()] == ["ws_1", None]
    assert not seals.is_scheduled("ws_2")
    seconds.now = 3_600.0
    assert seals.take_due() == "ws_3"
