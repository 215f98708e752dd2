"""The report as one HTML page, which loads nothing and runs no script."""

from __future__ import annotations

from decimal import Decimal
from functools import cache
from importlib.resources import files

from liquid import Environment
from liquid.template import BoundTemplate
from markupsafe import Markup

from .charts import draw_bars, draw_columns
from .figures import percent, shorten, show
from .reading import MonthReport

SEGMENTS_DRAWN = 20
"""Segments with a bar; the table below the bars lists all of them."""


def write_page(report: MonthReport) -> str:
    """Return the page. Every text of the workspace is escaped."""
    busiest = max((number for day in report.weekdays for number in day.counts), default=0)
    return _template().render(
        report=_texts(report),
        figures=[
            {"name": each.name, "value": each.text, "before": each.text_before, "change": each.change,
             "direction": each.direction}
            for each in report.figures
        ],
        revenue=_revenue(report),
        types=[
            {"type": each.name, "count": each.text, "before": each.text_before, "change": each.change}
            for each in report.types
        ],
        weekdays=[
            {"name": each.name, "cells": [_cell(n, busiest) for n in each.counts]}
            for each in (report.weekdays if busiest else ())
        ],
        cohorts=[
            {"month": f"{row.month:%B} {row.month.year}", "size": f"{row.size:,}",
             "cells": [_shade(number, row.size) for number in row.active]}
            for row in report.cohorts
        ],
        refusals=report.refusals,
        customers=[
            {"name": row.name or row.external_id, "id": row.external_id, "spend": show(row.spend, report.currency)}
            for row in report.customers
        ],
        segments=[
            {"name": row.name, "now": f"{row.now:,}", "at_end": f"{row.at_end:,}", "entered": f"{row.entered:,}",
             "left": f"{row.left:,}"}
            for row in report.segments
        ],
        sizes=_sizes(report),
    )  # fmt: skip


def _texts(report: MonthReport) -> dict[str, object]:
    return {
        "workspace": report.workspace,
        "title": report.title,
        "before": report.title_before,
        "currency": report.currency,
        "timezone": report.timezone,
        "as_of": f"{report.as_of:%Y-%m-%d %H:%M} UTC",
        "has_events": not report.is_empty,
        "over": report.is_over,
        "exact": report.exact,
    }


def _cell(number: int, busiest: int) -> dict[str, object]:
    """Return a cell of the busiest hours: its short text, its exact number, and the number of its colour, from 0 to 9."""
    return {"text": shorten(number), "exact": f"{number:,}", "shade": number * 9 // busiest}


def _shade(part: int, whole: int) -> dict[str, object]:
    """Return a cell of a triangle: its text in percent, and the number of its colour, from 0 to 9."""
    return {"text": percent(part, whole), "shade": part * 9 // whole}


def _revenue(report: MonthReport) -> Markup | None:
    if not any(value for _, value in report.days):
        return None
    bars = [(str(day.day), f"{day:%A}, {day.day} {day:%B}", value) for day, value in report.days]
    return Markup(draw_columns("revenue", bars, lambda value: show(value, report.currency)))


def _sizes(report: MonthReport) -> Markup | None:
    if not any(row.now for row in report.segments):
        return None
    bars = [(row.name, row.name, Decimal(row.now)) for row in report.segments[:SEGMENTS_DRAWN]]
    return Markup(draw_bars("sizes", bars, show))


@cache
def _template() -> BoundTemplate:
    text = (files(__package__) / "month.html.liquid").read_text(encoding="utf-8")
    return Environment(autoescape=True).from_string(text)
