"""Rules of every trigger, tiers and a static list of a crash run, and the clients that use them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any

from app.commands.context import Context
from app.commands.rules.rules import create_rule
from app.commands.segments import create_segment
from app.commands.tiers import set_tier_program

from .load import MERGING, PASSES, START, Load

BUSY, VIP = "busy", "vip"
"""Keys of the segment that rules wait for, and of the one with a list."""
SPENDING = ("purchase", "checkout", "refund")
LEVELS = (("bronze", 100), ("silver", 600), ("gold", 3_000))
"""Tiers, the lowest first, each with the spend that reaches it. They last for ever, and corrections take them away."""
DOLLARS_A_POINT = (7, 3, 11)
"""Dollars for a point of the rule "points", by version: every further version repeats them."""
AWARDS_END = START + timedelta(minutes=25)
"""Instant at which the points of the rule "ends" expire."""
LIMIT, LIMIT_MS = 2, 600_000
CONTROL_PERCENT = 30
EVERY = 3
REACH = 40


def points_effects(version: int) -> list[dict[str, Any]]:
    """Return the effects of a version of the rule "points"."""
    each = DOLLARS_A_POINT[(version - 1) % len(DOLLARS_A_POINT)]
    return [{"awardPoints": {"perAmount": {"points": "1", "each": str(each)}}}, {"awardPoints": {"points": "1"}}]


def _rules(segments: dict[str, str]) -> list[dict[str, Any]]:
    bought = {"event": {"types": ["purchase", "checkout"]}}
    busy, vip = {"segmentId": segments[BUSY]}, {"segmentId": segments[VIP]}
    return [
        {"key": "points", "trigger": bought, "effects": points_effects(1)},
        {
            "key": "ends",
            "trigger": bought,
            "effects": [
                {"awardPoints": {"perAmount": {"points": "2", "each": "5"}, "expiresAt": AWARDS_END.isoformat()}},
                {"awardPoints": {"perAmount": {"points": "1", "each": "4", "rounding": "UP"}, "pendingDays": 1}},
            ],
        },
        {"key": "entered", "trigger": {"segmentEntered": busy},
         "effects": [{"recordEvent": {"type": "streak"}}, {"addToSegment": vip}]},
        {"key": "left", "trigger": {"segmentLeft": busy},
         "effects": [{"deductPoints": {"points": "1"}}, {"removeFromSegment": vip}]},
        {"key": "level", "trigger": {"tier": {"changes": ["JOINED", "UPGRADED", "DOWNGRADED", "LEFT"]}},
         "effects": [{"awardPoints": {"points": "3"}}, {"updatePass": {"fields": {"level": "{{ pass.tier }}"}}}]},
        {"key": "rich", "trigger": {"balance": {"pointsReach": str(REACH)}},
         "effects": [{"recordEvent": {"type": "wealth"}}]},
        {"key": "streaks", "trigger": {"event": {"types": ["streak"]}},
         "effects": [{"awardPoints": {"points": "2", "expiresAt": AWARDS_END.isoformat()}}]},
        {"key": "sorry", "trigger": {"event": {"types": ["refund", "checkout_reject"]}},
         "effects": [{"recordEvent": {"type": "apology", "metadata": {"of": "{{ event.externalId }}"}}}]},
        {"key": "third", "trigger": {"event": {"types": ["visit"]}}, "nth": {"every": EVERY},
         "effects": [{"deductPoints": {"points": "1"}}]},
        {"key": "some", "trigger": bought, "limits": {"perPass": {"count": LIMIT, "within": {"minutes": 10}}},
         "controlGroupPercent": CONTROL_PERCENT, "effects": [{"awardPoints": {"points": "5"}}]},
    ]  # fmt: skip


async def define_programs(ctx: Context, segments: dict[str, str]) -> dict[str, str]:
    """Create the list, the tiers and the rules. Return the ids of segments and rules by key, with those given."""
    ids = dict(segments)
    many = {"types": ["purchase"], "metric": "COUNT", "operator": "GTE", "value": 1_000_000}
    ids[VIP] = (await create_segment(ctx, VIP, VIP, {"event": many})).id
    tiers = [
        {"key": key, "name": key, "reach": {"event": {
            "types": list(SPENDING), "metric": "SUM", "operator": "GTE", "value": spend}}}
        for key, spend in LEVELS
    ]  # fmt: skip
    await set_tier_program(
        ctx, {"tiers": tiers, "period": {"forever": True}, "onCorrection": "REVERSE", "notify": "EMIT"}
    )
    for each in _rules(ids):
        ids[str(each["key"])] = (await create_rule(ctx, {"name": each["key"], **each})).id
    return ids


EDIT = "mutation Edit($input: UpdateRuleInput!) { updateRule(input: $input) { userErrors { code message } } }"
STATUS = "mutation Status($input: RuleInput!) { %s(input: $input) { userErrors { code message } } }"
LIST = "mutation List($input: SegmentListInput!) { %s(input: $input) { userErrors { code message } } }"


@dataclass
class Programs:
    """Clients that edit, pause and resume rules, and that change a list by hand."""

    load: Load
    ids: dict[str, str]

    async def edit_rules(self) -> None:
        """Edit one rule, and pause and resume another, until the load stops."""
        load, version, action = self.load, 1, "pauseRule"
        while not load.stopping:
            await asyncio.sleep(load.random.uniform(2, 6))
            version += 1
            edit = {"id": self.ids["points"], "effects": points_effects(version)}
            await self._call(EDIT, edit)
            await self._call(STATUS % action, {"id": self.ids["ends"]})
            action = "resumeRule" if action == "pauseRule" else "pauseRule"

    async def change_list(self) -> None:
        """Put passes on the list and take them off it until the load stops. None of them is ever removed."""
        load = self.load
        names = ["p0", *(f"p{number}" for number in range(PASSES - MERGING, PASSES))]
        while not load.stopping:
            await asyncio.sleep(load.random.uniform(0.2, 1))
            change = {"segmentId": self.ids[VIP], "passExternalIds": [load.random.choice(names)]}
            change["list"] = load.random.choice(("INCLUDE", "INCLUDE", "EXCLUDE"))
            await self._call(LIST % load.random.choice(("addToSegment", "removeFromSegment")), change)

    async def _call(self, query: str, sent: dict[str, Any]) -> None:
        [answer] = (await self.load.execute(query, {"input": sent})).values()
        # A pass may not exist yet, and another definition may be made at the same time.
        if {error["code"] for error in answer["userErrors"]} - {"UNKNOWN", "CONFLICT", "RATE_LIMITED", "LIMIT"}:
            self.load.errors.append(f"{sent} was answered {answer}")


def spend_of(events: list[dict[str, Any]]) -> Decimal:
    """Return the spend in stored events that count for the tiers."""
    signs = {"purchase": 1, "checkout": 1, "checkout_increased": 1, "refund": -1, "checkout_decreased": -1}
    return sum((signs.get(e["type"], 0) * e["amount"].to_decimal() for e in events if "amount" in e), Decimal(0))
