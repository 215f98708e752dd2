"""The list of passes: its filter, its orders, and the page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from enum import StrEnum
from typing import Annotated

import strawberry

from app.domain.passes import pass_queries
from app.domain.passes import passes as domain
from app.domain.passes.pass_queries import PassOrderField, PassQuery, sort_key
from app.domain.passes.search_tokens import (
    MAX_SEARCH_LENGTH,
    MAX_SEARCH_WORDS,
    NAMELESS,
    Search,
    parse_search,
)
from app.domain.values.decimals import parse_decimal
from app.domain.values.instants import parse_instant, to_ms
from app.domain.values.text import parse_external_id, parse_text
from app.graphql.context import Info
from app.graphql.types.consistency import Consistency, ConsistencyArgument, TokenArgument, await_consistency
from app.graphql.types.enums import describe_enum
from app.graphql.types.filters import MetadataCondition, parse_each, parse_if_given, parse_metadata_condition
from app.graphql.types.ids import database_id
from app.graphql.types.paging import After, Before, Connection, First, Last, Pagination
from app.graphql.types.scalars import RawDateTime, RawDecimal
from app.store.mongo.paging import Key, Page, PageRequest
from app.store.workspace.finding import MAX_COUNTED_PASSES

from .kinds import PassStatus
from .passes import Pass, pass_of


class OrderDirection(StrEnum):
    """Direction of an order."""

    ASC = "ASC"
    DESC = "DESC"


describe_enum(
    OrderDirection,
    "OrderDirection",
    {"ASC": "The least, earliest or alphabetically first value comes first.", "DESC": "The other way round."},
)
describe_enum(
    PassOrderField,
    "PassOrderField",
    {
        "CREATED": "By `createdAt`.",
        "LAST_EVENT": "By the instant of the last event of the customer, as `statistics.lastEventAt` has it. Passes without "
        "an event are before all others in ascending order.",
        "NAME": "By the name of the holder, without regard to case and accents, up to 32 characters. Passes without a name "
        "are after all others in ascending order.",
        "POINTS": "By `pointsBalance`.",
    },
)


@strawberry.input
class PassOrder:
    """Order of a list of passes. Passes with the same value are in the order of their ids."""

    field: PassOrderField = strawberry.field(description="Value by which the passes are ordered.")
    direction: OrderDirection = strawberry.field(
        default=OrderDirection.DESC, description="Direction of the order. Default: `DESC`."
    )


@strawberry.input
class PassFilter:
    """Selection of passes.

    A pass matches if it satisfies every condition that is given. A list of values has at most 50 items, and a pass
    matches it by one of them. An empty list selects no pass, except in `notInSegmentIds` and `fields`.
    """

    search: str | None = strawberry.field(
        default=None,
        description="Words, or beginnings of words, of the name, e-mail address, telephone number or external id, or of the "
        'searchable fields of the workspace. "ann exam" finds Ann with an address at example.com. Each word must match. '
        "Case, accents and punctuation make no difference. A telephone number matches in any spelling, with or without its "
        f"country code, and by its last 7, 6, 5 or 4 digits. At most {MAX_SEARCH_LENGTH} characters and {MAX_SEARCH_WORDS} "
        "words. A text without letters and digits selects every pass.",
    )
    ids: list[strawberry.ID] | None = strawberry.field(
        default=None, description="Passes with one of these ids. The id of a merged pass selects the pass that remains."
    )
    external_ids: list[str] | None = strawberry.field(
        default=None, description="Passes with one of these external ids. That of a merged pass selects the other pass."
    )
    segment_ids: list[strawberry.ID] | None = strawberry.field(
        default=None, description="Current members of one of these segments."
    )
    not_in_segment_ids: list[strawberry.ID] | None = strawberry.field(
        default=None, description="Passes that are in none of these segments now."
    )
    status: list[PassStatus] | None = strawberry.field(default=None, description="Passes in one of these states.")
    tier_keys: list[str] | None = strawberry.field(default=None, description="Passes whose tier has one of these keys.")
    fields: list[MetadataCondition] | None = strawberry.field(
        default=None,
        description='Passes whose fields satisfy all of these conditions. A path begins within the fields: "city" for '
        "`fields.city`. At most 50.",
    )
    created_after: RawDateTime | None = strawberry.field(
        default=None, description="Passes created at this instant or later."
    )
    created_before: RawDateTime | None = strawberry.field(
        default=None, description="Passes created before this instant."
    )
    last_event_after: RawDateTime | None = strawberry.field(
        default=None, description="Passes whose last event occurred at this instant or later."
    )
    last_event_before: RawDateTime | None = strawberry.field(
        default=None,
        description="Passes whose last event occurred before this instant. Passes without an event do not match.",
    )
    points_min: RawDecimal | None = strawberry.field(
        default=None, description="Passes with at least this balance of points."
    )
    points_max: RawDecimal | None = strawberry.field(
        default=None, description="Passes with at most this balance of points."
    )
    consent: str | None = strawberry.field(
        default=None, description="Passes whose customer has given the consent of this key, and has not revoked it."
    )


FilterArgument = Annotated[
    PassFilter | None,
    strawberry.argument(
        description="Selection of the passes; default: all. Indexes serve the words of a search, `segmentIds`, and the "
        "ranges of creation, last event and points. A page examines at most 20,000 passes, and `totalCount` at most "
        f"{MAX_COUNTED_PASSES:,}. Beyond that, the field fails with `BAD_USER_INPUT`, and the message says how to narrow "
        "the filter."
    ),
]
OrderArgument = Annotated[
    PassOrder | None, strawberry.argument(description="Order of the list. Default: `CREATED`, `DESC`.")
]


class _PassPagination(Pagination[domain.Pass]):
    """Paging of the list of passes in one order. Cursors hold an empty text for the lack of a name."""

    def __init__(self, kind: str, order: PassOrderField, shape: tuple[type, ...]) -> None:
        super().__init__(kind, shape, lambda card: _to_cursor(sort_key(card, order)))
        self._order = order

    def span(self, first: int | None, after: str | None, last: int | None, before: str | None) -> PageRequest:
        """Return the part of the list that the paging arguments ask for, with keys as `sort_key` makes them."""
        span = super().span(first, after, last, before)
        return replace(span, after=self._sort_key(span.after), before=self._sort_key(span.before))

    def _sort_key(self, key: Key | None) -> Key | None:
        if key is None or self._order is not PassOrderField.NAME:
            return key
        return key[0] or NAMELESS, key[1]


def _to_cursor(key: tuple[int | str | Decimal, str]) -> tuple[int | str | Decimal, str]:
    value, pass_id = key
    return "" if value == NAMELESS else value, pass_id


LISTINGS = {
    PassOrderField.CREATED: _PassPagination("pass", PassOrderField.CREATED, (int, str)),
    PassOrderField.LAST_EVENT: _PassPagination("pass by last event", PassOrderField.LAST_EVENT, (int, str)),
    PassOrderField.NAME: _PassPagination("pass by name", PassOrderField.NAME, (str, str)),
    PassOrderField.POINTS: _PassPagination("pass by points", PassOrderField.POINTS, (Decimal, str)),
}
"""Paging in each order. A cursor of one order is refused in another."""


async def list_passes(
    info: Info,
    filter: FilterArgument = None,
    order_by: OrderArgument = None,
    first: First = None,
    after: After = None,
    last: Last = None,
    before: Before = None,
    consistency: ConsistencyArgument = Consistency.EVENTUAL,
    token: TokenArgument = None,
) -> Connection[Pass]:
    """List the passes of the workspace, or those that a filter selects. Default: newest first. Needs the scope `read`.

    Passes are found as workers have counted them: a new name or a new event counts with the next fold.
    """
    order = pass_queries.PassOrder()
    if order_by is not None:
        order = pass_queries.PassOrder(order_by.field, order_by.direction is OrderDirection.ASC)
    listing, context = LISTINGS[order.field], info.context
    span = listing.span(first, after, last, before)
    await await_consistency(info, consistency, token)
    query = await _parse_filter(info, filter)
    store, text = context.workspace.finding, repr(query)

    async def read() -> Page[domain.Pass]:
        return await store.page(query, span, order, to_ms(await context.commands.now()))

    async def count() -> int:
        if query.matches_none:
            return 0
        return await context.read_once(info, ("count of passes", text), lambda: store.count(query))

    nothing: Page[domain.Pass] = Page([], has_more=False)
    page = nothing if query.matches_none else await context.read_once(info, ("passes", text, span, order), read)
    for card in page.items:
        context.load.passes.prime(card.id, card)
    return listing.connection(page, span, pass_of, count)


async def _parse_filter(info: Info, filter: PassFilter | None) -> PassQuery:
    """Return the store's query. Raises InvalidInput with the path of the value at fault.

    One round trip if the filter names passes by id, and two by external id.
    """
    if filter is None:
        return PassQuery()
    fields = parse_each(filter.fields, parse_metadata_condition, "filter", "fields")
    return PassQuery(
        search=Search() if filter.search is None else parse_search(filter.search, "filter", "search"),
        ids=await _parse_ids(info, filter),
        segment_ids=_parse_segments(filter.segment_ids, "segmentIds"),
        not_in_segment_ids=_parse_segments(filter.not_in_segment_ids, "notInSegmentIds") or (),
        statuses=None if filter.status is None else [status.value for status in filter.status],
        tier_keys=None if filter.tier_keys is None else parse_each(filter.tier_keys, parse_text, "filter", "tierKeys"),
        fields=fields,
        created_after=parse_if_given(filter.created_after, parse_instant, "filter", "createdAfter"),
        created_before=parse_if_given(filter.created_before, parse_instant, "filter", "createdBefore"),
        last_event_after=parse_if_given(filter.last_event_after, parse_instant, "filter", "lastEventAfter"),
        last_event_before=parse_if_given(filter.last_event_before, parse_instant, "filter", "lastEventBefore"),
        points_min=parse_if_given(filter.points_min, parse_decimal, "filter", "pointsMin"),
        points_max=parse_if_given(filter.points_max, parse_decimal, "filter", "pointsMax"),
        consent=parse_if_given(filter.consent, parse_text, "filter", "consent"),
    )


async def _parse_ids(info: Info, filter: PassFilter) -> Sequence[str] | None:
    """Return the ids of the passes that the filter names, or of their survivors; None if it names none."""
    if filter.ids is None and filter.external_ids is None:
        return None
    named: list[set[str]] = []
    if filter.ids is not None:
        sent = parse_each(filter.ids, parse_text, "filter", "ids")
        known = [pass_id for text in sent if (pass_id := database_id(text, "Pass")) is not None]
        cards = await info.context.load.passes.load_many(known)
        named.append({card.id for card in cards if card is not None})
    if filter.external_ids is not None:
        names = parse_each(filter.external_ids, parse_external_id, "filter", "externalIds")
        named.append({card.id for card in (await info.context.workspace.passes.get_by_external_ids(names)).values()})
    return sorted(set.intersection(*named))


def _parse_segments(sent: Sequence[str] | None, name: str) -> Sequence[str] | None:
    """Return the database ids of segments. An id of another type names no segment."""
    if sent is None:
        return None
    texts = parse_each(sent, parse_text, "filter", name)
    return [segment_id for text in texts if (segment_id := database_id(text, "Segment")) is not None]
