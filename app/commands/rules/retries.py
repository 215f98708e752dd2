"""retryRuleFirings: make the failed effects of firings again.

For effects inside the pass, it records internal events, whose walk makes them. Effects outside the pass are parked, and
the stage `react` makes them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime

from app.clock import system_ms
from app.commands.audit import record_audit_entry
from app.commands.context import Context
from app.commands.parked_effects import wake_react
from app.domain.errors import Code, InvalidInput, LimitExceeded, Problem, refuse_if
from app.domain.events.events import RULE_FIRED, RULE_RETRIED, Event
from app.domain.events.own_events import own_event
from app.domain.rules.rules import Rule, RuleStatus
from app.domain.rules.statistics import FiringQuery, FiringStatus, failed_effects, ids_of_failed
from app.store.mongo.ids import ordered_id
from app.store.mongo.paging import PageRequest

from .rules import find_rule

MAX_NAMED_FIRINGS = 1_000
"""Firings that one call of retryRuleFirings names."""
MAX_RETRIED_FIRINGS = 10_000
"""Firings of one rule that one call retries."""
_PAGE = 1_000


async def retry_rule_firings(ctx: Context, *, ids: Sequence[str | None] | None, rule_id: str | None) -> int:
    """Record a retry for each firing with a failed effect that was not made yet, and return their number.

    Name firings by their ids (None stands for an id of another kind), or all those of a rule. Safe to repeat: the walk
    makes an effect once. Raises NotFound, Refused and Unavailable.
    """
    if (ids is None) == (rule_id is None):
        raise InvalidInput(Code.INVALID, "Give exactly one of ids and ruleId.", "ids")
    if rule_id is not None:
        rule = await find_rule(ctx, rule_id, "ruleId")
        refuse_if(_find_obstacles([rule], {rule.id: ("ruleId",)}))
        firings = await _find_failed(ctx, rule_id)
    else:
        firings = await _find_named(ctx, ids or ())
    for subject_id, number in Counter(fired.origin.rule or "" for fired in firings).items():
        await record_audit_entry(ctx, "retryRuleFirings", "Rule", subject_id, firings=str(number))
    now = await ctx.now()
    for start in range(0, len(firings), _PAGE):
        page = firings[start : start + _PAGE]
        events = [_retry_of(ctx, fired, now) for fired in page if failed_effects(fired)]
        await ctx.workspace.events.insert([(event, b"") for event in events])
        ctx.resources.wake_fold(ctx.workspace.id, {event.pass_id for event in events})
        if parked := [fired.id for fired in page if failed_effects(fired, outward=True)]:
            await ctx.workspace.reactions.requeue(parked, system_ms())
            await wake_react(ctx)
    return len(firings)


async def _find_named(ctx: Context, ids: Sequence[str | None]) -> list[Event]:
    """Return those of the named firings that can be retried. Raises Refused with a problem for each other id."""
    if not 0 < len(ids) <= MAX_NAMED_FIRINGS:
        code = Code.TOO_MANY if ids else Code.REQUIRED
        raise InvalidInput(code, f"Name 1 to {MAX_NAMED_FIRINGS:,} firings with `ids`.", "ids")
    found = await ctx.workspace.events.get_many({each for each in ids if each is not None})
    firings = {key: event for key, event in found.items() if event.type == RULE_FIRED}
    refuse_if(
        Problem(Code.UNKNOWN, "No such firing in this workspace.", ("ids", str(index)))
        for index, each in enumerate(ids)
        if each not in firings
    )
    paths = {firings[each].origin.rule or "": ("ids", str(i)) for i, each in enumerate(ids) if each in firings}
    rules = await ctx.workspace.rules.get_many(paths)
    refuse_if(_find_obstacles(list(rules.values()), paths))
    return await _select_unmade(ctx, list(firings.values()))


async def _find_failed(ctx: Context, rule_id: str) -> list[Event]:
    """Return the firings of a rule that can be retried. Raises LimitExceeded if there are too many."""
    failed: list[Event] = []
    query, after = FiringQuery(rule_id=rule_id, status=FiringStatus.FAILED), None
    while True:
        page = await ctx.workspace.firings.page(query, PageRequest(_PAGE, after=after))
        failed += await _select_unmade(ctx, page.items)
        if len(failed) > MAX_RETRIED_FIRINGS:
            message = f"More than {MAX_RETRIED_FIRINGS:,} firings of this rule failed; name a part of them with `ids`."
            raise LimitExceeded(message, "ruleId")
        if not page.has_more:
            return failed
        after = (page.items[-1].occurred_ms, page.items[-1].id)


async def _select_unmade(ctx: Context, firings: Sequence[Event]) -> list[Event]:
    """Return the firings with a failed effect that no retry has made yet."""
    made_ids = {fired.id: ids_of_failed(fired) for fired in firings}
    made = await ctx.workspace.events.get_many([each for ids in made_ids.values() for each in ids])
    with_outward = [fired.id for fired in firings if failed_effects(fired, outward=True)]
    parked = await ctx.workspace.reactions.parked_among(with_outward) if with_outward else set()
    return [fired for fired in firings if fired.id in parked or not made.keys() >= made_ids[fired.id]]


def _find_obstacles(rules: Sequence[Rule], paths: Mapping[str, tuple[str, ...]]) -> list[Problem]:
    """Return a problem for each rule that is not in force: no version of it can make the effects."""
    message = "The rule of this firing is not ACTIVE, so nothing can be made again; resume it with resumeRule first."
    return [Problem(Code.CONFLICT, message, paths[rule.id]) for rule in rules if rule.status is not RuleStatus.ACTIVE]


def _retry_of(ctx: Context, fired: Event, now: datetime) -> Event:
    return own_event(
        ordered_id("event"),
        fired.pass_id,
        RULE_RETRIED,
        at=now,
        origin=ctx.origin,
        metadata={"firing": fired.id},
        root=fired.family,
    )
