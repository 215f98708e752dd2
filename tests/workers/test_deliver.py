"""Webhooks are delivered: everything that is shown, at least once, in order within a pass, whatever dies or fails.

Checklist 3.4.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from app.clock import system_ms
from app.commands.webhooks import create_webhook_endpoint
from app.domain.activities import Activity
from app.domain.lanes import LANES
from app.domain.signatures import Verification, signed
from app.domain.webhooks import WebhookEndpoint
from app.resources import Resources
from tests.business import Business, open_business
from tests.receiver import Receiver, receiving
from workers.deliver import carry


class Post:
    """A business with one endpoint; a round of its delivery is made when asked for, at an instant of its own clock."""

    def __init__(self, business: Business, receiver: Receiver, endpoint: WebhookEndpoint, secret: str) -> None:
        self.business, self.receiver, self.endpoint, self.secret = business, receiver, endpoint, secret
        self.now_ms = system_ms() + 1_000

    async def round(self, later_ms: int = 0, **options: Any) -> None:
        """Delivers until there is nothing to do, so much later than the round before."""
        self.now_ms += later_ms
        options.setdefault("chance", lambda: 0.0)
        await carry(options.pop("worker", self.business.worker), self.endpoint.id, lambda: self.now_ms, **options)

    async def lanes(self) -> dict[str, Any]:
        """What is stored of its lanes."""
        found = await self.business.ctx.resources.db["webhook_lanes"].find_one({"_id": self.endpoint.id})
        assert found is not None
        return found


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """A receiver on this machine."""
    async with receiving() as found:
        yield found


@pytest.fixture
async def post(resources: Resources, clock: Any, receiver: Receiver) -> Post:
    """A business that tells the receiver of everything."""
    settings = replace(resources.settings, egress_allow=("127.0.0.1",))
    business = await open_business(replace(resources, settings=settings), clock)
    return Post(business, receiver, *await create_webhook_endpoint(business.ctx, receiver.url))


def in_order(taken: list[str], feed: list[Activity]) -> bool:
    """Whether the activities of every pass were taken in the order of the log."""
    place = {activity.id: (activity.pass_id, activity.pos) for activity in feed}
    seen: dict[str, int] = {}
    for each in taken:
        card, pos = place[each]
        if seen.get(card, 0) > pos:
            return False
        seen[card] = pos
    return True


async def test_every_activity_arrives_once_signed_and_in_order_within_its_pass(post: Post) -> None:
    business = post.business
    await business.record(*({"pass_external_id": f"p{n % 40}", "external_id": str(n)} for n in range(200)))
    await business.settle()
    await post.round()
    feed = await business.feed()
    assert len(feed) > 200
    assert sorted(post.receiver.ids) == sorted(activity.id for activity in feed)
    assert in_order(post.receiver.ids, feed)
    for got in post.receiver.got:
        assert signed(Verification(), [post.secret], got.headers, got.body) is not None
        assert "." not in got.id
    assert post.receiver.connections <= LANES
