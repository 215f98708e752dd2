"""verifyProjection: what is stored agrees with the events, also while it changes, and damage is reported (WH2-31)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from bson import Decimal128

from app.commands.insights.verification import verify_projection
from app.domain.errors import Code, Refused
from app.domain.jobs import JobStatus
from app.domain.rollups.sealing import AT_ONCE
from app.domain.values.instants import from_ms
from app.store.operations.recomputation import DeepCheck
from app.store.operations.rollup_check import ComparedRollups, RollupCheck
from tests.business import Business, spent
from tests.store.operations.test_consistency import shop
from tests.workers.jobs.test_imports import run_to_end
from workers.stages.seal import seal

__all__ = ["shop"]
EVENTS = {"passes": "events", "rollups": "rollupEvents"}
JUNE = datetime(2025, 6, 1, tzinfo=UTC)
NOTHING = dict.fromkeys(
    ("passes", "events", "partial", "gone", "rollups", "rollupEvents", "waiting", "moving", "differing", "differences"),
    0,
)


async def verify(
    business: Business, pass_ids: list[str] | None = None, sample: int | None = None, **options: Any
) -> tuple[Mapping[str, object], list[list[str]]]:
    """Run the job to its end, and return its result and the lines of its report."""
    job = await verify_projection(business.ctx, pass_ids=pass_ids, sample=sample, **options)
    found = await run_to_end(business, job)
    assert found.status is JobStatus.SUCCEEDED, found.error
    lines = [line async for part in business.ctx.workspace.jobs.report(job.id) for line in part]
    assert (found.tally.done, found.report_path is not None) == (found.total, bool(lines))
    return {name: value for name, value in found.result.items() if name != "warnings"}, lines


async def seal_all(shop: Business) -> None:
    """Seal all that is dirty."""
    shop.worker.seals.timing = AT_ONCE
    await seal(shop.worker, shop.ctx.workspace.id)


async def fill(shop: Business) -> None:
    """Record events of 10 passes: removed and pending ones, too."""
    await shop.create_segment("rich", spent(3))
    await shop.record(
        *({"pass_external_id": f"p{n}", "amount": n, "points": 5, "external_id": f"e{n}"} for n in range(10))
    )
    await shop.run_worker()
    await shop.record({"pass_external_id": "p1", "amount": 3, "external_id": "pending"})


async def test_nothing_differs_in_what_the_fold_and_the_seal_store(shop: Business) -> None:
    await fill(shop)
    await shop.run_worker()
    await seal_all(shop)
    await shop.record({"pass_external_id": "p1", "amount": 3, "external_id": "pending too"})
    total = await shop.ctx.workspace.passes.count()
    result, lines = await verify(shop)
    assert lines == []
    of_passes, of_rollups = await verify(shop, sample=1_000), await verify(shop, rollups=(None, None))
    for name, part in (("passes", of_passes), ("rollups", of_rollups)):
        assert part[0] == {**NOTHING, name: result[name], EVENTS[name]: result[EVENTS[name]]}
    assert result == {**NOTHING, **{name: result[name] for pair in EVENTS.items() for name in pair}}
    assert result["passes"] == total
    assert int(str(result["rollups"])) >= 3
    assert int(str(result["rollupEvents"])) >= 10


async def test_rollups_between_two_instants_are_compared(shop: Business) -> None:
    await fill(shop)
    await shop.record({"pass_external_id": "p1", "occurred_at": "2025-03-03T10:00:00Z"})
    await shop.run_worker()
    await seal_all(shop)
    period = ("2025-03-01T00:00:00Z", "2025-04-01T00:00:00Z")
    assert await verify(shop, rollups=period) == ({**NOTHING, "rollups": 3, "rollupEvents": 1}, [])
    before = ("2024-03-01T00:00:00Z", "2024-04-01T00:00:00Z")
    assert await verify(shop, rollups=before) == (NOTHING, [])
    await shop.ctx.resources.db["events"].update_one({"occurred_at": {"$lt": JUNE}}, {"$set": {"type": "visit"}})
    result, lines = await verify(shop, rollups=period)
    assert [line[:2] for line in lines] == 2 * [["HOUR", "2025-03-03T10:00:00.000Z"]] + 2 * [
        ["DAY", "2025-03-03T00:00:00.000Z"]
    ]
    assert (result["rollups"], result["differing"], result["differences"]) == (3, 2, 4)


async def test_months_without_events_and_rollups_are_left_out(shop: Business, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hour of 1900 is sealed. Of the others, only the events are there."""
    compared = list[datetime]()
    compare = RollupCheck.compare_day

    async def compare_day(self: RollupCheck, day_ms: int, *, is_marked: bool) -> ComparedRollups:
        compared.append(from_ms(day_ms))
        return await compare(self, day_ms, is_marked=is_marked)

    monkeypatch.setattr(RollupCheck, "compare_day", compare_day)
    await shop.record({"occurred_at": "1900-02-27T10:00:00Z"})
    await shop.run_worker()
    await seal_all(shop)
    await shop.record({"occurred_at": "1999-12-31T10:00:00Z"}, {"occurred_at": "2025-03-03T10:00:00Z"})
    await shop.run_worker()
    assert (await verify(shop, rollups=(None, "2025-03-05T00:00:00Z")))[1] == []
    months = {(day.year, day.month) for day in compared}
    assert (months, len(compared)) == ({(1900, 2), (1999, 12), (2025, 3)}, 2 + 31 + 4)


async def test_each_difference_is_in_the_report(shop: Business) -> None:
    await fill(shop)
    damaged = await shop.read_pass("p3")
    passes = shop.ctx.resources.db["passes"]
    change = {"points": Decimal128("6"), "profile.status": "REVOKED"}
    await passes.update_one({"_id": damaged.id}, {"$set": change})
    healthy = await shop.read_pass("p4")
    result, lines = await verify(shop)
    assert lines == [
        ["PASS", damaged.id, "the points", "6", "5"],
        ["PASS", damaged.id, "the status", "not quoted", "not quoted"],
    ]
    assert (result["differing"], result["differences"]) == (1, 2)
    assert await verify(shop, [healthy.id]) == ({**NOTHING, "passes": 1, "events": 1}, [])
    assert (await verify(shop, [healthy.id, damaged.id]))[1] == lines


async def test_sample_draws_passes_at_random_from_all_of_them(shop: Business) -> None:
    await fill(shop)
    result, _ = await verify(shop, sample=1_000)
    assert result["passes"] == await shop.ctx.workspace.passes.count()
    total = await shop.ctx.workspace.passes.count()
    drawn: set[str] = set()
    for start in range(0, 2**31, 2**27):
        ids = await shop.ctx.workspace.pass_draws.ids(start, 5, total)
        assert len(ids) == len(set(ids)) <= 5
        drawn |= set(ids)
    assert len(drawn) == total


async def test_pass_that_is_written_at_each_look_is_counted_and_not_compared(
    shop: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(shop)
    original = DeepCheck._read_definitions

    async def write_meanwhile(self: DeepCheck, card: Any) -> Any:
        if card.external_id == "p3":
            await shop.ctx.resources.db["passes"].update_one({"_id": card.id}, {"$inc": {"v": 1}})
        return await original(self, card)

    monkeypatch.setattr(DeepCheck, "_read_definitions", write_meanwhile)
    result, lines = await verify(shop)
    assert (result["moving"], result["differing"], lines) == (1, 0, [])


async def test_input_without_meaning_is_refused(shop: Business) -> None:
    for pass_ids, sample, code in (
        (["pass_none"], None, Code.UNKNOWN),
        ([], None, Code.OUT_OF_RANGE),
        (None, 0, Code.OUT_OF_RANGE),
        (None, 1_001, Code.OUT_OF_RANGE),
        (["pass_none"], 3, Code.INVALID),
    ):
        with pytest.raises(Refused) as refused:
            await verify_projection(shop.ctx, pass_ids=pass_ids, sample=sample)
        assert [problem.code for problem in refused.value.problems] == [code]
    with pytest.raises(Refused) as refused:
        await verify_projection(shop.ctx, rollups=("2026-01-02T00:00:00Z", "2026-01-01T00:00:00Z"))
    assert [problem.field for problem in refused.value.problems] == [("rollups", "from")]
