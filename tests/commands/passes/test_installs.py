"""Installation events: they set since when a customer has the pass, and whether the pass is active."""

from __future__ import annotations

from datetime import timedelta

import pytest

from app.commands.passes.passes import create_passes, update_pass
from app.commands.passes.removals import remove_events
from app.domain.passes.inputs import PassInput
from app.domain.passes.passes import Pass
from app.domain.values.instants import format_instant
from tests.business import Business, list_transitions, no_purchase_for

DAY = timedelta(days=1)


async def remove(business: Business, *event_ids: str) -> None:
    """Remove events of Ann and run the worker."""
    card = await business.read_pass()
    await remove_events(business.ctx, [(card.id, event_id) for event_id in event_ids])
    await business.run_worker()


async def record(business: Business, kind: str, days_ago: int = 0) -> str:
    """Record an installation event of Ann and run the worker; return the id of the event."""
    at = await business.clock.now() - days_ago * DAY
    [result] = (await business.record({"type": kind, "amount": None, "occurred_at": format_instant(at)})).results
    await business.run_worker()
    assert result.event is not None
    return result.event.id


async def test_earliest_installation_is_the_instant_of_installation_whatever_the_order(business: Business) -> None:
    """Installing and uninstalling change the pass (WH1-03)."""
    now = await business.clock.now()
    await record(business, "pass_installed")
    assert (await business.read_pass()).installed_at == now
    earlier = await record(business, "pass_installed", days_ago=3)
    assert (await business.read_pass()).installed_at == now - 3 * DAY
    await record(business, "pass_installed", days_ago=1)
    assert (await business.read_pass()).installed_at == now - 3 * DAY
    await remove(business, earlier)
    assert (await business.read_pass()).installed_at == now - 1 * DAY


async def test_given_installation_stays_and_a_repeated_creation_is_a_duplicate(business: Business) -> None:
    given = PassInput("ann", installed_at="2025-01-01T00:00:00Z")
    await create_passes(business.ctx, [given])
    await record(business, "pass_installed", days_ago=1000)
    assert format_instant((await business.read_pass()).joined_at) == "2025-01-01T00:00:00.000Z"
    assert [result.status.value for result in await create_passes(business.ctx, [given])] == ["DUPLICATE"]


async def test_creation_is_repeatable_after_an_installation_event(business: Business) -> None:
    await business.create_passes("ann")
    await record(business, "pass_installed")
    assert [each.status.value for each in await create_passes(business.ctx, [PassInput("ann")])] == ["DUPLICATE"]


@pytest.mark.parametrize(
    ("before", "kinds", "after"),
    [
        ("ACTIVE", ["pass_uninstalled"], "INACTIVE"),
        ("ACTIVE", ["pass_uninstalled", "pass_installed"], "ACTIVE"),
        ("INACTIVE", ["pass_installed"], "ACTIVE"),
        ("EXPIRED", ["pass_installed", "pass_uninstalled"], "EXPIRED"),
        ("REVOKED", ["pass_uninstalled", "pass_installed"], "REVOKED"),
    ],
)
async def test_installation_changes_the_status_between_active_and_inactive(
    business: Business, before: str, kinds: list[str], after: str
) -> None:
    [card] = await business.create_passes("ann")
    await update_pass(business.ctx, card.id, status=before)
    await business.run_worker()
    for kind in kinds:
        business.clock.set(await business.clock.now() + timedelta(minutes=1))
        await record(business, kind)
    assert (await business.read_pass()).profile.status == after


async def test_late_removal_from_the_wallet_leaves_a_pass_active_that_was_installed_later(business: Business) -> None:
    await record(business, "pass_installed", days_ago=1)
    late = await record(business, "pass_uninstalled", days_ago=2)
    assert (await business.read_pass()).profile.status == "ACTIVE"
    later = await record(business, "pass_uninstalled")
    assert (await business.read_pass()).profile.status == "INACTIVE"
    await remove(business, late, later)
    assert (await business.read_pass()).profile.status == "ACTIVE"


async def test_days_since_joining_count_from_the_installation_event(business: Business) -> None:
    idle = await business.create_segment("idle", no_purchase_for(30))
    [card] = await business.create_passes("ann")
    start = await business.clock.now()
    business.clock.set(start + 10 * DAY)
    await record(business, "pass_installed")
    business.clock.set(start + 60 * DAY)
    await business.run_worker()
    log = await business.read_log()
    assert [(at, is_entry) for _, at, is_entry in list_transitions(log, idle)] == [(start + 40 * DAY, True)]
    assert (await read(business, card.id)).installed_at == start + 10 * DAY


async def test_late_installation_makes_a_member_with_the_event_as_cause(business: Business) -> None:
    idle = await business.create_segment("idle", no_purchase_for(30))
    await business.create_passes("ann")
    await business.run_worker()
    event_id = await record(business, "pass_installed", days_ago=40)
    [entered] = await business.read_log(segment_ids=[idle.id], include_silent=True)
    assert (entered.cause, entered.late) == ({"kind": "EVENT", "event": event_id}, True)


async def read(business: Business, pass_id: str) -> Pass:
    card = await business.ctx.workspace.passes.get(pass_id)
    assert card is not None
    return card
