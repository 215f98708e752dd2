"""The types and sources of a workspace's events are listed from the moment that an event has them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from app.clock import FixedClock
from app.commands.events import vocabulary
from app.resources import Resources
from app.store.cache import WorkspaceCache
from app.store.operations.indexes import INDEXES
from app.store.workspace.vocabulary import VocabularyQueries
from tests.business import Business, another_business


async def test_the_types_and_sources_seen_are_listed_once_each_and_only_the_workspaces_own(
    business: Business, resources: Resources, clock: FixedClock
) -> None:
    """WH2-07, WH2-08."""
    other = await another_business(resources, clock, "Other")
    await other.record({"type": "secret", "source": "elsewhere"})
    await business.record({}, {"type": "lookbook", "source": "website"}, {"type": "refund", "amount": "x"})
    # Another process, which has seen nothing yet.
    stranger = replace(business.ctx, resources=replace(resources, cache=WorkspaceCache()))
    await replace(business, ctx=stranger).record({"source": "mobile-app"}, {"type": "lookbook"})
    store = business.ctx.workspace.vocabulary
    assert await store.types() == ["lookbook", "purchase"]
    assert await store.sources() == ["api", "mobile-app", "website"]


async def test_words_that_are_known_cost_no_round_trip_and_a_list_of_words_ends_somewhere(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    await business.record({})
    monkeypatch.setattr(vocabulary, "MAX_WORDS", 4)
    asked: list[object] = []
    for name in ("insert", "_of"):
        method = getattr(VocabularyQueries, name)

        async def counted(self: VocabularyQueries, *args: object, method: object = method) -> object:
            asked.append(args)
            return await method(self, *args)  # type: ignore[operator]

        monkeypatch.setattr(VocabularyQueries, name, counted)
    await business.record({}, {})
    assert asked == []
    await business.record({"source": "till-1"}, {"source": "till-2"})
    assert len(asked) == 1
    [result] = (await business.record({"source": "till-3"})).results
    assert result.event is not None
    assert len(asked) == 1


async def test_events_have_no_end_and_no_most(business: Business) -> None:
    """A1-08: any number of events, kept until the customer leaves: nothing expires them."""
    assert not any("expireAfterSeconds" in index.document for index in INDEXES["events"])
    long_ago = [{"occurred_at": f"19{year}-01-01T00:00:00Z", "external_id": f"{year}"} for year in range(10, 99)]
    assert (await business.record(*long_ago)).created == len(long_ago)
    await business.settle()
    assert (await business.card()).aggregates["purchase", None].count == len(long_ago)
