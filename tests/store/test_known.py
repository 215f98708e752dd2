"""What a process remembers of passes: for a while, and no more than so many."""

from __future__ import annotations

from app.store.known import SECONDS, Known


def test_a_pass_is_taken_to_be_there_for_some_seconds_after_it_was_seen() -> None:
    now = 100.0
    known = Known(now=lambda: now)
    known.remember("ws", "pass_1", "ann")
    now += SECONDS - 1
    assert (known.has("ws", "pass_1"), known.id_of("ws", "ann")) == (True, "pass_1")
    assert (known.has("other", "pass_1"), known.id_of("other", "ann")) == (False, None)
    now += 1
    assert (known.has("ws", "pass_1"), known.id_of("ws", "ann")) == (False, None)


def test_what_was_forgotten_is_looked_up_again_and_the_oldest_go_first() -> None:
    known = Known(most=2)
    for n in range(3):
        known.remember("ws", f"pass_{n}", f"x{n}")
    assert [known.has("ws", f"pass_{n}") for n in range(3)] == [False, True, True]
    known.forget("ws", "pass_2", "x2")
    assert (known.has("ws", "pass_2"), known.id_of("ws", "x2"), known.id_of("ws", "x1")) == (False, None, "pass_1")
