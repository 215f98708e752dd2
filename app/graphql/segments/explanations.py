"""Explanations: why a pass is in a segment or not, and until when; and the query for them."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from functools import partial
from typing import Annotated

import strawberry

from app.commands import explanations as commands
from app.commands.explanations import Draft, Explained
from app.domain.actors import READ
from app.domain.errors import Code, InvalidInput
from app.domain.explanation.trees import Part, PartKind, events_span, matches_part
from app.domain.passes import passes as domain
from app.domain.values.decimals import canonical
from app.domain.values.instants import from_ms
from app.domain.values.text import parse_external_id, parse_text
from app.graphql.activities.causes import ActivityCause, cause_of
from app.graphql.context import Info, RequestContext
from app.graphql.events.events import Event, event_of
from app.graphql.types.consistency import Consistency, ConsistencyArgument, TokenArgument, await_consistency
from app.graphql.types.enums import ComparisonOperator, SegmentList, describe_enum
from app.graphql.types.ids import database_id
from app.graphql.types.scalars import JSONValue, RawDateTime

from .criteria import CriteriaInput, to_mapping

MAX_EXPLAINING_EVENTS = 100
"""Events that one part of an explanation returns."""

describe_enum(
    PartKind,
    "CriterionKind",
    {
        "ALL": "It holds if all of its children hold.",
        "ANY": "It holds if one of its children holds.",
        "NOT": "It holds if its child does not hold.",
        "EVENT": "Criterion on events of the pass.",
        "SEQUENCE": "Criterion on events that follow each other. `measured` is the number of steps taken.",
        "PASS": "Criterion on the pass itself.",
        "SEGMENT": "Criterion on the membership in another segment.",
        "LIST": "The passes on the list of the segment, and no others, belong to it.",
    },
)


@strawberry.type
class ExplainingEvents:
    """Events that a criterion counts, newest first."""

    nodes: list[Event] = strawberry.field(description="Events, newest first.")
    has_more: bool = strawberry.field(
        description="Whether the criterion may count further events: more than `first`, or events older than the newest "
        "1,000 of its time."
    )


@strawberry.type
class CriterionExplanation:
    """What one part of criteria measures for a pass, and whether it holds."""

    kind: PartKind = strawberry.field(description="Kind of the part.")
    operator: ComparisonOperator | None = strawberry.field(
        description="Comparison of `measured` with `threshold`. Null for other kinds than `EVENT`, `SEQUENCE` and `PASS`."
    )
    holds: bool = strawberry.field(description="Whether the part holds.")
    measured: JSONValue | None = strawberry.field(
        description="Measured value: a count, a sum as text, days with fractions, a value of the pass, or whether the "
        "pass is in the other segment. Null if there is none, and for `ALL`, `ANY`, `NOT` and `LIST`."
    )
    threshold: JSONValue | None = strawberry.field(
        description="Value that `measured` is compared with. Decimals are texts. Null for `ALL`, `ANY`, `NOT` and `LIST`."
    )
    window_from: datetime | None = strawberry.field(
        description="First instant of the window in which events count. Null without a bound."
    )
    window_to: datetime | None = strawberry.field(
        description="Last instant of the window in which events count. Null without a bound."
    )
    timezone: str = strawberry.field(description="IANA time zone of the segment.")
    until: datetime | None = strawberry.field(
        description="Instant at which `holds` changes if nothing happens. Null if it does not change before the `until` or "
        "`stableUntil` of the explanation."
    )
    children: list[CriterionExplanation] = strawberry.field(
        description="Parts that this part combines. Empty for other kinds than `ALL`, `ANY` and `NOT`."
    )
    part: strawberry.Private[Part]
    explained_pass: strawberry.Private[domain.Pass]

    @strawberry.field
    async def events(
        self,
        info: Info,
        first: Annotated[
            int,
            strawberry.argument(
                description=f"Number of events to return, newest first: 0 to {MAX_EXPLAINING_EVENTS}. Default: 20."
            ),
        ] = 20,
    ) -> ExplainingEvents:
        """Events that the criterion counts. Empty for other kinds than `EVENT` and `SEQUENCE`."""
        if not 0 <= first <= MAX_EXPLAINING_EVENTS:
            raise InvalidInput(Code.OUT_OF_RANGE, f"`first` must be between 0 and {MAX_EXPLAINING_EVENTS}.", "first")
        span = events_span(self.part)
        if span is None:
            return ExplainingEvents(nodes=[], has_more=False)
        events, has_more = await info.context.workspace.counted_events.latest_matching(
            self.explained_pass, partial(matches_part, self.part), span, first
        )
        return ExplainingEvents(nodes=[event_of(each) for each in events], has_more=has_more)


@strawberry.type
class MembershipExplanation:
    """Why a pass is in a segment, or why not, and until when.

    It holds for the pass as last evaluated, walked to `at` as a worker would walk it.
    """

    member: bool = strawberry.field(description="Whether the pass is in the segment, or meets the criteria.")
    at: datetime = strawberry.field(description="Instant that the explanation is about.")
    since: datetime | None = strawberry.field(
        description="Exact instant at which the pass entered the segment. Null if it is not in it, and for `criteria`."
    )
    until: datetime | None = strawberry.field(
        description="Exact instant at which `member` changes if nothing happens: no event, and no change of a definition. "
        "Null if it does not change before `stableUntil`."
    )
    stable_until: datetime | None = strawberry.field(
        description="Instant up to which Punchcard looked ahead without finding a change: 5 years, or less if the pass "
        "changes more than 200 times or 1,000 events must be read. Null if `until` is set."
    )
    version: int | None = strawberry.field(
        description="Version of the segment under which the pass was evaluated. Null for `criteria`."
    )
    cause: ActivityCause | None = strawberry.field(
        description="Cause of the entry. Null if the pass is not in the segment, and for `criteria`."
    )
    list_: SegmentList | None = strawberry.field(
        name="list", description="List of the segment that the pass is on. It wins over the criteria. Null if on none."
    )
    tree: CriterionExplanation = strawberry.field(
        description="Criteria with what each part measures. They do not decide if `list` is set."
    )
    text: str = strawberry.field(description="One sentence in English that says the same.")


async def explain_membership(
    info: Info,
    pass_id: Annotated[strawberry.ID | None, strawberry.argument(description="Id of the pass.")] = None,
    pass_external_id: Annotated[str | None, strawberry.argument(description="External id of the pass.")] = None,
    segment_id: Annotated[strawberry.ID | None, strawberry.argument(description="Id of the segment.")] = None,
    segment_key: Annotated[str | None, strawberry.argument(description="Key of the segment.")] = None,
    criteria: Annotated[
        CriteriaInput | None, strawberry.argument(description="Criteria that no segment has yet.")
    ] = None,
    timezone: Annotated[
        str | None,
        strawberry.argument(description="IANA time zone of `criteria`. Default: the time zone of the workspace."),
    ] = None,
    zone_field: Annotated[
        str | None,
        strawberry.argument(description="Field of a pass that names the time zone of `criteria`. Default: none."),
    ] = None,
    at: Annotated[
        RawDateTime | None,
        strawberry.argument(
            description="Instant to explain, at most 5 years ahead, as if nothing happened until then. Default: now."
        ),
    ] = None,
    consistency: ConsistencyArgument = Consistency.EVENTUAL,
    token: TokenArgument = None,
) -> MembershipExplanation | None:
    """Explain why a pass is in a segment or not, and until when. Needs the scope `read`.

    Give exactly one of `passId` and `passExternalId`, and exactly one of `segmentId`, `segmentKey` and `criteria`. Null if
    there is no such pass, or no such segment that is not archived.
    """
    if (pass_id is None) == (pass_external_id is None):
        raise InvalidInput(Code.INVALID, "Name the pass by exactly one of `passId` and `passExternalId`.", "passId")
    if [segment_id, segment_key, criteria].count(None) != 2:
        message = "Give exactly one of `segmentId`, `segmentKey` and `criteria`."
        raise InvalidInput(Code.INVALID, message, "segmentId")
    await await_consistency(info, consistency, token)
    found_pass = await _find_pass(info.context, pass_id, pass_external_id)
    subject = await _find_subject(
        info.context, segment_id, segment_key, criteria, timezone=timezone, zone_field=zone_field
    )
    if found_pass is None or subject is None:
        return None
    explained = await commands.explain(info.context.commands, found_pass, subject, at)
    return None if explained is None else explanation_of(explained)


async def _find_pass(context: RequestContext, pass_id: str | None, external_id: str | None) -> str | None:
    if pass_id is not None:
        return database_id(pass_id, "Pass")
    name = parse_external_id(external_id, "passExternalId")
    return (await context.workspace.passes.ids_of([name])).get(name)


async def _find_subject(
    context: RequestContext,
    segment_id: str | None,
    segment_key: str | None,
    criteria: CriteriaInput | None,
    *,
    timezone: str | None,
    zone_field: str | None,
) -> str | Draft | None:
    if criteria is not None:
        return await commands.parse_draft(context.commands, to_mapping(criteria), timezone, zone_field)
    if segment_id is not None:
        return database_id(segment_id, "Segment")
    labels = await context.workspace.segments.by_key(parse_text(segment_key, "segmentKey"))
    return None if labels is None else labels.id


def explanation_of(explained: Explained) -> MembershipExplanation:
    """Return the GraphQL object of an explanation."""
    found = explained.explanation
    outlook = found.outlook
    return MembershipExplanation(
        member=found.is_member,
        at=from_ms(found.at_ms),
        since=_instant(found.since_ms),
        until=_instant(outlook.until_ms),
        stable_until=_instant(outlook.stable_until_ms),
        version=found.version,
        cause=cause_of(found.cause or {}),
        list_=None if found.listed is None else SegmentList(found.listed),
        tree=_part_of(found.tree, found.card, found.timezone),
        text=explained.text,
    )


def _part_of(part: Part, card: domain.Pass, timezone: str) -> CriterionExplanation:
    window_from_ms, window_to_ms = part.window_ms or (None, None)
    return CriterionExplanation(
        kind=part.kind,
        operator=None if part.operator is None else ComparisonOperator(part.operator),
        holds=part.holds,
        measured=_json_value(part.measured),
        threshold=_json_value(part.threshold),
        window_from=_instant(window_from_ms),
        window_to=_instant(window_to_ms),
        timezone=timezone,
        until=_instant(part.until_ms),
        children=[_part_of(each, card, timezone) for each in part.children],
        part=part,
        explained_pass=card,
    )


def _instant(at_ms: int | None) -> datetime | None:
    return None if at_ms is None else from_ms(at_ms)


def _json_value(value: object) -> JSONValue | None:
    if isinstance(value, Decimal):
        return JSONValue(canonical(value))
    return None if value is None else JSONValue(list(value) if isinstance(value, tuple) else value)


async def explain_of_membership(info: Info, pass_id: str, segment_id: str) -> MembershipExplanation | None:
    """Return the explanation of a membership, which all fields of it share. Null if the pass has left meanwhile."""
    info.context.actor.require(READ)

    async def read() -> Explained | None:
        return await commands.explain(info.context.commands, pass_id, segment_id)

    explained = await info.context.read_once(info, ("explanation", pass_id, segment_id), read)
    return None if explained is None else explanation_of(explained)
