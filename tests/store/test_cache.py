"""What a process remembers of passes: for a while, and no more than so many."""

from __future__ import annotations

from app.store.cache import HEARD_SECONDS, SECONDS, Known


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


async def test_passes_are_believed_in_until_another_parting_is_heard_of_which_is_asked_for_now_and_then() -> None:
    now, latest, asked = 100.0, "", 0
    known = Known(now=lambda: now)

    async def ask() -> str:
        nonlocal asked
        asked += 1
        return latest

    known.remember("ws", "pass_1", "ann", since=await known.parting("ws", ask))
    latest = "parting_1"
    now += HEARD_SECONDS / 2
    assert (since := await known.parting("ws", ask), asked, known.has("ws", "pass_1", since)) == ("", 1, True)
    now += HEARD_SECONDS / 2
    assert (since := await known.parting("ws", ask), asked, known.has("ws", "pass_1", since)) == ("parting_1", 2, False)
    assert (known.heard("ws"), known.heard("other"), known.id_of("ws", "ann", since)) == ("parting_1", "", None)
    # Somebody was asked about the pass before the parting, and is answered now.
    known.remember("ws", "pass_1", "ann", since="")
    known.remember("ws", "pass_2", "bob", since="parting_1")
    assert (known.id_of("ws", "ann", since), known.id_of("ws", "bob", since)) == (None, "pass_2")


async def test_who_asked_for_the_latest_parting_earlier_and_is_answered_later_knows_less() -> None:
    now = 100.0
    known = Known(now=lambda: now)

    async def slow() -> str:
        nonlocal now
        now += 5
        assert await known.parting("ws", latest) == "parting_2"
        return "parting_1"

    async def latest() -> str:
        return "parting_2"

    await known.parting("ws", slow)
    assert known.heard("ws") == "parting_2"
