"""Filters: inputs that select events and activities, and the functions that turn them into queries of the store."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

import strawberry

from app.domain.activity_queries import ActivityQuery
from app.domain.errors import Code, InvalidInput
from app.domain.events.event_queries import EventQuery
from app.domain.passes.passes import Pass
from app.domain.values import conditions
from app.domain.values.conditions import Condition
from app.domain.values.currencies import parse_currency
from app.domain.values.decimals import parse_decimal
from app.domain.values.instants import parse_instant
from app.domain.values.text import parse_external_id, parse_text
from app.graphql.context import Info, RequestContext

from .enums import ActivityCategory, ActivityCauseKind, ComparisonOperator, EventCategory
from .ids import database_id
from .scalars import JSONValue, RawDateTime, RawDecimal

MAX_LISTED = 50
"""Values that one list of a filter has at most."""
MAX_SOURCES = 1_000
"""Sources for which a filter by external id alone looks up events by id. With more sources, it reads lists of events."""
T = TypeVar("T")


@strawberry.input
class MetadataCondition:
    """Condition on one value in the metadata of an event, or in the fields of a pass.

    It means the same in lists, sums and segments. Values compare within their kind: a comparison of a number with a text
    is false.
    """

    path: str = strawberry.field(
        description='Path of the value: up to 10 keys joined by points, for example "store.city". Where a key leads to a '
        'list, the condition holds if it holds for one of its elements; "items.0.sku" names one of them. At most 200 '
        "characters."
    )
    operator: ComparisonOperator = strawberry.field(
        default=ComparisonOperator.EQ, description="How the value is compared. Default: `EQ`."
    )
    value: JSONValue | None = strawberry.field(
        default=None,
        description="The value to compare with: a text of up to 1,000 characters, a number or a boolean. A list of 1 to "
        "100 of these for `IN` and `NOT_IN`. Ignored by `EXISTS` and `NOT_EXISTS`.",
    )


@strawberry.input
class EventFilter:
    """Selection of events.

    An event matches if it satisfies every condition that is given. A list of values has at most 50 items.
    """

    pass_id: strawberry.ID | None = strawberry.field(
        default=None,
        description="Events on this pass. After a merge, the id of either pass selects the events of both. Do not "
        "combine it with `passExternalId`.",
    )
    pass_external_id: str | None = strawberry.field(
        default=None, description="Events on the pass with this external id."
    )
    categories: list[EventCategory] | None = strawberry.field(
        default=None, description="Events of one of these categories."
    )
    types: list[str] | None = strawberry.field(default=None, description="Events of one of these types.")
    sources: list[str] | None = strawberry.field(default=None, description="Events from one of these sources.")
    currency: str | None = strawberry.field(
        default=None, description='Events with an amount in this currency: a code of ISO 4217, for example "EUR".'
    )
    occurred_after: RawDateTime | None = strawberry.field(
        default=None, description="Events that occurred at this instant or later."
    )
    occurred_before: RawDateTime | None = strawberry.field(
        default=None, description="Events that occurred before this instant."
    )
    recorded_after: RawDateTime | None = strawberry.field(
        default=None, description="Events that Punchcard recorded at this instant or later."
    )
    recorded_before: RawDateTime | None = strawberry.field(
        default=None, description="Events that Punchcard recorded before this instant."
    )
    amount_min: RawDecimal | None = strawberry.field(
        default=None,
        description="Events with at least this amount. Amounts compare as recorded, so refunds are positive.",
    )
    amount_max: RawDecimal | None = strawberry.field(default=None, description="Events with at most this amount.")
    external_id: str | None = strawberry.field(
        default=None, description="Events with this external id, from the sources in `sources` or else from any source."
    )
    metadata: list[MetadataCondition] | None = strawberry.field(
        default=None, description="Events whose metadata satisfies all of these conditions. At most 50."
    )


@strawberry.input
class ActivityFilter:
    """Selection of activities.

    An activity matches if it satisfies every condition that is given. A list of values has at most 50 items.
    """

    types: list[str] | None = strawberry.field(
        default=None, description="Activities of one of these types, for example `customer.segment.entered`."
    )
    category: ActivityCategory | None = strawberry.field(default=None, description="Activities of this category.")
    pass_id: strawberry.ID | None = strawberry.field(
        default=None,
        description="Activities of this pass and of the passes that were merged into it. The id of a merged pass "
        "selects the same.",
    )
    segment_ids: list[strawberry.ID] | None = strawberry.field(
        default=None, description="Entries into and exits from one of these segments."
    )
    occurred_after: RawDateTime | None = strawberry.field(
        default=None, description="Activities that occurred at this instant or later."
    )
    occurred_before: RawDateTime | None = strawberry.field(
        default=None, description="Activities that occurred before this instant."
    )
    include_silent: bool = strawberry.field(
        default=False,
        description="Whether to include silent activities: entries and exits caused by a change of a segment with "
        "`notify: SILENT`. Default: false.",
    )
    event_types: list[str] | None = strawberry.field(
        default=None,
        description="Activities that carry an event of one of these types in `data.event`, for example `purchase`. Entries, "
        "exits and changes of the tier carry the event that caused them, and none if time, a definition or a removal did.",
    )
    sources: list[str] | None = strawberry.field(
        default=None, description="Activities that carry an event from one of these sources."
    )
    metadata: list[MetadataCondition] | None = strawberry.field(
        default=None,
        description="Activities that carry an event whose metadata satisfies all of these conditions. At most 50.",
    )
    causes: list[ActivityCauseKind] | None = strawberry.field(
        default=None,
        description="Activities whose cause is of one of these kinds. The creation and the erasure of a pass have no cause.",
    )
    include_historical: bool | None = strawberry.field(
        default=None,
        description="Whether to include activities of imported events. Default: true for queries and exports, false "
        "for subscriptions and webhooks.",
    )


async def parse_event_filter(info: Info, filter: EventFilter | None, pass_id: str | None = None) -> EventQuery | None:
    """Return the store's query for a filter, or None if the filter can match nothing.

    With `pass_id`, the query is limited to that pass. Raises InvalidInput with the path of the value at fault. One
    round trip if the filter names a pass; one more if it names an external id alone, to read the sources.
    """
    if filter is None:
        return EventQuery(pass_id=pass_id)
    if filter.pass_id is not None and filter.pass_external_id is not None:
        raise InvalidInput(
            Code.INVALID, "Name the pass by `passId` or `passExternalId`, not both.", "filter", "passExternalId"
        )
    filtered_pass_id = pass_id
    if filter.pass_id is not None:
        sent_pass_id = database_id(filter.pass_id, "Pass")
        card = None if sent_pass_id is None else await info.context.load.passes.load(sent_pass_id)
        if card is None:
            return None
        filtered_pass_id = card.id
    elif filter.pass_external_id is not None:
        card = await info.context.workspace.passes.by_external_id(
            parse_external_id(filter.pass_external_id, "filter", "passExternalId")
        )
        if card is None:
            return None
        filtered_pass_id = card.id
    if pass_id is not None and filtered_pass_id != pass_id:
        return None
    external_id = parse_if_given(filter.external_id, parse_text, "filter", "externalId")
    sources = parse_each(filter.sources, parse_text, "filter", "sources")
    if external_id is not None and not sources and filtered_pass_id is None:
        sources = await _sources(info)
    return EventQuery(
        pass_id=filtered_pass_id,
        categories=parse_each(filter.categories, lambda value, *_: value, "filter", "categories"),
        types=parse_each(filter.types, parse_text, "filter", "types"),
        sources=sources,
        currency=parse_if_given(filter.currency, parse_currency, "filter", "currency"),
        occurred_after=parse_if_given(filter.occurred_after, parse_instant, "filter", "occurredAfter"),
        occurred_before=parse_if_given(filter.occurred_before, parse_instant, "filter", "occurredBefore"),
        recorded_after=parse_if_given(filter.recorded_after, parse_instant, "filter", "recordedAfter"),
        recorded_before=parse_if_given(filter.recorded_before, parse_instant, "filter", "recordedBefore"),
        amount_min=parse_if_given(filter.amount_min, parse_decimal, "filter", "amountMin"),
        amount_max=parse_if_given(filter.amount_max, parse_decimal, "filter", "amountMax"),
        external_id=external_id,
        metadata=parse_each(filter.metadata, parse_metadata_condition, "filter", "metadata"),
    )


async def _sources(info: Info) -> list[str]:
    """Return all sources of the workspace, or an empty list if there are more than 1,000.

    An external id and its source determine the id of an event, so a query that names both finds its events by id.
    """
    sources = await info.context.workspace.vocabulary.sources()
    return sources if len(sources) <= MAX_SOURCES else []


def parse_activity_filter(
    filter: ActivityFilter | None, *, historical: bool, pass_id: str | None = None
) -> ActivityQuery | None:
    """Return the store's query for a filter, or None if the filter can match nothing.

    `historical` is the value of `includeHistorical` if the filter leaves it out. With `pass_id`, the query is limited
    to that pass. Raises InvalidInput with the path of the value at fault.
    """
    if filter is None:
        return ActivityQuery(pass_id=pass_id, include_historical=historical)
    filtered_pass_id = pass_id
    if filter.pass_id is not None:
        filtered_pass_id = database_id(filter.pass_id, "Pass")
        if filtered_pass_id is None or pass_id not in (None, filtered_pass_id):
            return None
    segment_ids = None
    if filter.segment_ids is not None:
        sent_ids = parse_each(filter.segment_ids, parse_text, "filter", "segmentIds")
        segment_ids = [key for key in (database_id(text, "Segment") for text in sent_ids) if key is not None]
        if not segment_ids:
            return None
    return ActivityQuery(
        types=parse_each(filter.types, parse_text, "filter", "types"),
        category=None if filter.category is None else filter.category.value,
        pass_id=filtered_pass_id,
        segment_ids=segment_ids or (),
        occurred_after=parse_if_given(filter.occurred_after, parse_instant, "filter", "occurredAfter"),
        occurred_before=parse_if_given(filter.occurred_before, parse_instant, "filter", "occurredBefore"),
        event_types=parse_each(filter.event_types, parse_text, "filter", "eventTypes"),
        sources=parse_each(filter.sources, parse_text, "filter", "sources"),
        metadata=parse_each(filter.metadata, parse_metadata_condition, "filter", "metadata"),
        causes=parse_each(filter.causes, lambda value, *_: value.value, "filter", "causes"),
        include_silent=filter.include_silent,
        include_historical=historical if filter.include_historical is None else filter.include_historical,
    )


def parse_if_given(value: object, parse: Callable[..., T], *path: str) -> T | None:
    """Return the value as `parse` reads it, or None for None. Raises InvalidInput with the path."""
    return None if value is None else parse(value, *path)


async def include_merged_passes(
    context: RequestContext, query: ActivityQuery | None, card: Pass | None = None
) -> ActivityQuery | None:
    """Return the query for a whole pass: the survivor of the pass that the query names, and every pass merged into it.

    `card` is the survivor if the caller has read it. A query without a pass is returned as it is.
    """
    if query is None or query.pass_id is None:
        return query
    card = card or await context.load.passes.load(query.pass_id)
    # An erased pass is not found. Its activities stay in the log under the id that the pass had.
    if card is None:
        return query
    return replace(query, pass_id=card.id, aliases=await context.load.aliases.load(card.id) or ())


def parse_each(values: Sequence[object] | None, parse: Callable[..., T], *path: str) -> list[T]:
    """Return the values of a list as `parse` reads them; none for None. Raises InvalidInput for more than 50."""
    if values is None:
        return []
    if len(values) > MAX_LISTED:
        raise InvalidInput(Code.TOO_MANY, f"At most {MAX_LISTED} values; this list has {len(values)}.", *path)
    return [parse(value, *path, str(index)) for index, value in enumerate(values)]


def parse_metadata_condition(sent: MetadataCondition, *path: str) -> Condition:
    """Return the checked condition on the metadata. Raises InvalidInput with the path."""
    raw = {"path": sent.path, "operator": sent.operator.value, "value": sent.value}
    return conditions.parse_metadata_condition(raw, *path)
