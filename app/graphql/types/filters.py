"""Filters: what a caller wants listed, checked and turned into a named query of the store."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

import strawberry

from app.domain.activities import ActivityQuery
from app.domain.errors import Code, InvalidInput
from app.domain.events.events import EventQuery
from app.domain.passes.passes import Pass
from app.domain.values.conditions import Condition, parse_condition
from app.domain.values.currencies import parse_currency
from app.domain.values.decimals import parse_decimal
from app.domain.values.instants import parse_instant
from app.domain.values.text import parse_text
from app.graphql.context import Info, RequestContext

from .enums import ActivityCategory, ComparisonOperator, EventCategory
from .ids import database_id
from .scalars import JSONValue, RawDateTime, RawDecimal

MAX_LISTED = 50
MAX_SOURCES = 1_000
T = TypeVar("T")


@strawberry.input
class MetadataCondition:
    """A condition on one value of the metadata."""

    path: str = strawberry.field(description='The dotted path of the value, for example "store.city".')
    operator: ComparisonOperator = strawberry.field(
        default=ComparisonOperator.EQ, description="How the value is compared."
    )
    value: JSONValue | None = strawberry.field(
        default=None, description="What it is compared with; a list for IN and NOT_IN, nothing for EXISTS."
    )


@strawberry.input
class EventFilter:
    """Which events to list. Every part that is given has to hold."""

    pass_id: strawberry.ID | None = strawberry.field(default=None, description="Of this pass.")
    pass_external_id: str | None = strawberry.field(default=None, description="Of the pass with this external id.")
    categories: list[EventCategory] | None = strawberry.field(default=None, description="Of one of these categories.")
    types: list[str] | None = strawberry.field(default=None, description="Of one of these types.")
    sources: list[str] | None = strawberry.field(default=None, description="From one of these sources.")
    currency: str | None = strawberry.field(default=None, description="With an amount in this currency.")
    occurred_after: RawDateTime | None = strawberry.field(default=None, description="Occurred then or later.")
    occurred_before: RawDateTime | None = strawberry.field(default=None, description="Occurred earlier.")
    recorded_after: RawDateTime | None = strawberry.field(default=None, description="Recorded then or later.")
    recorded_before: RawDateTime | None = strawberry.field(default=None, description="Recorded earlier.")
    amount_min: RawDecimal | None = strawberry.field(default=None, description="With at least this amount.")
    amount_max: RawDecimal | None = strawberry.field(default=None, description="With at most this amount.")
    external_id: str | None = strawberry.field(
        default=None, description="With this external id; from any source, unless `sources` names them."
    )
    metadata: list[MetadataCondition] | None = strawberry.field(
        default=None, description="Whose metadata meets all these conditions."
    )


@strawberry.input
class ActivityFilter:
    """Which activities to list. Every part that is given has to hold."""

    types: list[str] | None = strawberry.field(
        default=None, description="Of one of these types, for example `customer.segment.entered`."
    )
    category: ActivityCategory | None = strawberry.field(default=None, description="Of this category.")
    pass_id: strawberry.ID | None = strawberry.field(default=None, description="Of this pass.")
    segment_ids: list[strawberry.ID] | None = strawberry.field(
        default=None, description="Entries and exits of one of these segments."
    )
    occurred_after: RawDateTime | None = strawberry.field(default=None, description="Occurred then or later.")
    occurred_before: RawDateTime | None = strawberry.field(default=None, description="Occurred earlier.")
    include_silent: bool = strawberry.field(default=False, description="Also what a silent change of a segment caused.")
    include_historical: bool | None = strawberry.field(
        default=None,
        description="Whether imported history is listed; omitted: by queries yes, by streams and webhooks no.",
    )


async def event_query(info: Info, filter: EventFilter | None, pass_id: str | None = None) -> EventQuery | None:
    """The named query that a filter asks for; None where it cannot find anything. Raises InvalidInput.

    With `pass_id`, of that pass only.
    """
    if filter is None:
        return EventQuery(pass_id=pass_id)
    here = "filter"
    if filter.pass_id is not None and filter.pass_external_id is not None:
        raise InvalidInput(Code.INVALID, "Name the pass by one of passId and passExternalId.", here, "passExternalId")
    named = pass_id
    if filter.pass_id is not None:
        found = database_id(filter.pass_id, "Pass")
        answering = None if found is None else await info.context.load.passes.load(found)
        if answering is None:
            return None
        named = answering.id
    elif filter.pass_external_id is not None:
        card = await info.context.workspace.passes.by_external_id(
            parse_text(filter.pass_external_id, here, "passExternalId")
        )
        if card is None:
            return None
        named = card.id
    if pass_id is not None and named != pass_id:
        return None
    external_id = given(filter.external_id, parse_text, here, "externalId")
    sources = each_of(filter.sources, parse_text, here, "sources")
    if external_id is not None and not sources and named is None:
        sources = await _sources(info)
    return EventQuery(
        pass_id=named,
        categories=each_of(filter.categories, lambda value, *_: value, here, "categories"),
        types=each_of(filter.types, parse_text, here, "types"),
        sources=sources,
        currency=given(filter.currency, parse_currency, here, "currency"),
        occurred_after=given(filter.occurred_after, parse_instant, here, "occurredAfter"),
        occurred_before=given(filter.occurred_before, parse_instant, here, "occurredBefore"),
        recorded_after=given(filter.recorded_after, parse_instant, here, "recordedAfter"),
        recorded_before=given(filter.recorded_before, parse_instant, here, "recordedBefore"),
        amount_min=given(filter.amount_min, parse_decimal, here, "amountMin"),
        amount_max=given(filter.amount_max, parse_decimal, here, "amountMax"),
        external_id=external_id,
        metadata=each_of(filter.metadata, parse_metadata_condition, here, "metadata"),
    )


async def _sources(info: Info) -> list[str]:
    """All sources there are: an external id and its source name an event. Empty where they are too many to try."""
    known = await info.context.workspace.vocabulary.sources()
    return known if len(known) <= MAX_SOURCES else []


def activity_query(
    filter: ActivityFilter | None, *, historical: bool, pass_id: str | None = None
) -> ActivityQuery | None:
    """The named query that a filter asks for; None where it cannot find anything. Raises InvalidInput.

    `historical` is whether imported history is listed where the filter does not say; with `pass_id`, of that pass only.
    """
    if filter is None:
        return ActivityQuery(pass_id=pass_id, include_historical=historical)
    here = "filter"
    named = pass_id
    if filter.pass_id is not None:
        named = database_id(filter.pass_id, "Pass")
        if named is None or pass_id not in (None, named):
            return None
    segment_ids = None
    if filter.segment_ids is not None:
        named_ids = each_of(filter.segment_ids, parse_text, here, "segmentIds")
        segment_ids = [key for key in (database_id(text, "Segment") for text in named_ids) if key is not None]
        if not segment_ids:
            return None
    return ActivityQuery(
        types=each_of(filter.types, parse_text, here, "types"),
        category=None if filter.category is None else filter.category.value,
        pass_id=named,
        segment_ids=segment_ids or (),
        occurred_after=given(filter.occurred_after, parse_instant, here, "occurredAfter"),
        occurred_before=given(filter.occurred_before, parse_instant, here, "occurredBefore"),
        include_silent=filter.include_silent,
        include_historical=historical if filter.include_historical is None else filter.include_historical,
    )


def given(value: object, parse: Callable[..., T], *path: str) -> T | None:
    """The value, parsed under its path; None for none. Raises InvalidInput."""
    return None if value is None else parse(value, *path)


async def of_whole_pass(
    context: RequestContext, query: ActivityQuery | None, card: Pass | None = None
) -> ActivityQuery | None:
    """The same query; where it names a pass, of the one that answers for it (`card`, if at hand), and of all that were
    merged into that.
    """
    if query is None or query.pass_id is None:
        return query
    card = card or await context.load.passes.load(query.pass_id)
    # Of an erased pass nothing is left but its lines, under the id it had.
    if card is None:
        return query
    return replace(query, pass_id=card.id, aliases=await context.load.aliases.load(card.id) or ())


def each_of(values: Sequence[object] | None, parse: Callable[..., T], *path: str) -> list[T]:
    """Each value of a list, parsed under its own path; at most 50. Raises InvalidInput."""
    if values is None:
        return []
    if len(values) > MAX_LISTED:
        raise InvalidInput(Code.TOO_MANY, f"At most {MAX_LISTED}.", *path)
    return [parse(value, *path, str(index)) for index, value in enumerate(values)]


def parse_metadata_condition(given: MetadataCondition, *path: str) -> Condition:
    """A condition on the metadata, checked. Raises InvalidInput."""
    return parse_condition({"path": given.path, "operator": given.operator.value, "value": given.value}, *path)
