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
_DIRECTION_CONTROLS = dict.fromkeys((0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)))
"""Invisible characters that change the direction in which a browser writes what follows."""


def write_page(report: MonthReport) -> str:
    """Return the page. Every text of the workspace is escaped, and none changes the order of what stands beside it."""
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
            {"type": _isolate(each.name), "count": each.text, "before": each.text_before, "change": each.change}
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
            {"name": _isolate(row.name or row.external_id), "id": _isolate(row.external_id),
             "spend": show(row.spend, report.currency)}
            for row in report.customers
        ],
        segments=[
            {"name": _isolate(row.name), "now": f"{row.now:,}", "at_end": f"{row.at_end:,}", "entered": f"{row.entered:,}",
             "left": f"{row.left:,}"}
            for row in report.segments
        ],
        sizes=_sizes(report),
    )  # fmt: skip


def _texts(report: MonthReport) -> dict[str, object]:
    return {
        "workspace": _isolate(report.workspace),
        "page_title": f"{_without_controls(report.workspace)}, {report.title}",
        "title": report.title,
        "before": report.title_before,
        "currency": report.currency,
        "timezone": report.timezone,
        "as_of": f"{report.as_of:%Y-%m-%d %H:%M} UTC",
        "has_events": not report.is_empty,
        "over": report.is_over,
        "exact": report.exact,
    }


def _isolate(text: str) -> Markup:
    """Return a text in an element of its own. The browser orders a text from right to left apart from its neighbours."""
    return Markup("<bdi>{}</bdi>").format(_without_controls(text))


def _without_controls(text: str) -> str:
    return text.translate(_DIRECTION_CONTROLS)


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
    shown = [(_without_controls(row.name), row.now) for row in report.segments[:SEGMENTS_DRAWN]]
    bars = [(name, name, Decimal(now)) for name, now in shown]
    return Markup(draw_bars("sizes", bars, show))


@cache
def _template() -> BoundTemplate:
    text = (files(__package__) / "month.html.liquid").read_text(encoding="utf-8")
    return Environment(autoescape=True).from_string(text)
