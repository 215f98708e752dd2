"""Firings of rules: the type with the results of its effects, and the list."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import strawberry

from app.domain.actors import READ
from app.domain.events import events as domain
from app.domain.ids import made_event_id, outward_id
from app.domain.rules.statistics import FiringQuery, FiringStatus
from app.domain.values.instants import parse_instant
from app.domain.values.text import parse_text
from app.graphql.activities.activities import Activity
from app.graphql.context import Info
from app.graphql.events.events import Event
from app.graphql.types.enums import describe_enum
from app.graphql.types.ids import given_id, to_global_id
from app.graphql.types.node import fetch_node
from app.graphql.types.paging import After, Before, Connection, First, Last, Pagination
from app.graphql.types.scalars import RawDateTime

if TYPE_CHECKING:
    from app.graphql.passes.passes import Pass

    from .rules import Rule

describe_enum(
    FiringStatus,
    "RuleFiringStatus",
    {
        "SUCCEEDED": "All effects succeeded.",
        "FAILED": "At least one effect failed. `effects` says why, and whether a retry made it since.",
        "CONTROL": "The pass is in the control group, so there were no effects.",
    },
)


class RuleEffectStatus(StrEnum):
    """What became of one effect of a firing."""

    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"


describe_enum(
    RuleEffectStatus,
    "RuleEffectStatus",
    {
        "SUCCEEDED": "The effect was made, or had nothing to make. An effect outside the pass is made a moment later.",
        "FAILED": "The effect was not made. `reason` says why.",
    },
)


@strawberry.type
class RuleEffectResult:
    """Result of one effect of a firing."""

    index: int = strawberry.field(description="Index of the effect in the version that fired, from 0.")
    status: RuleEffectStatus = strawberry.field(description="What became of the effect.")
    reason: str | None = strawberry.field(description="Why the effect failed. Null if it succeeded.")
    points: Decimal | None = strawberry.field(
        description="Points that the effect gave or, negative, took. Null if it is about no points, or gave none."
    )
    event_id: strawberry.Private[str | None]
    made_id: strawberry.Private[str]

    @strawberry.field
    async def event(self, info: Info) -> Event | None:
        """Event that the effect recorded. Null if it recorded none, or if the event was removed.

        For a reward, it is the redemption. The effect is made a moment after the firing.
        """
        if self.event_id is None:
            return None
        event: Event | None = await fetch_node(info.context, "Event", self.event_id)
        return event

    @strawberry.field
    async def retried_event(self, info: Info) -> Event | None:
        """Event that `retryRuleFirings` made for the effect. Null for an effect that succeeded, and until a retry does."""
        if self.status is not RuleEffectStatus.FAILED:
            return None
        event: Event | None = await fetch_node(info.context, "Event", self.made_id)
        return event


@strawberry.type
class RuleFiring:
    """Firing of a rule for one cause. It never changes."""

    id: strawberry.ID = strawberry.field(description="Id of the event of the type `rule_fired`.")
    rule_version: int = strawberry.field(description="Version of the rule that fired.")
    occurred_at: datetime = strawberry.field(description="Instant at which the cause counted and the rule fired.")
    recorded_at: datetime = strawberry.field(description="Instant at which a worker found it.")
    status: FiringStatus = strawberry.field(description="What became of the firing.")
    late: bool = strawberry.field(description="Whether the event that is the cause occurred earlier than it counted.")
    number: int | None = strawberry.field(
        description="Number of the event among those that match the rule. Null if the rule has no `nth`."
    )
    depth: int = strawberry.field(
        description="1 if the cause follows from a recorded event or from time, 2 if it follows from a firing of depth 1, "
        "and so on."
    )
    effects: list[RuleEffectResult] = strawberry.field(description="Results of the effects.")
    pass_id: strawberry.Private[str]
    rule_id: strawberry.Private[str]
    cause_id: strawberry.Private[str]

    @strawberry.field(name="pass")
    async def card(self, info: Info) -> Annotated[Pass, strawberry.lazy("app.graphql.passes.passes")] | None:
        """Pass for which the rule fired; after a merge, the pass that remains."""
        return await fetch_node(info.context, "Pass", self.pass_id)  # type: ignore[no-any-return]

    @strawberry.field
    async def rule(self, info: Info) -> Annotated[Rule, strawberry.lazy("app.graphql.rules.rules")] | None:
        """Rule that fired."""
        return await fetch_node(info.context, "Rule", self.rule_id)  # type: ignore[no-any-return]

    @strawberry.field
    async def event(self, info: Info) -> Event | None:
        """Event for which the rule fired. Null if it fired for something else, or if the event was removed."""
        if not self.cause_id.startswith("event_"):
            return None
        event: Event | None = await fetch_node(info.context, "Event", self.cause_id)
        return event

    @strawberry.field
    async def activity(self, info: Info) -> Activity | None:
        """Activity for which the rule fired, such as an entry. Null if it fired for an event."""
        if self.cause_id.startswith("event_"):
            return None
        activity: Activity | None = await fetch_node(info.context, "Activity", self.cause_id)
        return activity


@strawberry.input
class RuleFiringFilter:
    """Selection of firings. A firing matches if it satisfies every condition that is given."""

    rule_id: strawberry.ID | None = strawberry.field(default=None, description="Firings of this rule.")
    pass_id: strawberry.ID | None = strawberry.field(
        default=None, description="Firings on this pass. After a merge, name the pass that remains."
    )
    status: FiringStatus | None = strawberry.field(default=None, description="Firings with this status.")
    occurred_after: RawDateTime | None = strawberry.field(default=None, description="Firings at this instant or later.")
    occurred_before: RawDateTime | None = strawberry.field(default=None, description="Firings before this instant.")


listing = Pagination[domain.Event]("firing", (int, str), lambda event: (event.occurred_ms, event.id))


async def firings_page(
    info: Info, query: FiringQuery, first: int | None, after: str | None, last: int | None, before: str | None
) -> Connection[RuleFiring]:
    """Return a page of firings."""
    span = listing.span(first, after, last, before)
    store = info.context.workspace.firings
    page = await store.page(query, span)
    return listing.connection(page, span, firing_of, lambda: store.count(query))


async def list_firings(
    info: Info,
    filter: Annotated[
        RuleFiringFilter | None, strawberry.argument(description="Selection of the firings. Default: all.")
    ] = None,
    first: First = None,
    after: After = None,
    last: Last = None,
    before: Before = None,
) -> Connection[RuleFiring]:
    """List the firings of rules in the workspace, newest first. Needs the scope `read`.

    A firing is listed once its activities are in the feed.
    """
    info.context.actor.require(READ)
    return await firings_page(info, _query_of(filter or RuleFiringFilter()), first, after, last, before)


def firing_of(event: domain.Event) -> RuleFiring:
    """Return the GraphQL object of a firing."""
    metadata, origin = event.metadata, event.origin
    results = metadata.get("effects")
    effects = [_result_of(event, each) for each in (results if isinstance(results, list) else ())]
    status = FiringStatus.SUCCEEDED
    if metadata.get("control"):
        status = FiringStatus.CONTROL
    elif any(effect.status is RuleEffectStatus.FAILED for effect in effects):
        status = FiringStatus.FAILED
    number = metadata.get("number")
    return RuleFiring(
        id=strawberry.ID(to_global_id("Event", event.id)),
        rule_version=origin.rule_version or 0,
        occurred_at=event.occurred_at,
        recorded_at=event.recorded_at,
        status=status,
        late=bool(metadata.get("late")),
        number=number if isinstance(number, int) else None,
        depth=origin.depth,
        effects=effects,
        pass_id=event.pass_id,
        rule_id=origin.rule or "",
        cause_id=origin.cause or "",
    )


def _result_of(fired: domain.Event, stored: Mapping[str, Any]) -> RuleEffectResult:
    points, rule_id, cause = stored.get("points"), fired.origin.rule or "", fired.origin.cause or ""
    event_id = stored.get("event")
    if "issueReward" in stored.get("outward", {}):
        event_id = outward_id("event", fired.id, stored["index"])
    return RuleEffectResult(
        index=stored["index"],
        status=RuleEffectStatus(stored["status"]),
        reason=stored.get("reason"),
        points=None if points is None else Decimal(points),
        event_id=event_id,
        made_id=made_event_id(rule_id, cause, cause, stored["index"]),
    )


def _query_of(sent: RuleFiringFilter) -> FiringQuery:
    after, before = sent.occurred_after, sent.occurred_before
    return FiringQuery(
        rule_id=None if sent.rule_id is None else parse_text(given_id(sent.rule_id, "Rule"), "filter", "ruleId"),
        pass_id=None if sent.pass_id is None else parse_text(given_id(sent.pass_id, "Pass"), "filter", "passId"),
        status=sent.status,
        occurred_after=None if after is None else parse_instant(after, "filter", "occurredAfter"),
        occurred_before=None if before is None else parse_instant(before, "filter", "occurredBefore"),
    )
