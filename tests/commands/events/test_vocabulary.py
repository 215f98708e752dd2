"""Vocabulary: the types and sources of a workspace are listed as soon as an event has them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from app.clock import FixedClock
from app.commands.events import vocabulary
from app.resources import Resources
from app.store.cache import WorkspaceCache
from app.store.operations.indexes import INDEXES
from app.store.workspace.vocabulary import VocabularyQueries
from tests.business import Business, create_business


async def test_types_and_sources_are_listed_once_each_and_per_workspace(
    business: Business, resources: Resources, clock: FixedClock
) -> None:
    """WH2-07, WH2-08."""
    other = await create_business(resources, clock, "Other")
    await other.record({"type": "secret", "source": "elsewhere"})
    await business.record({}, {"type": "lookbook", "source": "website"}, {"type": "refund", "amount": "x"})
    # Another process records, with an empty cache.
    other_process = replace(business.ctx, resources=replace(resources, cache=WorkspaceCache()))
    await replace(business, ctx=other_process).record({"source": "mobile-app"}, {"type": "lookbook"})
    store = business.ctx.workspace.vocabulary
    assert await store.types() == ["lookbook", "purchase"]
    assert await store.sources() == ["api", "mobile-app", "website"]


async def test_cached_words_need_no_round_trip_and_the_vocabulary_is_limited(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    await business.record({})
    monkeypatch.setattr(vocabulary, "MAX_WORDS", 4)
    calls: list[object] = []
    for name in ("insert", "_words"):
        method = getattr(VocabularyQueries, name)

        async def note_then_call(self: VocabularyQueries, *args: object, method: object = method) -> object:
            calls.append(args)
            return await method(self, *args)  # type: ignore[operator]

        monkeypatch.setattr(VocabularyQueries, name, note_then_call)
    await business.record({}, {})
    assert calls == []
    await business.record({"source": "till-1"}, {"source": "till-2"})
    assert len(calls) == 1
    [result] = (await business.record({"source": "till-3"})).results
    assert result.event is not None
    assert len(calls) == 1


async def test_events_do_not_expire_and_are_not_limited_in_number(business: Business) -> None:
    """A1-08: a pass keeps any number of events, and no index lets them expire."""
    assert not any("expireAfterSeconds" in index.document for index in INDEXES["events"])
    long_ago = [{"occurred_at": f"19{year}-01-01T00:00:00Z", "external_id": f"{year}"} for year in range(10, 99)]
    assert (await business.record(*long_ago)).created == len(long_ago)
    await business.run_worker()
    assert (await business.read_pass()).aggregates["purchase", None].count == len(long_ago)
