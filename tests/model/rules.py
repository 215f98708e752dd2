"""Rules in the model: the steps of a business that uses them, and what must hold for the points that they gave."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Any

from app.commands.context import Context
from app.commands.rules.rules import create_rule, update_rule
from app.commands.segments import create_segment
from app.domain.errors import Conflict
from app.domain.events.events import LIST_ADDED, LIST_EVENTS, RULE_FIRED, RULE_RETRIED, Event
from app.domain.events.spend import signed_amount
from app.domain.passes.lists import INCLUDE
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


NOTED: dict[str, object] = {
    "trigger": {"event": {"types": ["purchase"]}},
    "effects": [{"recordEvent": {"type": "note", "metadata": {"text": "{{ event.metadata.missing }}"}}}],
}
"""A rule whose effect fails until `mend_noted`."""
BIG = 150
LISTED: dict[str, dict[str, Any]] = {
    "vip": {"trigger": {"event": {"types": ["purchase"], "amountMin": str(BIG)}}, "effects": ["addToSegment"]},
    "unvip": {"trigger": {"event": {"types": ["refund"]}}, "effects": ["removeFromSegment"]},
}
"""Rules that put a pass on the list of the segment "list", and take it off."""

REACHED: dict[str, object] = {
    "trigger": {"balance": {"pointsReach": str(REACH)}},
    "effects": [{"recordEvent": {"type": "milestone"}}],
}


async def define_rules(ctx: Context) -> dict[str, str]:
    """Create the rules and a segment with a list, and return their ids by key. Safe to repeat."""
    ids = {"list": await _define_list(ctx)}
    of_list: dict[str, dict[str, object]] = {
        key: {**each, "effects": [{effect: {"segmentId": ids["list"]}} for effect in each["effects"]]}
        for key, each in LISTED.items()
    }
    for key, definition in {
        "points": definition_of(PER_VERSION[0]),
        "reached": REACHED,
        "noted": NOTED,
        **of_list,
    }.items():
        try:
            ids[key] = (await create_rule(ctx, {"key": key, "name": key, **definition})).id
        except Conflict:
            # The first call created the rule, and its reply was lost.
            found = await ctx.workspace.rules.by_key(key)
            assert found is not None
            ids[key] = found.id
    return ids


async def _define_list(ctx: Context) -> str:
    try:
        return (await create_segment(ctx, "list", "list", {"list": True})).id
    except Conflict:
        found = await ctx.workspace.segments.by_key("list")
        assert found is not None
        return found.id


async def mend_noted(ctx: Context) -> None:
    """Let the effect of the rule "noted" succeed from now on. Safe to repeat."""
    found = await ctx.workspace.rules.by_key("noted")
    assert found is not None
    await update_rule(ctx, found.id, {"effects": [{"recordEvent": {"type": "note", "metadata": {"text": "mended"}}}]})


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
        self._check_notes(on_pass, exact=exact)
        self._check_list(card, on_pass)
        bought = {event.id for event in on_pass if event.type == "purchase" and event.occurred_ms > self._starts[0]}
        assert bought <= set(causes), "a rule did not fire for a purchase"
        if exact:
            assert bought == set(causes), "a rule fired for no purchase"
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

    def _check_notes(self, on_pass: Sequence[Event], *, exact: bool) -> None:
        """Check that each failed effect that was retried was made once, when the first retry counted."""
        notes: dict[str, list[Event]] = {}
        for event in on_pass:
            if event.type == "note":
                notes.setdefault(event.origin.cause or "", []).append(event)
        assert all(len(each) == 1 for each in notes.values()), "an effect was made twice"
        firings = [e for e in on_pass if e.type == RULE_FIRED and e.origin.rule == self._rule_ids["noted"]]
        for firing in firings:
            made = notes.get(firing.origin.cause or "", [])
            retries = [e.occurred_ms for e in on_pass if e.type == RULE_RETRIED and e.metadata["firing"] == firing.id]
            has_failed = "FAILED" in str(firing.metadata["effects"])
            assert bool(made) or has_failed, "an effect succeeded and made nothing"
            assert not (made and has_failed) or retries, "an effect that failed was made without a retry"
            if exact and retries and has_failed:
                assert [e.occurred_ms for e in made] == [min(retries)], "a retried effect was not made at the retry"

    def _check_list(self, card: Pass, on_pass: Sequence[Event]) -> None:
        """Check that the last change of the list decides about the membership."""
        is_listed = False
        for event in sorted(on_pass, key=lambda each: (each.occurred_ms, each.step, each.id)):
            if event.type in LIST_EVENTS and event.metadata["list"] == INCLUDE:
                is_listed = event.type == LIST_ADDED
        assert is_listed is (self._rule_ids["list"] in card.memberships), "the list and the membership disagree"

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
            net[root] += signed_amount(event)
            balance += sum(points_for(versions[root], index, net[root]) for index in (0, 1)) - old
            if before < REACH <= balance:
                expected.append(event.occurred_ms)
        reached = sorted(
            event.occurred_ms
            for event in on_pass
            if event.type == RULE_FIRED and event.origin.rule == self._rule_ids["reached"]
        )
        assert reached == expected, "a reached balance was missed"
