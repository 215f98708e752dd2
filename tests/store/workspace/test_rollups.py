"""Rows of counted events: the store computes the same rows as the domain from the same events."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import product
from zoneinfo import ZoneInfo

import pytest

from app.domain.events.events import Category, Event
from app.domain.rollups.rows import CountedRow, add_rows, row_of
from app.domain.rollups.selections import Cells, Selection
from app.domain.values.instants import EARLIEST, LATEST, to_ms
from app.domain.values.zones import days_of
from tests.business import Business

from .counted import ZONES, store_events

NEEDS_DATE_TRUNC = pytest.mark.not_on_java("it has no $dateTrunc")
ALL_TIME = Selection(to_ms(EARLIEST), to_ms(LATEST))
SELECTIONS = (
    ALL_TIME,
    replace(ALL_TIME, types=("purchase",)),
    replace(ALL_TIME, types=("purchase", "visit"), sources=("till",)),
    replace(ALL_TIME, categories=(Category.TRANSACTION,), currency="EUR"),
    Selection(-7_777_777, 1_743_292_812_345),
)


def rows_by_key(rows: Iterable[CountedRow]) -> dict[object, object]:
    return {(row.start_ms, row.type, row.key): row.totals for row in rows}


def is_selected(selection: Selection, event: Event) -> bool:
    return (
        selection.from_ms <= event.occurred_ms < selection.to_ms
        and (not selection.types or event.type in selection.types)
        and (not selection.categories or event.category in selection.categories)
        and (not selection.sources or event.source in selection.sources)
        and selection.currency in (None, event.currency)
    )


@NEEDS_DATE_TRUNC
async def test_rows_of_the_store_equal_those_added_up_from_the_events(business: Business) -> None:
    events = await store_events(business, 600)
    for selection, (cells, zone_name) in product(SELECTIONS, ((Cells.TOTAL, "UTC"), (Cells.QUARTER_HOUR, "UTC"))):
        asked = replace(selection, cells=cells)
        rows = [row_of(event) for event in events if is_selected(selection, event)]
        assert rows
        expected = (
            add_rows(replace(row, start_ms=selection.from_ms) for row in rows)
            if cells is Cells.TOTAL
            else add_rows(rows)
        )
        found, _ = await business.ctx.workspace.rollups.rows_of_events(asked, ZoneInfo(zone_name))
        assert len(found) == len(expected)
        assert rows_by_key(found) == rows_by_key(expected), (asked, zone_name)


@NEEDS_DATE_TRUNC
async def test_rows_by_day_lie_in_the_day_of_the_zone_on_which_their_events_occurred(business: Business) -> None:
    events = await store_events(business, 400)
    for zone in map(ZoneInfo, ZONES):
        days = days_of(zone)
        for selection in (SELECTIONS[0], SELECTIONS[4]):
            chosen = [event for event in events if is_selected(selection, event)]
            expected = add_rows(
                replace(row_of(event), start_ms=days.start_ms(days.day_of(event.occurred_ms))) for event in chosen
            )
            found, _ = await business.ctx.workspace.rollups.rows_of_events(replace(selection, cells=Cells.DAY), zone)
            assert all(row.start_ms >= selection.from_ms for row in found)
            by_day = [replace(row, start_ms=days.start_ms(days.day_of(row.start_ms))) for row in found]
            assert rows_by_key(by_day) == rows_by_key(expected), (zone, selection)
