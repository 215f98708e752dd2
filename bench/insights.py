"""The part `insights`: questions about all customers of a year, beside a bare `$group` over the same events.

The rollups are written as the seal stage would leave them: heads and contents of every hour, day and month. They are
computed from the shapes of the stock, so that ten million events need not be read again.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from itertools import groupby
from typing import Any

from pymongo import MongoClient

from app.domain.rollups.building import build_content
from app.domain.rollups.levels import Level
from app.domain.rollups.periods import sum_months, sum_years
from app.domain.rollups.rows import CountedRow, Totals, add_rows, row_of
from app.domain.rollups.twelve_months import sum_twelve_months
from app.domain.values.instants import format_instant, from_ms
from app.domain.values.periods import PeriodUnit, add_periods
from app.store.codecs.rollups import content_to_docs, head_id, parts_of
from app.store.mongo.queries import Database, Doc
from app.store.stages.pass_periods import SealedPass, Sealing
from workers.stages.count_active import mark_left
from workers.worker import Worker

from .http import Client
from .stock import INSERT_BATCH_SIZE, PASSES_AT_ONCE, Stock, split_documents
from .timing import Processes, Run, Side, compare, timed

MAX_BARE_EVENTS = 1_000_000
"""Events of a stock up to which a bare `$group` is measured. With more, it takes the store minutes and gigabytes."""

AGGREGATE = """query Aggregate($input: AggregateInput!) {
  aggregateEvents(input: $input) { value count groups { nodes { value from } } freshness { exact } } }"""
HISTOGRAM = """query Histogram($input: EventHistogramInput!) { eventHistogram(input: $input) {
  buckets { weekday hour count } freshness { exact } } }"""
SUMMARY = """query Summary($input: EventSummaryInput!) { eventSummary(input: $input) {
  totalEvents purchases revenue { currency net orders } byType { type count } freshness { exact } } }"""
ACTIVE = """query Active($input: EventSummaryInput!) { eventSummary(input: $input) {
  activePasses newPasses returningPasses freshness { exact } } }"""
TOP = """query Top($input: TopPassesInput!) { topPasses(input: $input) {
  passes { nodes { rank value pass { externalId } } } freshness { exact } } }"""


@dataclass(frozen=True)
class Asked:
    """A stock that is asked: its number of events, and a client of an API that answers for it alone."""

    events: int
    stock: Stock
    client: Client


@dataclass(frozen=True)
class Question:
    """One question: the GraphQL operation, and the stages of a bare aggregation that reads the same events."""

    title: str
    query: str
    input: Mapping[str, object]
    period: tuple[datetime, datetime]
    group: Doc
    after: tuple[Doc, ...] = ()


def list_questions(stock: Stock) -> list[Question]:
    """Return the questions about the last twelve whole months, the last one of them, and its calendar year."""
    end = stock.definitions.versions[-1].at.date().replace(day=1)
    start, month = add_periods(end, PeriodUnit.MONTH, -12), add_periods(end, PeriodUnit.MONTH, -1)
    bounds = [datetime.fromisoformat(f"{day}T00:00:00+00:00") for day in (start, end)]
    year = {"from": format_instant(bounds[0]), "to": format_instant(bounds[1])}
    spent: Doc = {"_id": None, "n": {"$sum": 1}, "value": {"$sum": "$amount"}}
    by_month = {"$dateTrunc": {"date": "$occurred_at", "unit": "month"}}
    by_weekday = {"$dayOfWeek": "$occurred_at"}
    berlin = {"timezone": "Europe/Berlin"}
    by_hour = [{name: {"date": "$occurred_at", **berlin}} for name in ("$dayOfWeek", "$hour")]
    whole_month = (datetime.fromisoformat(f"{month}T00:00:00+00:00"), bounds[1])
    period = (bounds[0], bounds[1])
    calendar = [datetime.fromisoformat(f"{number}-01-01T00:00:00+00:00") for number in (month.year, month.year + 1)]
    calendar_year = {"from": format_instant(calendar[0]), "to": format_instant(calendar[1])}
    total = {"function": "SUM", "currency": "USD", **year}
    top = ({"$sort": {"value": -1}}, {"$limit": 50})
    return [
        Question("A year's total", AGGREGATE, total, period, spent),
        Question("A year by month", AGGREGATE, {**total, "groupBy": ["MONTH"]}, period, {**spent, "_id": by_month}),
        Question("Summary of a month", SUMMARY, {"month": f"{month:%Y-%m}"}, whole_month, {**spent, "_id": "$type"}),
        Question("Active customers of a month", ACTIVE, {"month": f"{month:%Y-%m}"}, whole_month,
                 {**spent, "_id": "$pass"}, ({"$count": "n"},)),
        Question("Weekdays of a year", HISTOGRAM, {"by": "WEEKDAY", **year}, period, {**spent, "_id": by_weekday}),
        Question("Weekdays of a year in Berlin", HISTOGRAM, {"by": "WEEKDAY", **year, **berlin}, period,
                 {**spent, "_id": by_hour[0]}),
        Question("Hours of the week of a year in Berlin", HISTOGRAM, {"by": "WEEKDAY_AND_HOUR", **year, **berlin}, period,
                 {**spent, "_id": by_hour}),
        Question("Top 50 customers of a calendar year", TOP, {"by": "SPEND", "first": 50, **calendar_year},
                 (calendar[0], calendar[1]), {**spent, "_id": "$pass"}, top),
        Question("Top 50 customers of twelve months", TOP, {"by": "SPEND", "first": 50, **year}, period,
                 {**spent, "_id": "$pass"}, top),
    ]  # fmt: skip


async def seal_stock(stock: Stock) -> None:
    """Write the rollups of the stock and the sums of its passes, as the stages that seal would leave them.

    Count the active passes, too.
    """
    await _seal_hours(stock)
    worker = Worker.on(stock.ctx.resources)
    queries = worker.pass_period_queries
    for (card, events), pass_ids in stock.shapes:
        months = sum_months(events)
        sums = {**months, **sum_years(months)}
        twelve = (
            {max(months): sum_twelve_months({month: own.values() for month, own in months.items()})} if months else {}
        )
        sealings = [Sealing(SealedPass(replace(card, id=pass_id)), sums, twelve) for pass_id in pass_ids]
        docs = list(Sealing(SealedPass(card), sums, twelve).docs())
        for part in split_documents(sealings, PASSES_AT_ONCE):
            copies = [_of_pass(doc, each.before.card.id) for each in part for doc in docs]
            await _insert(stock.ctx.resources.db, "pass_periods", copies)
            named = await queries.commit(part)
            assert len(named) == len(part), "a pass has changed"
    workspace_id, counts = stock.ctx.workspace.id, worker.active_count_queries
    while await mark_left(worker, workspace_id):
        pass
    for each in await counts.dirty(workspace_id):
        await counts.store(workspace_id, each, await counts.count(workspace_id, each.period))


async def _seal_hours(stock: Stock) -> None:
    """Write heads and contents of hours, days and months."""
    db, workspace_id = stock.ctx.resources.db, stock.ctx.workspace.id
    rows = add_rows(
        CountedRow(row.start_ms, row.type, row.key, totals=_times(row.totals, len(pass_ids)))
        for (_, events), pass_ids in stock.shapes
        if pass_ids
        for row in map(row_of, events)
    )
    for level in Level:
        heads, contents = list[Doc](), list[Doc]()
        for start_ms, own in _by_period(rows, level):
            token = 1 + secrets.randbelow(2**48)
            content = build_content(own, level)
            docs = content_to_docs(content, workspace_id, level, start_ms, token=token)
            # The seal stores the mark that it read. Any number serves for a head that is clean.
            contents += [{**doc, "mark": token} for doc in docs]
            types = [list(part) for part in parts_of(content)]
            named = {"workspace": workspace_id, "level": level.value, "start": from_ms(start_ms)}
            heads.append({"_id": head_id(workspace_id, level, start_ms), **named, "sealed": token, "types": types})
        await _insert(db, "rollups", contents)
        await _insert(db, "rollup_heads", heads)


async def measure_insights(asked: Sequence[Asked], processes: Processes, times: int) -> dict[str, list[Side]]:
    """Measure the seconds of each question over HTTP, with all stocks in turns. Returns the sides by title.

    The sides over HTTP come first, in the order of the stocks, then those of a bare `$group`.
    """
    found: dict[str, list[Side]] = {}
    for questions in zip(*(list_questions(each.stock) for each in asked), strict=True):
        sides = [_side_over_http(each, question) for each, question in zip(asked, questions, strict=True)]
        await compare(sides, processes, rounds=times)
        for each, question in zip(asked, questions, strict=True):
            if each.events > MAX_BARE_EVENTS:
                continue
            bare = Side(f"bare $group, {each.events:,} events")
            for _ in range(max(1, times // 10)):
                await timed(bare, processes, _bare(each.stock, question))
            sides.append(bare)
        found[questions[0].title] = sides
    return found


def _side_over_http(asked: Asked, question: Question) -> Side:
    run = partial(_ask, asked.client, asked.client.body(question.query, {"input": question.input}))

    async def prepare() -> Run:
        return run

    return Side(f"over HTTP, {asked.events:,} events", prepare)


def _bare(stock: Stock, question: Question) -> Callable[[], Awaitable[object]]:
    start, end = question.period
    where = {"workspace": stock.ctx.workspace.id, "occurred_at": {"$gte": start, "$lt": end}}
    stages = [{"$match": where}, {"$group": question.group}, *question.after]
    settings = stock.ctx.resources.settings

    def run() -> None:
        # A client of its own, because that of Punchcard ends a read after some seconds.
        with MongoClient[Doc](settings.mongodb_uri) as client:
            list(client[settings.database]["events"].aggregate(stages))

    return lambda: asyncio.to_thread(run)


async def _ask(client: Client, body: bytes) -> None:
    answer = await client.send(body)
    assert "errors" not in answer, answer
    [data] = answer["data"].values()
    assert data["freshness"]["exact"], data


def _of_pass(doc: Doc, pass_id: str) -> Doc:
    """Return the document of a sum as another pass of the same shape has it."""
    return {**doc, "_id": doc["_id"].replace(doc["pass"], pass_id), "pass": pass_id}


def _by_period(rows: Iterable[CountedRow], level: Level) -> Iterator[tuple[int, list[CountedRow]]]:
    """Return the rows of each period of a level, by its first instant."""

    def start_of(row: CountedRow) -> int:
        return level.start_ms(row.start_ms)

    for start_ms, own in groupby(sorted(rows, key=start_of), start_of):
        yield start_ms, list(own)


def _times(totals: Totals, number: int) -> Totals:
    """Return the totals of the same events on so many passes."""
    return Totals(
        totals.count * number, totals.sum * number, min=totals.min, max=totals.max,
        points_count=totals.points_count * number, points_sum=totals.points_sum * number,
        points_min=totals.points_min, points_max=totals.points_max,
    )  # fmt: skip


async def _insert(db: Database, name: str, docs: list[Any]) -> None:
    for part in split_documents(docs, INSERT_BATCH_SIZE):
        await db[name].insert_many(part, ordered=False)
