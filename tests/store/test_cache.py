"""The cache of passes: how long an entry is valid, how many there are, and the erasure epoch."""

from __future__ import annotations

from app.store.cache import EPOCH_TTL_SECONDS, PASS_TTL_SECONDS, Epochs, WorkspaceCache


def test_cached_pass_is_valid_for_some_seconds() -> None:
    now = 100.0
    cache = WorkspaceCache(now=lambda: now)
    cache.remember_pass("ws", "pass_1", "ann")
    now += PASS_TTL_SECONDS - 1
    assert (cache.has_pass("ws", "pass_1"), cache.pass_id_of("ws", "ann")) == (True, "pass_1")
    assert (cache.has_pass("other", "pass_1"), cache.pass_id_of("other", "ann")) == (False, None)
    now += 1
    assert (cache.has_pass("ws", "pass_1"), cache.pass_id_of("ws", "ann")) == (False, None)


def test_forgotten_pass_is_dropped_and_so_are_the_oldest_beyond_the_limit() -> None:
    cache = WorkspaceCache(max_passes=2)
    for n in range(3):
        cache.remember_pass("ws", f"pass_{n}", f"x{n}")
    assert [cache.has_pass("ws", f"pass_{n}") for n in range(3)] == [False, True, True]
    cache.forget_pass("ws", "pass_2", "x2")
    assert (cache.has_pass("ws", "pass_2"), cache.pass_id_of("ws", "x2"), cache.pass_id_of("ws", "x1")) == (
        False,
        None,
        "pass_1",
    )


async def test_cached_pass_is_valid_only_under_the_current_erasure_epoch() -> None:
    """The cache reads the epoch again when EPOCH_TTL_SECONDS have passed."""
    now, latest, reads = 100.0, Epochs(), 0
    cache = WorkspaceCache(now=lambda: now)

    async def read_epochs() -> Epochs:
        nonlocal reads
        reads += 1
        return latest

    cache.remember_pass("ws", "pass_1", "ann", since=(await cache.epochs("ws", read_epochs)).erasures)
    latest = Epochs("epoch_1", 1)
    now += EPOCH_TTL_SECONDS / 2
    since, _ = await cache.epochs("ws", read_epochs)
    assert (since, reads, cache.has_pass("ws", "pass_1", since)) == ("", 1, True)
    now += EPOCH_TTL_SECONDS / 2
    since, _ = await cache.epochs("ws", read_epochs)
    assert (since, reads, cache.has_pass("ws", "pass_1", since)) == ("epoch_1", 2, False)
    assert (cache.last_epoch("ws"), cache.last_epoch("other")) == ("epoch_1", "")
    assert cache.pass_id_of("ws", "ann", since) is None
    # A read of the pass that began under the old epoch finishes only now.
    cache.remember_pass("ws", "pass_1", "ann", since="")
    cache.remember_pass("ws", "pass_2", "bob", since="epoch_1")
    assert (cache.pass_id_of("ws", "ann", since), cache.pass_id_of("ws", "bob", since)) == (None, "pass_2")


async def test_slow_read_of_the_epoch_does_not_replace_a_newer_one() -> None:
    now = 100.0
    cache = WorkspaceCache(now=lambda: now)

    async def read_slowly() -> Epochs:
        nonlocal now
        now += 5
        assert await cache.epochs("ws", read_quickly) == Epochs("epoch_2", 2)
        return Epochs("epoch_1", 1)

    async def read_quickly() -> Epochs:
        return Epochs("epoch_2", 2)

    await cache.epochs("ws", read_slowly)
    assert cache.last_epoch("ws") == "epoch_2"
