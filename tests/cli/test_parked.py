"""`punchcard parked` lists what the workers gave up on, and releases it."""

from __future__ import annotations

from app.config.settings import Settings
from tests.business import Business
from tests.cli.test_keys import run
from tests.parking import park_transfer


async def test_effects_that_failed_for_long_are_listed_and_released(business: Business, settings: Settings) -> None:
    effect_id = await park_transfer(business)
    ann = await business.read_pass()
    listed = (await run(settings, "parked")).output
    line = f"{effect_id}  {business.ctx.workspace.id}  receivePoints of {ann.id}: Not now.\n"
    assert listed == f"{line}0 passes and 1 effect parked.\n"
    assert (await run(settings, "parked", "--rerun")).output == f"{line}0 passes and 1 effect released.\n"
    await business.run_worker()
    assert (await business.read_pass("bob")).points == 30
    assert (await run(settings, "parked")).output == "0 passes and 0 effects parked.\n"


async def test_effects_that_were_refused_are_left_to_the_business(business: Business, settings: Settings) -> None:
    await park_transfer(business, "SOLD_OUT")
    assert (await run(settings, "parked", "--rerun")).output == "0 passes and 0 effects released.\n"
