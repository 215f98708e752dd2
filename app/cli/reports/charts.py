"""Charts of the report: static SVG that stands inside an HTML page, and runs no script."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any
from xml.etree.ElementTree import Element

import pygal
from pygal.etree import etree
from pygal.style import Style

etree.to_etree()  # without this, the library builds its trees with lxml wherever that is installed

WIDTH, HEIGHT = 960, 260
LINE_HEIGHT = 28
_FONT = "system-ui, sans-serif"
_STYLE = Style(
    background="transparent",
    plot_background="transparent",
    foreground="#475569",
    foreground_strong="#0f172a",
    foreground_subtle="#cbd5e1",
    opacity=".9",
    colors=("#0f766e",),
    font_family=_FONT,
    label_font_size=12,
    major_label_font_size=12,
    guide_stroke_color="#e2e8f0",
    major_guide_stroke_color="#e2e8f0",
)

Show = Callable[[Decimal], str]
"""A function that returns the text of a value."""
Bar = tuple[str, str, Decimal | None]
"""Short label at the axis, whole label, and value; None for a label without a bar."""


def draw_columns(name: str, bars: Sequence[Bar], show: Show) -> str:
    """Return an SVG with one upright bar for each value. `name` is its id in the page.

    The numbers at the axis have no unit: the heading of the chart names it.
    """
    return _draw(pygal.Bar(**_options(HEIGHT)), name, bars, show=show)


def draw_bars(name: str, bars: Sequence[Bar], show: Show) -> str:
    """Return an SVG with one lying bar for each count, the first one at the top."""
    # Without the least order, the axis of small counts has numbers such as 0.5.
    options = {**_options(LINE_HEIGHT * len(bars) + 2 * LINE_HEIGHT), "truncate_label": 40, "order_min": 0}
    return _draw(pygal.HorizontalBar(**options), name, bars[::-1], show=show)


def _options(height: int) -> dict[str, Any]:
    return {
        "js": [],
        "style": _STYLE,
        "width": WIDTH,
        "height": height,
        "margin": 8,
        "show_legend": False,
        "disable_xml_declaration": True,
        "value_formatter": lambda value: f"{Decimal(f'{value:.15g}'):,f}",
        "no_data_text": "",
    }


def _draw(chart: Any, name: str, bars: Sequence[Bar], *, show: Show) -> str:
    chart.uuid = name  # otherwise random: the same month gives the same page
    chart.x_labels = [short for short, _, _ in bars]
    # The library computes with binary numbers. They decide the heights alone: the texts are of the exact values.
    values = [
        None if value is None else {"value": float(value), "label": label, "formatter": _constantly(show(value))}
        for _, label, value in bars
    ]
    chart.add(name, values)
    chart.add_xml_filter(_without_scripts)
    svg: str = chart.render(is_unicode=True)
    return svg


def _constantly(text: str) -> Callable[[object], str]:
    return lambda _: text


def _without_scripts(root: Element) -> Element:
    """Remove scripts, links and comments of the library, and turn its texts for scripts into tooltips of the browser."""
    for parent in list(root.iter()):
        texts = [
            str(child.text) for child in parent if child.get("class") in ("label", "value") and _tag(child) == "desc"
        ]
        for child in list(parent):
            if _tag(child) in _REMOVED:
                parent.remove(child)
        if texts:
            tooltip = Element("title")
            tooltip.text = ": ".join(texts)
            parent.insert(0, tooltip)
    return root


def _tag(element: Element) -> str:
    tag: object = element.tag
    return tag if isinstance(tag, str) else "comment"  # the tag of a comment is a function


_REMOVED = ("a", "comment", "desc", "script", "title")
