"""Effects outside passes during a crash run: transfers of points, and rewards that a rule gives, with a stock.

They happen on passes of their own. The checks read what is stored, without the code of the walk and of react.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from decimal import Decimal
from typing import Any

from app.commands.context import Context
from app.commands.events.record import record_events
from app.commands.passes.passes import create_passes
from app.commands.rewards.rewards import create_reward
from app.commands.rules.rules import create_rule
from app.domain.events.events import EventInput
from app.domain.ids import event_id, outward_id
from app.domain.passes.inputs import PassInput
from app.store.codecs.guards import is_declined
from app.store.mongo.queries import Database

from .load import RECORD, Load

BANKS = tuple(f"bank{number}" for number in range(6))
"""External ids of the passes that send each other points, and scan for rewards."""
POINTS = 100
STOCK = 25
GIFT: dict[str, Any] = {
    "key": "gifts",
    "name": "Gifts",
    "trigger": {"event": {"types": ["scan"]}},
    "effects": [{"issueReward": {"rewardKey": "coffee"}}, {"issueReward": {"rewardKey": "cake"}}],
}
"""A rule with two effects outside the pass. There are few cakes."""
TRANSFER = """mutation Send($input: TransferPointsInput!) {
  transferPoints(input: $input) { transfer { status } userErrors { code message } }
}"""
FIND = "query Find($externalId: String!) { pass(externalId: $externalId) { id } }"


async def open_effects(ctx: Context) -> None:
    """Create the passes, each with some points, the rewards and the rule."""
    await create_passes(ctx, [PassInput(name) for name in BANKS])
    await record_events(
        ctx,
        [EventInput("point_add", pass_external_id=name, points=POINTS, external_id=f"{name}-points") for name in BANKS],
    )
    await create_reward(ctx, {"key": "coffee", "name": "Coffee", "pointsCost": 5})
    await create_reward(ctx, {"key": "cake", "name": "Cake", "limits": {"total": STOCK}})
    await create_rule(ctx, GIFT)


class Effects:
    """Clients that cause effects outside passes; stores what was acknowledged."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._numbers = itertools.count()
        self.transfers: set[str] = set()
        self.scans: set[str] = set()

    async def send_points(self) -> None:
        """Send points between the passes until the load stops, some of them twice, some more than a pass has."""
        load = self._load
        ids = {name: (await load.execute(FIND, {"externalId": name}))["pass"]["id"] for name in BANKS}
        while not load.stopping:
            await load.wait_for_room()
            first, second = load.random.sample(BANKS, 2)
            name = f"transfer-{next(self._numbers)}"
            sent = {
                "fromPassId": ids[first], "toPassId": ids[second], "externalId": name,
                "points": str(load.random.choice((1, 5, 20, 60))),
            }  # fmt: skip
            for _ in range(load.random.choice((1, 1, 2))):
                answer = (await load.execute(TRANSFER, {"input": sent}))["transferPoints"]
                if answer["userErrors"]:
                    load.errors.append(f"{name} was answered {answer}")
            self.transfers.add(name)
            await asyncio.sleep(load.random.uniform(0, 0.1))

    async def scan(self) -> None:
        """Record scans, for each of which the rule gives two rewards."""
        load = self._load
        while not load.stopping:
            await load.wait_for_room()
            name = f"scan-{next(self._numbers)}"
            event = {"passExternalId": load.random.choice(BANKS), "type": "scan", "externalId": name}
            await load.execute(RECORD, {"input": {"events": [event]}})
            self.scans.add(name)
            await asyncio.sleep(load.random.uniform(0, 0.1))

    async def find_problems(self, db: Database) -> list[str]:
        """Return every effect that was not made exactly once, and every balance or stock that is wrong."""
        cards = await db["passes"].find({"external_id": {"$in": list(BANKS)}}).to_list(None)
        workspace_id = cards[0]["workspace"]
        events = await db["events"].find({"pass": {"$in": [card["_id"] for card in cards]}}).to_list(None)
        by_id = {event["_id"]: event for event in events}
        return [
            *self._check_transfers(workspace_id, by_id),
            *self._check_rewards(workspace_id, by_id, await db["reward_units"].count_documents({})),
            *_check_balances(cards),
        ]

    def _check_transfers(self, workspace_id: str, by_id: dict[str, Any]) -> list[str]:
        found: list[str] = []
        sent = {name: by_id.get(event_id(workspace_id, "punchcard", name)) for name in self.transfers}
        second_ids = {
            each
            for each, event in by_id.items()
            if event["type"] == "points_transferred" and "from" in event["metadata"]
        }
        for name, event in sent.items():
            if event is None:
                found.append(f"{name} is lost")
                continue
            second_id = outward_id("event", event["_id"], 0)
            second = by_id.get(second_id)
            second_ids.discard(second_id)
            if second is not None and second["pass"] != event["metadata"]["to"]:
                found.append(f"{name} went to another pass")
            if (second is None) != is_declined(event):
                found.append(f"{name} has the outcome {event.get('outcome')}, and its second event is {second}")
        return found + [f"nobody sent the points of {each}" for each in second_ids]

    def _check_rewards(self, workspace_id: str, by_id: dict[str, Any], units: int) -> list[str]:
        found: list[str] = []
        fired = {e["origin"]["cause"]: e for e in by_id.values() if e["type"] == "rule_fired"}
        given: Counter[str] = Counter()
        redemptions = {each for each, event in by_id.items() if event["type"] == "redemption"}
        for name in self.scans:
            firing = fired.get(event_id(workspace_id, "api", name))
            if firing is None:
                found.append(f"{name} fired no rule")
                continue
            for result in firing["metadata"]["effects"]:
                [effect] = result["outward"].values()
                redemption = by_id.get(outward_id("event", firing["_id"], result["index"]))
                is_given = redemption is not None and not is_declined(redemption)
                if redemption is not None:
                    redemptions.discard(redemption["_id"])
                if is_given != (result["status"] == "SUCCEEDED"):
                    found.append(f"{name}: {result}, and the redemption is {redemption}")
                given[effect["rewardKey"]] += is_given
        if given["coffee"] != len(self.scans) or given["cake"] != min(STOCK, len(self.scans)):
            found.append(f"{len(self.scans)} scans gave {given}")
        if units != given["cake"]:
            found.append(f"{units} units are taken for {given['cake']} cakes")
        return found + [f"no firing gave the reward of {each}" for each in redemptions]


def _check_balances(cards: list[dict[str, Any]]) -> list[str]:
    points = {card["external_id"]: Decimal(str(card["points"])) for card in cards}
    found = [f"{name} has {each} points" for name, each in points.items() if each < 0]
    if sum(points.values()) != POINTS * len(BANKS):
        found.append(f"the points were {POINTS * len(BANKS)} together, and are {points}")
    return found
