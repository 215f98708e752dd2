"""Retries of effects that failed: an event of the type RULE_RETRIED names a firing, and the walk makes its effects again.

The version of the rule that is in force makes them, at the instant of the retry, under the ids that they would have had.
So an effect is made once, however often a firing is retried.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from app.domain.events.events import RULE_FIRED, RULE_INCLUDED, RULE_RETRIED, Event
from app.domain.rules.made import Cause
from app.domain.rules.occurrences import is_of_merge
from app.domain.rules.rules import RuleVersion
from app.domain.rules.statistics import failed_effects

from .lacks import DataMissing
from .walk import Walk

EVENT_PREFIX = "event_"
"""Beginning of the ids of events. A cause with another id is an activity."""


def make_retried_effects(walk: Walk, at_ms: int, events: Sequence[Event]) -> list[Event]:
    """Return what the retries among the events that counted at an instant make. It does not count yet.

    A retry makes nothing if the rule is not in force, if the cause was removed, or while a merge moves the firing. Raises
    DataMissing.
    """
    retries = [event for event in events if event.type == RULE_RETRIED and not is_of_merge(event)]
    unread = [event.family for event in retries if not walk.has_family(event.family)]
    if unread:
        raise DataMissing(families=frozenset(unread))
    rules = {rule.rule_id: rule for rule in walk.active.rules}
    made: dict[str, Event] = {}
    for retry in retries:
        members = {event.id: event for event in walk.family_members(retry.family) or ()}
        fired = members.get(str(retry.metadata.get("firing")))
        rule = rules.get(fired.origin.rule or "") if fired is not None and fired.type == RULE_FIRED else None
        if fired is not None and rule is not None:
            # A merge may have brought here what an earlier retry made on the merged pass, and it waits to be counted.
            done = made.keys() | {event.id for event in walk.members_until_now(retry.family)}
            made |= {event.id: event for event in _make(walk, rule, fired, members.get(_cause_of(fired)), at_ms, done)}
    return list(made.values())


def _cause_of(fired: Event) -> str:
    return fired.origin.cause or ""


def _make(
    walk: Walk, rule: RuleVersion, fired: Event, event: Event | None, at_ms: int, done: Collection[str]
) -> Iterator[Event]:
    cause_id = _cause_of(fired)
    if event is None and cause_id.startswith(EVENT_PREFIX):
        return
    if event is not None and event.type == RULE_INCLUDED:
        event = None  # The rule was asked about an entry.
    cause = Cause(cause_id, event, at_ms, chain=cause_id, depth=fired.origin.depth, root=fired.family)
    for index in failed_effects(fired):
        made = walk.maker(at_ms).make_again(rule, cause, index)
        if made is not None and made.id not in done:
            yield made
