"""A transfer whose second event workers could not record: the effect is parked."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

from app.commands.points.transfers import transfer_points
from app.domain.reactions.parked import UNAVAILABLE, ParkedQuery, Refusal
from app.store.mongo.paging import PageRequest
from tests.business import Business


async def park_transfer(business: Business, code: str = UNAVAILABLE) -> str:
    """Send 30 points from ann to bob, and let workers give up on the second event. Return the id of the parked effect."""

    async def refuse(*_: Any) -> Refusal:
        return Refusal(code, "Not now.")

    await business.record(
        {"pass_external_id": "ann", "type": "point_add", "points": 100}, {"pass_external_id": "bob", "type": "visit"}
    )
    await business.run_worker()
    ids = await business.ctx.workspace.passes.ids_of(["ann", "bob"])
    await transfer_points(business.ctx, ids["ann"], ids["bob"], 30)
    with patch("workers.reactions.performing.receive_points", refuse):
        await business.run_worker()
    page = await business.ctx.workspace.reactions.page(ParkedQuery(pass_ids=(ids["ann"],)), PageRequest(9))
    return page.items[0].reaction.id
