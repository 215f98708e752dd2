"""Where events came from: the channel, who recorded them, or which rule made them."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import strawberry

from app.domain.events import events as domain
from app.graphql.context import Info
from app.graphql.types.enums import describe_enum
from app.graphql.types.ids import to_global_id
from app.graphql.types.node import fetch_node

if TYPE_CHECKING:
    from app.graphql.rules.rules import Rule


class EventChannel(StrEnum):
    """Way in which an event was recorded."""

    API = "API"
    BATCH = "BATCH"
    IMPORT = "IMPORT"
    WEBHOOK = "WEBHOOK"
    MANUAL = "MANUAL"
    PASS = "PASS"
    RULE = "RULE"
    INTERNAL = "INTERNAL"


describe_enum(
    EventChannel,
    "EventChannel",
    {
        "API": "By `recordEvent`, by one of its short forms such as `recordPurchase`, or by `updatePass`.",
        "BATCH": "By `recordEvents`.",
        "IMPORT": "By `importEvents`, from a file.",
        "WEBHOOK": "By an inbound hook, from a message of another system.",
        "MANUAL": "By a member of staff, whom the client named in `staff` of a recording mutation.",
        "PASS": "By the customer, with a token of `createPassToken`.",
        "RULE": "By a rule. `Event.source` is then `rule:<key>`.",
        "INTERNAL": "By Punchcard itself, for example in a merge of two passes.",
    },
)


@strawberry.type
class EventOrigin:
    """Where an event came from."""

    channel: EventChannel = strawberry.field(description="Way in which the event was recorded.")
    ip_address: str | None = strawberry.field(
        description="IP address of the client that recorded the event. Null if no client called directly, for example "
        "in an import."
    )
    user_agent: str | None = strawberry.field(
        description="`User-Agent` header of the client that recorded the event. Null if the client sent none or did "
        "not call directly."
    )
    actor: str | None = strawberry.field(
        description="Global id of the API key that recorded the event, or that started the job which recorded it. For two "
        "channels, an id that `node` does not find: for `WEBHOOK` one made from the inbound hook, for `PASS` one made from "
        "the pass. Null for the channel `INTERNAL`."
    )
    staff: str | None = strawberry.field(
        description="Member of staff who acted by hand, as the client named them in `staff`."
    )
    rule_version: int | None = strawberry.field(
        default=None, description="Version of the rule that made the event. Null if no rule did."
    )
    depth: int | None = strawberry.field(
        default=None,
        description="1 if the rule fired for something that was recorded, or for time; 2 if it fired for what a firing of "
        "depth 1 made, and so on. Null if no rule made the event.",
    )
    cause: strawberry.ID | None = strawberry.field(
        default=None,
        description="Id of the event or activity because of which a rule made the event. Null if no rule did.",
    )
    rule_id: strawberry.Private[str | None] = None

    @strawberry.field
    async def rule(self, info: Info) -> Annotated[Rule, strawberry.lazy("app.graphql.rules.rules")] | None:
        """Rule that made the event. Null if no rule did."""
        return None if self.rule_id is None else await fetch_node(info.context, "Rule", self.rule_id)


def origin_of(event: domain.Event) -> EventOrigin:
    """Return where an event came from."""
    origin, cause = event.origin, event.origin.cause
    is_of_rule = origin.rule is not None
    kind = "Activity" if cause is not None and cause.startswith("act_") else "Event"
    return EventOrigin(
        channel=EventChannel(origin.channel),
        ip_address=origin.ip_address,
        user_agent=origin.user_agent,
        actor=None if origin.actor is None else to_global_id("ApiKey", origin.actor),
        staff=origin.staff,
        rule_version=origin.rule_version,
        depth=origin.depth if is_of_rule else None,
        cause=None if cause is None or not is_of_rule else strawberry.ID(to_global_id(kind, cause)),
        rule_id=origin.rule,
    )
