"""What a process remembers of passes: for a while, and no more than so many."""

from __future__ import annotations

from app.store.cache import EPOCH_TTL_SECONDS, PASS_TTL_SECONDS, WorkspaceCache


def test_a_pass_is_taken_to_be_there_for_some_seconds_after_it_was_seen() -> None:
    now = 100.0
    known = WorkspaceCache(now=lambda: now)
    known.remember_pass("ws", "pass_1", "ann")
    now += PASS_TTL_SECONDS - 1
    assert (known.has_pass("ws", "pass_1"), known.pass_id_of("ws", "ann")) == (True, "pass_1")
    assert (known.has_pass("other", "pass_1"), known.pass_id_of("other", "ann")) == (False, None)
    now += 1
    assert (known.has_pass("ws", "pass_1"), known.pass_id_of("ws", "ann")) == (False, None)


def test_what_was_forgotten_is_looked_up_again_and_the_oldest_go_first() -> None:
    known = WorkspaceCache(most=2)
    for n in range(3):
        known.remember_pass("ws", f"pass_{n}", f"x{n}")
    assert [known.has_pass("ws", f"pass_{n}") for n in range(3)] == [False, True, True]
    known.forget_pass("ws", "pass_2", "x2")
    assert (known.has_pass("ws", "pass_2"), known.pass_id_of("ws", "x2"), known.pass_id_of("ws", "x1")) == (
        False,
        None,
        "pass_1",
    )


async def test_passes_are_believed_in_until_another_parting_is_heard_of_which_is_asked_for_now_and_then() -> None:
    now, latest, asked = 100.0, "", 0
    known = WorkspaceCache(now=lambda: now)

    async def ask() -> str:
        nonlocal asked
        asked += 1
        return latest

    known.remember_pass("ws", "pass_1", "ann", since=await known.erasure_epoch("ws", ask))
    latest = "parting_1"
    now += EPOCH_TTL_SECONDS / 2
    assert (since := await known.erasure_epoch("ws", ask), asked, known.has_pass("ws", "pass_1", since)) == (
        "",
        1,
        True,
    )
    now += EPOCH_TTL_SECONDS / 2
    assert (since := await known.erasure_epoch("ws", ask), asked, known.has_pass("ws", "pass_1", since)) == (
        "parting_1",
        2,
        False,
    )
    assert (known.last_epoch("ws"), known.last_epoch("other"), known.pass_id_of("ws", "ann", since)) == (
        "parting_1",
        "",
        None,
    )
    # Somebody was asked about the pass before the parting, and is answered now.
    known.remember_pass("ws", "pass_1", "ann", since="")
    known.remember_pass("ws", "pass_2", "bob", since="parting_1")
    assert (known.pass_id_of("ws", "ann", since), known.pass_id_of("ws", "bob", since)) == (None, "pass_2")


async def test_who_asked_for_the_latest_parting_earlier_and_is_answered_later_knows_less() -> None:
    now = 100.0
    known = WorkspaceCache(now=lambda: now)

    async def slow() -> str:
        nonlocal now
        now += 5
        assert await known.erasure_epoch("ws", latest) == "parting_2"
        return "parting_1"

    async def latest() -> str:
        return "parting_2"

    await known.erasure_epoch("ws", slow)
    assert known.last_epoch("ws") == "parting_2"
