"""Persisted documents in Redis: each workspace has a share, from which the least recently used documents drop out."""

from __future__ import annotations

import pytest
from redis.asyncio import Redis

from app import document_cache
from app.document_cache import MAX_STORED_BYTES, DocumentCache


async def count_bytes(redis: Redis) -> int:
    """Return the memory of all keys."""
    return sum([await redis.memory_usage(key, samples=0) or 0 for key in await redis.keys("*")])


async def test_share_of_a_workspace_is_limited_in_bytes(redis: Redis) -> None:
    """300 documents of 100 KB took 28 MB, for 30 days."""
    cache = DocumentCache(redis, "test")
    await cache.store("ws_b", "other", "{ b }")
    text = "{ a } #" + "x" * 99_000
    for number in range(60):
        await cache.store("ws_a", f"{number}", text + str(number))
    assert await count_bytes(redis) < 1.3 * MAX_STORED_BYTES
    assert await cache.find("ws_a", "59") == text + "59"
    assert await cache.find("ws_a", "0") is None
    assert await cache.find("ws_b", "other") == "{ b }"


async def test_share_of_a_workspace_keeps_the_documents_that_are_used(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(document_cache, "MAX_STORED_DOCUMENTS", 3)
    cache = DocumentCache(redis, "test")
    for name in ("a", "b", "c"):
        await cache.store("ws", name, f"{{ {name} }}")
    assert await cache.find("ws", "a") == "{ a }"
    await cache.store("ws", "d", "{ d }")
    assert [await cache.find("ws", name) for name in ("a", "b", "c", "d")] == ["{ a }", None, "{ c }", "{ d }"]


async def test_document_that_is_stored_again_counts_once(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(document_cache, "MAX_STORED_BYTES", 100)
    cache = DocumentCache(redis, "test")
    for _ in range(10):
        await cache.store("ws", "a", "x" * 60)
    await cache.store("ws", "b", "x" * 40)
    assert await cache.find("ws", "a") is not None
    await cache.store("ws", "b", "x" * 41)
    assert await cache.find("ws", "a") is None


async def test_all_documents_expire_and_can_be_forgotten(redis: Redis) -> None:
    cache = DocumentCache(redis, "test")
    await cache.store("ws", "a", "{ a }")
    assert all([0 < await redis.ttl(key) <= document_cache.DOCUMENT_TTL_SECONDS for key in await redis.keys("*")])
    await cache.forget("ws")
    assert await redis.keys("*") == []


async def test_nothing_is_found_without_redis() -> None:
    cache = DocumentCache(Redis(port=1), "test")
    await cache.store("ws", "a", "{ a }")
    assert await cache.find("ws", "a") is None
