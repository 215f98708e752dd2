"""Rules in the model: the steps of a business that uses them, and what must hold for the points that they gave."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from decimal import Decimal

from app.commands.context import Context
from app.commands.rules.rules import create_rule, update_rule
from app.domain.errors import Conflict
from app.domain.events.events import RULE_FIRED, Event
from app.domain.passes.passes import Pass
from app.domain.values.instants import to_ms

from .memory import Doc

PER_VERSION = (20, 30, 7)
"""Dollars for one point, by version of the rule "points"."""
REACH = 10
"""Balance at which the rule "reached" fires."""
AMOUNTS = (1, 60, 150)


def definition_of(each: int) -> dict[str, object]:
    """Return the rule "points": one point for so many dollars, and one for each purchase."""
    return {
        "trigger": {"event": {"types": ["purchase"]}},
        "effects": [
            {"awardPoints": {"perAmount": {"points": "1", "each": str(each)}}},
            {"awardPoints": {"points": "1"}},
        ],
    }


REACHED = {
    "trigger": {"balance": {"pointsReach": str(REACH)}},
    "effects": [{"recordEvent": {"type": "milestone"}}],
}


async def define_rules(ctx: Context) -> dict[str, str]:
    """Create both rules and return their ids by key. Safe to repeat."""
    ids = {}
    for key, definition in (("points", definition_of(PER_VERSION[0])), ("reached", REACHED)):
        try:
            ids[key] = (await create_rule(ctx, {"key": key, "name": key, **definition})).id
        except Conflict:
            # The first call created the rule, and its reply was lost.
            found = await ctx.workspace.rules.by_key(key)
            assert found is not None
            ids[key] = found.id
    return ids


async def edit_points(ctx: Context, version: int) -> None:
    """Give the rule "points" its next version. Safe to repeat."""
    found = await ctx.workspace.rules.by_key("points")
    assert found is not None
    await update_rule(ctx, found.id, {"effects": definition_of(PER_VERSION[version - 1])["effects"]})


def delay_of_refund(quarters: int) -> timedelta:
    """Return how long after the purchase a refund occurs: never at an instant of another event."""
    return timedelta(hours=quarters, milliseconds=7)


def points_for(version: int, index: int, net: Decimal) -> int:
    """Return the points of an effect under a version, for a net amount."""
    if net <= 0:
        return 0
    return int(net // PER_VERSION[version - 1]) if index == 0 else 1


class RuleInvariants:
    """The events that rules made, compared with the purchases and refunds that count."""

    def __init__(self, events: Sequence[Event], versions: Sequence[Doc], rule_ids: Mapping[str, str]) -> None:
        self._events = events
        self._rule_ids = rule_ids
        self._starts = [
            to_ms(doc["at"])
            for doc in sorted(versions, key=lambda doc: int(doc["rev"]))
            if doc.get("subject") == rule_ids.get("points")
        ]

    def check(self, card: Pass, *, exact: bool) -> None:
        """Check the points of one pass. With `exact`, nothing was late, removed or merged."""
        on_pass = [event for event in self._events if event.pass_id == card.id]
        made = [event for event in on_pass if event.is_made]
        assert card.points == sum((event.points for event in made), Decimal(0)), "points were lost or given twice"
        fired = [event for event in made if event.origin.rule == self._rule_ids["points"] and event.type == RULE_FIRED]
        causes = [event.origin.cause for event in fired]
        assert len(set(causes)) == len(causes), "a rule fired twice for one purchase"
        for firing in fired:
            self._check_firing(firing, on_pass, exact=exact)
        if exact:
            bought = {event.id for event in on_pass if event.type == "purchase" and event.occurred_ms > self._starts[0]}
            assert bought == set(causes), "a rule did not fire for a purchase"
            self._check_reached(on_pass)

    def _check_firing(self, firing: Event, on_pass: Sequence[Event], *, exact: bool) -> None:
        cause = firing.origin.cause
        bought = next((event for event in on_pass if event.id == cause), None)
        net = Decimal(0) if bought is None else self._net(bought, on_pass)
        version = firing.origin.rule_version or 0
        for index in (0, 1):
            given = [
                event
                for event in on_pass
                if event.is_made
                and (event.origin.rule, event.origin.effect) == (firing.origin.rule, index)
                and (event.origin.target or event.origin.cause) == cause
            ]
            total = sum(int(event.points) for event in given)
            assert total == points_for(version, index, net), "points do not follow the net amount"
        if exact and bought is not None:
            assert firing.occurred_ms == bought.occurred_ms, "a rule fired at another instant"
            expected = sum(start < bought.occurred_ms for start in self._starts)
            assert version == expected, "another version of the rule fired"

    def _net(self, bought: Event, on_pass: Sequence[Event]) -> Decimal:
        refunds = [event.amount or Decimal(0) for event in on_pass if event.correction_of == bought.id]
        return (bought.amount or Decimal(0)) - sum(refunds, Decimal(0))

    def _check_reached(self, on_pass: Sequence[Event]) -> None:
        """Check the instants at which the balance rose to REACH, from the purchases and refunds alone."""
        recorded = sorted((e for e in on_pass if not e.is_made), key=lambda e: e.order)
        balance, expected = 0, []
        net: dict[str, Decimal] = {}
        versions: dict[str, int] = {}
        for event in recorded:
            before, root = balance, event.family
            if event.type == "purchase":
                versions[root] = sum(start < event.occurred_ms for start in self._starts)
                net[root] = Decimal(0)
            if not versions.get(root):
                continue
            old = sum(points_for(versions[root], index, net[root]) for index in (0, 1))
            net[root] += event.signed_amount
            balance += sum(points_for(versions[root], index, net[root]) for index in (0, 1)) - old
            if before < REACH <= balance:
                expected.append(event.occurred_ms)
        reached = sorted(
            event.occurred_ms
            for event in on_pass
            if event.type == RULE_FIRED and event.origin.rule == self._rule_ids["reached"]
        )
        assert reached == expected, "a reached balance was missed"
