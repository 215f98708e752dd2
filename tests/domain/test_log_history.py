"""Cursors after restores: a reader is sent back exactly to the last position that it shares with the log."""

from __future__ import annotations

import pytest

from app.domain.activities import activity_id, split_activity_id
from app.domain.log_history import LogHistory, Restore
from app.domain.values.cursors import FeedCursor

TWICE = LogHistory((Restore("aaaaaaaa", 10), Restore("bbbbbbbb", 15)))


@pytest.mark.parametrize(
    ("cursor", "resume"),
    [
        (FeedCursor(10), None),
        (FeedCursor(11), 10),
        (FeedCursor(99), 10),
        (FeedCursor(15, "aaaaaaaa"), None),
        (FeedCursor(16, "aaaaaaaa"), 15),
        (FeedCursor(99, "bbbbbbbb"), None),
        (FeedCursor(3, "cccccccc"), 0),
    ],
)
def test_reader_continues_at_the_end_of_the_backup_that_its_epoch_ended_with(
    cursor: FeedCursor, resume: int | None
) -> None:
    assert TWICE.find_resume(cursor) == resume


def test_position_has_the_epoch_in_which_it_was_published() -> None:
    assert [TWICE.cursor_at(position).epoch for position in (1, 10, 11, 15, 16)] == [
        "", "", "aaaaaaaa", "aaaaaaaa", "bbbbbbbb",
    ]  # fmt: skip
    assert (TWICE.epoch, LogHistory().epoch) == ("bbbbbbbb", "")
    for position in range(20):
        assert TWICE.find_resume(TWICE.cursor_at(position)) is None


def test_reader_before_the_front_continues_at_the_front() -> None:
    history = LogHistory((Restore("aaaaaaaa", 10),), front=12)
    assert history.find_resume(FeedCursor(4)) == 12
    assert history.find_resume(FeedCursor(12, "aaaaaaaa")) is None
    assert history.find_resume(FeedCursor(3, "cccccccc")) == 12


def test_id_of_a_later_epoch_contains_the_epoch_and_is_stored_without_it() -> None:
    assert activity_id("pass_1f", 3) == "act_1f:3"
    assert activity_id("pass_1f", 3, "aaaaaaaa") == "act_aaaaaaaa_1f:3"
    assert split_activity_id("act_aaaaaaaa_1f:3") == ("act_1f:3", "aaaaaaaa")
    assert split_activity_id("act_1f:3") == ("act_1f:3", "")
