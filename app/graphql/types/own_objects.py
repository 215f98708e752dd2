"""Objects as the holder of a token for one pass sees them: those of the pass, without what is only for the workspace."""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import Any

from app.domain import activities
from app.domain.activities import UNLESS_NAMED
from app.domain.activity_queries import ActivityQuery, event_type_in
from app.domain.errors import DeniedToToken
from app.domain.events.event_queries import EventQuery
from app.domain.events.events import (
    INTERNAL_TYPES,
    LIST_EVENTS,
    MERGE_FINISHED,
    OWN_SOURCE,
    RECORDED_BY,
    RULE_FIRED,
    RULE_INCLUDED,
    RULE_RETRIED,
)
from app.domain.pass_tokens import Grant
from app.domain.snapshots import RULE_SOURCE
from app.domain.tiers.progress import METADATA_MEASURE, SEGMENT_MEASURE
from app.graphql.context import RequestContext

from .scalars import JSON

HIDDEN_EVENTS = frozenset({RULE_FIRED, RULE_RETRIED, RULE_INCLUDED, MERGE_FINISHED, *LIST_EVENTS})
"""Types of events by which rules and lists of segments work. Customers do not see them."""
OWN_METADATA = INTERNAL_TYPES | RECORDED_BY.keys()
"""Types of events whose metadata Punchcard writes. It may name other passes, rules and segments."""
DERIVED_CHANNELS = frozenset({"RULE", "INTERNAL"})
"""Channels of events whose metadata comes from a rule or from Punchcard."""
SHOWN_DATA = frozenset(
    (
        "erased customer event removed segment member change before after points balance expiredAt reasons redemption"
        " voucher publication transfer message consent late historical"
    ).split()
)
"""Parts of the data of an activity that customers see."""
SHOWN_PARTS: Mapping[str, frozenset[str]] = {
    "event": frozenset(
        {"id", "removed", "type", "category", "amount", "currency", "points", "pointsExpireAt", "pointsExpireAfterDays",
         "fieldName", "oldValue", "newValue", "externalId", "metadata", "occurredAt", "recordedAt", "correctionOf"}
    ),
    "segment": frozenset({"id", "key", "name"}),
    "redemption": frozenset({"id", "rewardKey", "quantity", "pointsSpent", "pointsReturned", "code"}),
    "publication": frozenset({"id", "result", "code", "failureCode", "failureMessage"}),
    "transfer": frozenset({"id", "direction", "points"}),
    "message": frozenset({"route", "status"}),
    "consent": frozenset({"key", "given"}),
}  # fmt: skip
"""Values that customers see of those parts that have more."""


OWN_TYPES = frozenset({"Pass", "Event", "Activity", "Membership"})
"""Types of the objects that `node` finds for the holder of a token."""


async def visible_segments(context: RequestContext, segment_ids: Collection[str]) -> set[str]:
    """Return those of the segments that tokens may see."""
    found = await context.load.segments.load_many(list(segment_ids))
    return {segment.id for segment in found if segment is not None and segment.visible_to_passes}


async def find_own(context: RequestContext, node: Any) -> Any:
    """Return an object that a query found by an id; None if the holder of a token may not see it."""
    grant = context.actor.grant
    if grant is None or node is None:
        return node
    check = _CHECKS.get(_type_name(node))
    if check is None or not check(grant, node):
        return None
    segment_id = _segment_id(node)
    return node if segment_id is None or await visible_segments(context, [segment_id]) else None


def own_events(context: RequestContext, query: EventQuery | None) -> EventQuery | None:
    """Return the query of a list of events, for the holder of a token without the events that customers do not see."""
    if context.actor.grant is None or query is None:
        return query
    types = [each for each in query.types if each not in HIDDEN_EVENTS]
    return None if query.types and not types else replace(query, types=types, except_types=sorted(HIDDEN_EVENTS))


async def own_activities(
    context: RequestContext, query: ActivityQuery | None, *, is_live: bool = False
) -> ActivityQuery | None:
    """Return the query of a list or stream of activities, for the holder of a token limited to what customers see.

    A list has the entries into segments that are visible now. A live stream asks `sees_segment_of` for each activity.
    """
    grant = context.actor.grant
    if grant is None or query is None:
        return query
    types = [each for each in query.types if each not in UNLESS_NAMED]
    event_types = [each for each in query.event_types if each not in HIDDEN_EVENTS]
    if (query.types and not types) or (query.event_types and not event_types):
        return None
    return replace(
        query,
        types=types,
        event_types=event_types,
        except_event_types=() if query.asks_for_event else sorted(HIDDEN_EVENTS),
        pass_id=grant.pass_id,
        aliases=sorted(grant.pass_ids - {grant.pass_id}),
        include_silent=False,
        among_segments=None if is_live else tuple(await context.workspace.segments.visible_ids()),
    )


async def sees_segment_of(context: RequestContext, activity: activities.Activity) -> bool:
    """Return whether the client may see the segment that an activity names; true for an activity that names none."""
    if context.actor.grant is None or activity.segment_id is None:
        return True
    return bool(await visible_segments(context, [activity.segment_id]))


def shown_to(grant: Grant, type_name: str, source: Any) -> Any:
    """Return an object as the holder of a token sees it. Raises DeniedToToken for an object of another pass."""
    if getattr(type(source), "is_withheld", False):
        return source
    check = _CHECKS.get(type_name)
    if check is not None and not check(grant, source):
        raise DeniedToToken("A token for one pass sees only objects of this pass.")
    show = _VIEWS.get(type_name)
    return source if show is None else show(grant, source)


def _type_name(node: Any) -> str:
    return str(type(node).__strawberry_definition__.name)


def _is_own_event(grant: Grant, event: Any) -> bool:
    return event.pass_id in grant.pass_ids and event.type not in HIDDEN_EVENTS


def _is_own_activity(grant: Grant, activity: Any) -> bool:
    is_of_rule = activity.type in UNLESS_NAMED or event_type_in(activity.data) in HIDDEN_EVENTS
    is_hidden = is_of_rule or bool(activity.data.get("silent"))
    return activity.pass_id in grant.pass_ids and not is_hidden


_CHECKS: Mapping[str, Callable[[Grant, Any], bool]] = {
    "Pass": lambda grant, card: card.stored.id in grant.pass_ids,
    "Event": _is_own_event,
    "Activity": _is_own_activity,
    "Membership": lambda grant, membership: membership.pass_id in grant.pass_ids,
    "Segment": lambda _grant, segment: segment.stored.visible_to_passes,
}
"""Whether the holder of a token may see an object, by type."""


def _segment_id(node: Any) -> str | None:
    """Return the id of the segment that an object names, which must be visible; None for none."""
    match _type_name(node):
        case "Membership":
            return str(node.segment_id)
        case "Activity":
            segment = node.data.get("segment")
            return str(segment["id"]) if isinstance(segment, Mapping) else None
    return None


def _show_event(grant: Grant, event: Any) -> Any:
    shown = copy.copy(event)
    shown.external_id = grant.short_name(event.external_id)
    if event.type in OWN_METADATA or event.origin.channel.value in DERIVED_CHANNELS:
        shown.metadata = JSON({})
    return shown


def _show_activity(grant: Grant, activity: Any) -> Any:
    shown = copy.copy(activity)
    shown.data = JSON(show_data(grant, activity.data))
    return shown


def show_data(grant: Grant, data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the data of an activity as the holder of a token sees it."""
    shown = {name: _show_part(name, value) for name, value in data.items() if name in SHOWN_DATA}
    if "segment" in data:
        # Before and after an entry or exit are the measured values of the criteria.
        shown = {name: value for name, value in shown.items() if name not in ("before", "after")}
    event = shown.get("event")
    if isinstance(event, dict) and "type" in event:
        event["externalId"] = grant.short_name(event["externalId"])
        source = data["event"]["source"]
        if event["type"] in OWN_METADATA or source == OWN_SOURCE or source.startswith(RULE_SOURCE):
            event["metadata"] = {}
    return shown


def _show_part(name: str, value: Any) -> Any:
    keys = SHOWN_PARTS.get(name)
    if keys is None or not isinstance(value, Mapping):
        return value
    return {key: each for key, each in value.items() if key in keys}


def _show_progress(_grant: Grant, progress: Any) -> Any:
    """Return the progress towards a tier without the criteria that name a segment or the metadata of the pass."""
    shown = copy.copy(progress)
    hidden = (SEGMENT_MEASURE, METADATA_MEASURE)
    shown.remaining = [each for each in progress.remaining if not each.measure.startswith(hidden)]
    return shown


_VIEWS: Mapping[str, Callable[[Grant, Any], Any]] = {
    "Event": _show_event,
    "Activity": _show_activity,
    "TierProgress": _show_progress,
}
