"""Charts are SVG without scripts, and their tooltips have the exact values."""

from __future__ import annotations

import re
from decimal import Decimal
from xml.etree.ElementTree import fromstring

from app.cli.reports.charts import draw_bars, draw_columns
from app.cli.reports.figures import show


def read_tooltips(svg: str) -> list[str]:
    """Return the tooltips of a chart, in order."""
    return [element.text or "" for element in fromstring(svg).iter() if element.tag.endswith("title")]


def test_a_tooltip_has_the_exact_value_of_its_bar() -> None:
    huge = Decimal("12345678901234567890.12")
    bars = [("1", "Monday", huge), ("2", "<b>", Decimal(0)), ("3", "Wednesday", Decimal(-5))]
    texts = ["Monday: 12,345,678,901,234,567,890.12 EUR", "<b>: 0.00 EUR", "Wednesday: -5.00 EUR"]
    assert read_tooltips(draw_columns("revenue", bars, lambda value: show(value, "EUR"))) == texts
    assert read_tooltips(draw_bars("revenue", bars, lambda value: show(value, "EUR"))) == texts[::-1]


def test_a_chart_has_no_script_and_no_address() -> None:
    svg = draw_columns("revenue", [("<script>", "</svg><script>", Decimal(1))], show)
    tags = {element.tag.rpartition("}")[2] for element in fromstring(svg).iter()}
    assert {"script", "a", "image", "desc", "foreignObject"} & tags == set()
    assert re.findall(r"https?://[^\"]*", svg) == ["http://www.w3.org/2000/svg"]
    assert " on" not in re.sub(r">[^<]*<", "><", svg)


def test_the_same_values_give_the_same_chart() -> None:
    bars = [("1", "Monday", Decimal(1))]
    assert draw_bars("sizes", bars, show) == draw_bars("sizes", bars, show)


def test_axes_have_no_unit_and_counts_no_fractions() -> None:
    def texts(svg: str) -> list[str]:
        return [element.text or "" for element in fromstring(svg).iter() if element.tag.endswith("}text")]

    money = draw_columns("revenue", [("1", "Monday", Decimal(2_000_000))], lambda value: show(value, "EUR"))
    assert {"0", "2,000,000"} <= {*texts(money)}
    assert not any("EUR" in text for text in texts(money))
    assert not any("." in text for text in texts(draw_bars("sizes", [("one", "one", Decimal(1))], show)))
