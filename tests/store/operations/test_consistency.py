"""`punchcard check` finds nothing in what the product stores, and each kind of damage by workspace and id."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from click.testing import CliRunner

from app.cli.main import main
from app.commands.passes.merges import merge_passes
from app.commands.passes.removals import erase_pass
from app.commands.segments import archive_segment, update_segment
from app.domain.ids import slot_of
from app.store.operations import consistency
from app.store.operations.consistency import ALL_SLOTS, ConsistencyCheck, Finding, id_ranges
from tests.business import Business, bought_within, purchases


async def find_all(business: Business) -> list[Finding]:
    """Run all parts of the check and return the findings."""
    findings: list[Finding] = []
    checks = ConsistencyCheck(business.ctx.resources.db, 100)
    await checks.check_indexes(findings.append)
    for workspace_id in await checks.workspaces():
        await checks.check_log(workspace_id, findings.append)
        await checks.check_reactions(workspace_id, findings.append)
    for slot in ALL_SLOTS:
        await checks.check_pending(slot, findings.append)
    await checks.check_passes(findings.append, lambda count: None)
    await checks.check_parked(findings.append)
    return findings


@pytest.fixture
async def shop(business: Business) -> Business:
    """Return a business with passes in segments, some of them merged, erased, or left by time and by changes."""
    await business.create_segment("buyers", purchases(1))
    recent = await business.create_segment("recent", bought_within(3), notify="EMIT")
    archived = await business.create_segment("archived", purchases(1))
    for name in ("ann", "bob", "eve", "dan"):
        await business.record({"pass_external_id": name, "amount": 1}, {"pass_external_id": name, "amount": 2})
    await business.run_worker()
    business.clock.set(await business.clock.now() + timedelta(days=5))
    await business.run_worker()
    ids = await business.ctx.workspace.passes.ids_of(["ann", "bob"])
    await merge_passes(business.ctx, ids["ann"], ids["bob"])
    await erase_pass(business.ctx, external_id="eve")
    await update_segment(business.ctx, recent.id, criteria=bought_within(30))
    await archive_segment(business.ctx, archived.id)
    for _ in range(3):
        await business.run_worker()
    return business


async def test_nothing_is_found_at_any_stage_of_the_flow(shop: Business) -> None:
    assert await find_all(shop) == []
    await shop.record({"pass_external_id": "dan", "amount": 3}, {"pass_external_id": "new", "amount": 3})
    assert await find_all(shop) == []
    sweep_steps = ("fold", "publish")
    for stage in sweep_steps:
        await getattr(_sweep(shop), stage)()
        assert await find_all(shop) == []


def _sweep(business: Business) -> object:
    from workers.main import STAGES
    from workers.sweep import Sweep

    return Sweep(business.worker, STAGES)


async def test_each_kind_of_damage_is_found(shop: Business) -> None:
    db, workspace_id = shop.ctx.resources.db, shop.ctx.workspace.id
    dan = await shop.read_pass("dan")
    [buyers] = [segment for segment in dan.memberships if (await _key(shop, segment)) == "buyers"]

    async def only_finding() -> Finding:
        [finding] = await find_all(shop)
        assert finding.workspace_id == workspace_id
        return finding

    await db["passes"].update_one({"_id": dan.id}, {"$push": {"lb": "event_none"}})
    assert await only_finding() == Finding(
        workspace_id, dan.id, "The last fold counted the event event_none, which does not exist."
    )
    await db["passes"].update_one({"_id": dan.id}, {"$pull": {"lb": "event_none"}})

    await db["passes"].update_one({"_id": dan.id}, {"$pull": {"memberships": {"s": buyers}}})
    assert (await only_finding()).text == f"By its activities it entered {buyers}, but it is no member."
    membership = {"s": buyers, "since": 0, "rev": 1, "c": {}}
    await db["passes"].update_one({"_id": dan.id}, {"$push": {"memberships": membership}})
    await db["passes"].update_one({"_id": dan.id}, {"$push": {"memberships": {**membership, "s": "seg_x"}}})
    assert (await only_finding()).text == "It is a member of seg_x without an activity that it entered."
    await db["passes"].update_one({"_id": dan.id}, {"$pull": {"memberships": {"s": "seg_x"}}})

    name = await db["pass_names"].find_one_and_delete({"pass": dan.id})
    assert "punchcard migrate --names" in (await only_finding()).text
    await db["pass_names"].insert_one({**name, "pass": "pass_other"})
    assert (await only_finding()).text == "Its external id belongs to the pass pass_other."
    await db["pass_names"].replace_one({"_id": name["_id"]}, name)

    await db["passes"].update_one({"_id": dan.id}, {"$inc": {"n": 1}})
    assert "log and outbox end at" in (await only_finding()).text
    await db["passes"].update_one({"_id": dan.id}, {"$inc": {"n": -1}})

    waiting = {"workspace": workspace_id, "pass": "pass_none", "occurred_at": await shop.clock.now()}
    await db["events"].insert_one({"_id": "event_x", **waiting, "pend": slot_of("pass_none")})
    found = await only_finding()
    assert (found.id, found.text) == ("event_x", "The event waits for the pass pass_none, which does not exist.")
    await db["events"].update_one({"_id": "event_x"}, {"$set": {"pass": dan.id, "pend": (slot_of(dan.id) + 1) % 64}})
    assert "its pass" in (await only_finding()).text
    await db["events"].delete_one({"_id": "event_x"})
    await shop.ctx.workspace.reactions.announce_work(0)
    await db["react_lanes"].update_one({"_id": workspace_id}, {"$set": {"next": [1_000] * 16}})
    found = await only_finding()
    assert (found.id, "React has read up to 999" in found.text) == ("react", True)
    await db["react_lanes"].delete_one({"_id": workspace_id})
    assert await find_all(shop) == []

    await db["activities"].delete_one({"workspace": workspace_id, "pass": dan.id, "n": 2})
    missing = {finding.id: finding.text for finding in await find_all(shop)}
    assert set(missing) == {"log", dan.id}
    assert missing["log"].startswith("1 positions are missing in the log: ")
    assert missing[dan.id] == "Its activities have a gap after number 1."


async def _key(business: Business, segment_id: str) -> str | None:
    segment = await business.ctx.workspace.segments.get(segment_id)
    return None if segment is None else segment.key


async def test_pass_that_changes_while_it_is_read_is_no_finding(
    shop: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the read of the pass and that of its activities, a worker folds and publishes two more events."""
    read_numbers = ConsistencyCheck._read_numbers
    changes = 0

    async def change_first(check: ConsistencyCheck, *args: object) -> None:
        nonlocal changes
        if not changes:
            changes += 1
            await shop.record({"pass_external_id": "dan", "amount": 1}, {"pass_external_id": "new"})
            await shop.run_worker()
        await read_numbers(check, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(ConsistencyCheck, "_read_numbers", change_first)
    assert await find_all(shop) == []
    assert changes == 1


async def test_every_pass_is_compared_in_parts_of_bounded_size(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consistency, "PASSES_READ", 3)
    await business.create_passes(*(f"p{number}" for number in range(20)))
    await business.run_worker()
    sizes: list[int] = []
    compare = ConsistencyCheck._compare

    async def note_size(check: ConsistencyCheck, cards: list[object]) -> object:
        sizes.append(len(cards))
        return await compare(check, cards)  # type: ignore[arg-type]

    monkeypatch.setattr(ConsistencyCheck, "_compare", note_size)
    assert await find_all(business) == []
    assert (sum(sizes), max(sizes) <= 3) == (20, True)


@pytest.mark.parametrize("number", [1, 2, 7, 65_536, 100_000])
def test_ranges_of_ids_hold_every_id_once(number: int) -> None:
    ranges = list(id_ranges(number))
    assert len(ranges) == min(number, 65_536)
    for pass_id in ("pass_0000aa", "pass_7fffff", "pass_ffffff", "pass_none", "a", "z"):
        assert sum(low <= pass_id < high for low, high in ranges) == 1


async def test_command_prints_findings_and_ends_with_status_1(shop: Business) -> None:
    settings = shop.ctx.resources.settings
    environment = {**settings.to_env(), "PUNCHCARD_DATABASE": settings.database}
    good = await asyncio.to_thread(lambda: CliRunner().invoke(main, ["check"], env=environment))
    assert (good.exit_code, good.stdout) == (0, "")
    assert "0 pending events and 3 passes.\nNo findings.\n" in good.stderr
    dan = await shop.read_pass("dan")
    await shop.ctx.resources.db["passes"].update_one({"_id": dan.id}, {"$push": {"lb": "event_none"}})
    bad = await asyncio.to_thread(lambda: CliRunner().invoke(main, ["check"], env=environment))
    assert bad.exit_code == 1
    assert bad.stdout.startswith(f"{shop.ctx.workspace.id}  {dan.id}  The last fold counted ")
