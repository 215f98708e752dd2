"""`punchcard rollups` shows what is dirty, and marks hours and passes, so that workers compute them anew."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

from app.config.settings import Settings
from app.domain.rollups.levels import Level
from app.domain.rollups.marks import HeadKey
from app.domain.rollups.periods import ALL_MONTHS, SPEND
from app.domain.rollups.sealing import AT_ONCE
from app.domain.values.instants import to_ms
from app.store.mongo.decimal128 import to_decimal128
from app.store.workspace.rollup_heads import mark_heads
from tests.business import Business
from tests.cli.test_keys import run
from tests.ranking import rank_passes
from workers.stages import seal
from workers.stages.seal_passes import seal_passes_once

JANUARY = datetime(2025, 1, 1, tzinfo=UTC)


async def dirty_starts(business: Business) -> list[str]:
    heads = await business.ctx.resources.db["rollup_heads"].find({"dirty": {"$gte": 0}}).to_list(None)
    return sorted(f"{doc['level']} {doc['start']:%Y-%m-%dT%H}" for doc in heads)


async def test_rollups_of_a_period_are_marked_and_computed_anew(business: Business, settings: Settings) -> None:
    workspace_id = business.ctx.workspace.id
    times = ("2025-01-01T00:30:00Z", "2025-01-01T00:59:00Z", "2025-01-31T23:30:00Z", "2025-02-01T00:00:00Z")
    await business.record(*({"type": "visit", "occurred_at": at} for at in times))
    await business.run_worker()
    # An hour whose only event somebody has deleted by hand.
    empty = HeadKey(workspace_id, Level.HOUR, to_ms(JANUARY.replace(day=5)))
    await mark_heads(business.ctx.resources.db, [empty], 100)
    business.worker.seals.timing = AT_ONCE
    await seal.seal(business.worker, workspace_id)
    await seal_passes_once(business.worker, workspace_id)
    assert (await run(settings, "rollups")).output == f"{workspace_id}  nothing is dirty\n"
    done = await run(settings, "rollups", "--rebuild", "--from", "2025-01-01", "--to", "2025-02-01")
    assert done.output.splitlines()[-1] == f"{workspace_id}  2 hours with events and 1 pass will be computed anew."
    assert (await business.read_pass()).dirty_months == {202501}
    assert await dirty_starts(business) == [
        "d 2025-01-01T00", "d 2025-01-05T00", "d 2025-01-31T00",
        "h 2025-01-01T00", "h 2025-01-05T00", "h 2025-01-31T23", "m 2025-01-01T00",
    ]  # fmt: skip
    shown = (await run(settings, "rollups", "--workspace", workspace_id)).output
    periods = "7 dirty, from 2025-01-01T00:00:00.000Z to 2025-01-31T23:00:00.000Z"
    assert shown == f"{workspace_id}  {periods}; the sums of 1 pass are dirty\n"
    await seal.seal(business.worker, workspace_id)
    assert await dirty_starts(business) == []
    shown = (await run(settings, "rollups", "--workspace", workspace_id)).output
    assert shown == f"{workspace_id}  the sums of 1 pass are dirty\n"


async def test_wrong_sums_of_a_pass_are_computed_anew(business: Business, settings: Settings) -> None:
    """The token of sums follows from the write id of their pass. Under the same token, the wrong ones would stay."""
    periods = business.ctx.resources.db["pass_periods"]
    await business.record({"amount": 10, "currency": "EUR", "occurred_at": "2025-01-01T00:30:00Z"})
    await business.run_worker()
    await seal_passes_once(business.worker, business.ctx.workspace.id)
    await periods.update_many({}, {"$set": {"value": to_decimal128(Decimal(99))}})
    for arguments, marked in (([], {ALL_MONTHS}), (["--from", "2025-01-02", "--to", "2025-03-01"], {202501, 202502})):
        done = await run(settings, "rollups", "--rebuild", *arguments)
        assert done.exit_code == 0, done.output
        assert (await business.read_pass()).dirty_months == marked
        await seal_passes_once(business.worker, business.ctx.workspace.id)
        found = await rank_passes(business.ctx, SPEND + "EUR", JANUARY, JANUARY.replace(month=3), 9)
        assert [each.value for each in found] == [10]


async def test_a_period_that_is_none_is_refused_with_advice(business: Business, settings: Settings) -> None:
    for arguments, advice in (
        (["--rebuild", "--from", "2025-02-01", "--to", "2025-01-01"], "Give --to an instant after that of --from."),
        (["--from", "2025-02-01"], "Give --from and --to together with --rebuild."),
        (["--rebuild", "--from", "soon"], "'soon' is not an instant. Write it like 2025-01-01"),
        (["--rebuild", "--to", "3025-01-01"], "is not in the years 1900 to 2199"),
        (["--workspace", "ws_none"], "There is no workspace ws_none."),
    ):
        done = await run(settings, "rollups", *arguments)
        assert done.exit_code != 0
        assert advice in " ".join(done.output.replace("│", " ").split())
