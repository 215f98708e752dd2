"""The query topPasses: the customers with the greatest spend, with the most events, or with the most points earned."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from functools import partial
from hashlib import blake2b
from typing import Annotated, Any

import strawberry

from app.commands.insights.rankings import MAX_RANKED_PASSES, RankedPass, RankingQuestion, TopBy, read_ranking
from app.domain.errors import Code, InvalidInput
from app.domain.rollups.selections import Selection
from app.domain.values.currencies import parse_currency
from app.domain.values.instants import from_ms
from app.domain.values.text import parse_text
from app.graphql.context import Info
from app.graphql.passes.passes import Pass
from app.graphql.types.enums import describe_enum
from app.graphql.types.filters import parse_each
from app.graphql.types.freshness import Freshness, LaterFreshness, mark_customers, read_freshness
from app.graphql.types.node import fetch_node
from app.graphql.types.paging import After, First, PageInfo, Pagination
from app.graphql.types.selections import check_arguments
from app.store.mongo.paging import Page, PageRequest

from .periods import PeriodInput, parse_period

describe_enum(
    TopBy,
    "TopBy",
    {
        "SPEND": "Net spend in the currency, as `Pass.statistics` counts it.",
        "COUNT": "Number of the customer's events. Events that rules made do not count.",
        "POINTS": "Points earned, less those that corrections took back. Points that other passes sent do not count.",
    },
)


@strawberry.input
class TopPassesInput(PeriodInput):
    """Question for the passes with the greatest values. Give a `month`, a `period`, or `from` and `to`."""

    by: TopBy = strawberry.field(description="What the passes are compared by.")
    types: list[str] | None = strawberry.field(
        default=None,
        description="Event types that count, at most 50. Default: all types. With types, the events of the period are "
        "read, so a long period may cost too much. Not for `POINTS`.",
    )
    currency: str | None = strawberry.field(
        default=None,
        description="Currency of `SPEND`: a code of ISO 4217. Default: the currency of the workspace. Amounts of other "
        "currencies do not count.",
    )
    first: int | None = strawberry.field(
        default=None,
        description="Number of passes of a page: 0 to 250. Default: 50. The arguments of `passes` replace it.",
    )
    after: str | None = strawberry.field(
        default=None, description="Cursor. The page begins with the first pass after it."
    )


@strawberry.type
class TopPass:
    """Pass with its value."""

    rank: int = strawberry.field(
        description="Position in the order, from 1. Passes with equal values have different ranks."
    )
    value: Decimal = strawberry.field(description="Value that the passes are compared by, above 0.")
    pass_id: strawberry.Private[str]

    @strawberry.field(
        name="pass",
    )
    async def card(self, info: Info) -> Pass | None:
        """The pass. Null if it was erased since."""
        card: Pass | None = await fetch_node(info.context, "Pass", self.pass_id)
        return card


def _key(item: RankedPass) -> tuple[int, str, Decimal]:
    return item.rank, item.pass_id, item.value


def _listing_of(question: RankingQuestion) -> Pagination[RankedPass]:
    """Return the paging of one question. It refuses cursors of others, whose ranks mean nothing here."""
    own = blake2b(repr(question.key).encode(), digest_size=6).hexdigest()
    return Pagination(f"top {own}", (int, str, Decimal), _key)


@strawberry.type
class TopPassPage:
    """Page of passes, the greatest value first."""

    nodes: list[TopPass] = strawberry.field(description="Passes of the page.")
    page_info: PageInfo = strawberry.field(description="Position of the page among the passes.")


@strawberry.type
class TopPasses:
    """Answer of `topPasses`."""

    from_at: datetime = strawberry.field(name="from", description="Start of the period, inclusive.")
    to_at: datetime = strawberry.field(name="to", description="End of the period, exclusive.")
    timezone: str = strawberry.field(description="IANA time zone of the period.")
    currency: str | None = strawberry.field(description="Currency of the values. Null unless they are spend.")
    later: strawberry.Private[LaterFreshness]
    question: strawberry.Private[RankingQuestion]
    input: strawberry.Private[TopPassesInput]

    @strawberry.field
    async def freshness(self, info: Info) -> Freshness:
        """How current the first page is. The order of later pages may be a minute older."""
        return await self.later.read(info)

    @strawberry.field
    async def passes(self, info: Info, first: First = None, after: After = None) -> TopPassPage:
        """Passes with a value above 0, the greatest first.

        At most 10,000 passes can be paged through. The pages after the first one show the same order for a minute.
        """
        listing = _listing_of(self.question)
        span = listing.span_or_default(self.input, first, after)
        page = await _read_page(info, self.question, span)
        nodes = [TopPass(rank=each.rank, value=each.value, pass_id=each.pass_id) for each in page.items]
        return TopPassPage(nodes=nodes, page_info=listing.info(page, span))


async def _read_page(info: Info, question: RankingQuestion, span: PageRequest) -> Page[RankedPass]:
    last = None if span.after is None else _pass_at(*span.after)

    async def read() -> Page[RankedPass]:
        return Page(*await read_ranking(info.context.commands, question, span.limit, last))

    return await info.context.read_once(info, ("top passes", question, span), read)


def _pass_at(rank: int, pass_id: str, value: Decimal) -> RankedPass:
    return RankedPass(min(max(rank, 0), MAX_RANKED_PASSES), pass_id, value)


async def top_passes(
    info: Info, input: Annotated[TopPassesInput, strawberry.argument(description="Comparison and period.")]
) -> TopPasses:
    """Find the passes with the greatest values in a period. Needs the scope `read`.

    Without `types`, the answer costs the same however many events there are. It comes from sums of each pass by month and
    year. While more than 50,000 events of the period are in none of them yet, the query fails with `LIMIT` and advice.
    """
    asked = await parse_period(info, input)
    profile = await info.context.commands.profile()
    currency = None
    if input.by is TopBy.SPEND:
        currency = profile.currency if input.currency is None else parse_currency(input.currency, "input", "currency")
    elif input.currency is not None:
        raise InvalidInput(Code.INVALID, "Leave out `currency`, or compare by `SPEND`.", "input", "currency")
    question = RankingQuestion(
        by=input.by,
        after=from_ms(asked.from_ms),
        before=from_ms(asked.to_ms),
        currency=currency,
        types=tuple(sorted(set(parse_each(input.types, parse_text, "input", "types")))),
        is_rolling=bool(input.period and input.period.rolling),
    )
    spans: list[PageRequest] = []

    def note_page(**arguments: Any) -> None:
        spans.append(_listing_of(question).span_or_default(input, **arguments))

    check_arguments(info, "passes", note_page)
    marks = await mark_customers(info, are_read=bool(spans))
    found = await read_freshness(info, Selection(asked.from_ms, asked.to_ms))
    return TopPasses(
        from_at=question.after,
        to_at=question.before,
        timezone=asked.zone.key,
        currency=currency,
        later=LaterFreshness(marks, found, [partial(_read_page, question=question, span=span) for span in spans]),
        question=question,
        input=input,
    )
