"""Forget: types and sources leave the vocabulary with their last event, and stay as long as an event has them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from app.commands.passes.removals import delete_events, erase_pass
from app.domain.events.event_queries import EventQuery
from app.store.cache import WorkspaceCache
from tests.business import Business
from tests.workers.jobs.test_imports import run_to_end
from workers.main import GUARDED
from workers.stages import forget as stage
from workers.stages.forget import forget
from workers.sweep import Sweep


async def list_words(business: Business) -> tuple[list[str], list[str]]:
    vocabulary = business.ctx.workspace.vocabulary
    return await vocabulary.types(), await vocabulary.sources()


async def remove(business: Business, query: EventQuery) -> None:
    job, _ = await delete_events(business.ctx, query)
    assert job is not None
    await run_to_end(business, job)


def other_process(business: Business) -> Business:
    """Return the business as another process sees it, with caches of its own."""
    resources = replace(business.ctx.resources, cache=WorkspaceCache())
    return replace(business, ctx=replace(business.ctx, resources=resources))


@pytest.mark.parametrize("is_folded", [False, True])
async def test_source_and_type_whose_events_were_all_removed_are_listed_no_more(
    business: Business, is_folded: bool
) -> None:
    wrong = [{"source": "import:wrong.csv", "type": "dance", "external_id": str(number)} for number in range(30)]
    await business.record(*wrong, {"source": "till"}, {"source": "import:wrong.csv", "type": "visit"})
    await business.run_worker()
    await remove(business, EventQuery(types=("dance",)))
    if is_folded:
        await business.run_worker()
    await Sweep(business.worker, GUARDED).forget()
    assert await list_words(business) == (["purchase", "visit"], ["import:wrong.csv", "till"])
    await remove(business, EventQuery(sources=("import:wrong.csv",)))
    if is_folded:
        await business.run_worker()
    await Sweep(business.worker, GUARDED).forget()
    assert await list_words(business) == (["purchase"], ["till"])
    assert await business.ctx.workspace.vocabulary.doubted() == {}


async def test_words_of_an_erased_pass_are_listed_no_more(business: Business) -> None:
    await business.record({"source": "app", "type": "scan"}, {"pass_external_id": "bob", "source": "till"})
    await business.run_worker()
    await erase_pass(business.ctx, external_id="ann")
    await Sweep(business.worker, GUARDED).forget()
    assert (await list_words(business))[1] == ["app", "till"]
    await business.run_worker()
    await Sweep(business.worker, GUARDED).forget()
    assert await list_words(business) == (["purchase"], ["till"])


async def test_word_that_any_process_records_again_is_listed_again(business: Business) -> None:
    second = other_process(business)
    for process in (business, second):
        await process.record({"source": "app", "type": "scan"})
    await remove(business, EventQuery(sources=("app",)))
    await Sweep(business.worker, GUARDED).forget()
    assert await list_words(business) == ([], [])
    await second.record({"source": "app", "type": "scan"})
    assert await list_words(business) == (["scan"], ["app"])


async def test_word_that_is_recorded_during_the_search_stays(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    await business.record({"source": "app"})
    await remove(business, EventQuery(sources=("app",)))
    search = stage._find_used

    async def record_after_search(*args: object) -> object:
        used = await search(*args)  # type: ignore[arg-type]
        await other_process(business).record({"source": "app"})
        return used

    monkeypatch.setattr(stage, "_find_used", record_after_search)
    await forget(business.worker, business.ctx.workspace.id)
    assert await list_words(business) == (["purchase"], ["app"])


async def test_repeat_of_a_removed_event_does_not_list_its_source(business: Business) -> None:
    sale = {"source": "import:wrong.csv", "external_id": "1"}
    await business.record(sale, {"source": "till"})
    await remove(business, EventQuery(sources=("import:wrong.csv",)))
    await business.run_worker()
    await Sweep(business.worker, GUARDED).forget()
    second = other_process(business)
    [result] = (await second.record(sale)).results
    assert result.status.value == "REJECTED"
    await Sweep(business.worker, GUARDED).forget()
    assert (await list_words(business))[1] == ["till"]


async def test_search_for_many_sources_finds_those_in_use(business: Business, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "MAX_SOURCES_PER_SEARCH", 4)
    monkeypatch.setattr(stage, "SEARCH_BATCH_SIZE", 3)
    items = [
        {"source": f"s{number % 13:02}", "type": f"t{number % 5}", "external_id": str(number)} for number in range(40)
    ]
    await business.record(*items)
    await remove(business, EventQuery(types=("t0", "t1", "t2")))
    await Sweep(business.worker, GUARDED).forget()
    expected = sorted({str(item["source"]) for item in items if item["type"] in ("t3", "t4")})
    assert await list_words(business) == (["t3", "t4"], expected)
