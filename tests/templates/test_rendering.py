"""Liquid templates: what they show, what they refuse, and the bounds of their work."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.passes.passes import Profile
from app.domain.rules.texts import MAX_STEPS, MAX_TEXT_BYTES, PlainTexts, TextFault, render_value, text_values
from app.domain.values.instants import to_ms
from app.templates.filters import FILTERS
from app.templates.rendering import MAX_TAG_CHARACTERS, LiquidTexts
from tests.processor_time import spending_at_most

TEXTS = LiquidTexts()
VALUES = {
    "pass": {"holder": {}, "pointsBalance": Decimal("12.50"), "metadata": {}, "tier": None},
    "event": {
        "amount": Decimal("29.30"),
        "metadata": {"store": "north", "stars": 4, "items": ["tea", "cup"], "ratio": 1.5, "long": "ab " * 8_000},
    },
    "now": "2026-11-29T23:05:00+01:00",
    "today": "2026-11-29",
}
MAX_CPU_SECONDS = 2.0
"""Processor time of one template. A template at its limits takes about 0.1 s on the machines that were measured."""


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("Hello {{ pass.holder.name | default: 'there' }}!", "Hello there!"),
        ("{{ event.metadata.store | upcase }}", "NORTH"),
        ("{{ pass.pointsBalance }} {{ event.amount }}", "12.50 29.30"),
        ("{% if event.metadata.stars >= 4 %}good{% else %}bad{% endif %}", "good"),
        ("{% if pass.holder.name %}named{% else %}unnamed{% endif %}", "unnamed"),
        ("{% for item in event.metadata.items %}{{ item }};{% endfor %}", "tea;cup;"),
        ("{{ event.metadata.items | join: ', ' }}", "tea, cup"),
        ("{{ now | date: '%d.%m.%Y %H:%M' }} {{ today | date: '%A %-d %B' }}", "29.11.2026 23:05 Sunday 29 November"),
        ("{{ 7 | divided_by: 2 }} {{ event.amount | divided_by: 7 }}", "3 4.185714"),
        ("{{ 0.1 | plus: 0.2 }} {{ event.amount | times: 3 | round: 1 }} {{ -7 | modulo: 3 }}", "0.3 87.9 2"),
        ("{% assign a = 'x' %}{% capture b %}{{ a }}y{% endcapture %}{{ b }}", "xy"),
        ("{% raw %}{{ a }}{% endraw %}", "{{ a }}"),
        ("no markup } % {", "no markup } % {"),
    ],
)
def test_templates_show_values(template: str, text: str) -> None:
    assert TEXTS.find_fault(template) is None
    assert TEXTS.render(template, VALUES) == text


@pytest.mark.parametrize(
    ("template", "line", "column", "part"),
    [
        ("{{ a b", 1, 1, "not closed"),
        ("first\n  {{ event.amount | }}", 2, 6, "end of expression"),
        ("{% include 'file' %}", 1, 4, "include"),
        ("{% render 'file' %}", 1, 4, "render"),
        ("a\n{{ 'x' | sample }}", 2, 10, "no filter 'sample'"),
        ("{% for i in (1..event.amount) %}{% endfor %}", 1, 13, "range"),
        ("{% for i in (1..100000) %}{% endfor %}", 1, 13, "range"),
        ("{% endif %}", 1, 4, "endif"),
        ("{% if a %}", 1, None, "endif"),
        ("{{ a | default: '" + "x" * MAX_TAG_CHARACTERS + "' }}", 1, 1, "characters"),
    ],
)
def test_template_that_does_not_parse_names_the_position(
    template: str, line: int, column: int | None, part: str
) -> None:
    fault = TEXTS.find_fault(template)
    assert fault is not None
    assert part in fault.message
    assert column is None or (fault.line, fault.column) == (line, column)
    assert TEXTS.render(template, VALUES) == fault


@pytest.mark.parametrize(
    "template",
    [
        "{{ event.missing }}",
        "{{ 1 | divided_by: 0 }}",
        "{{ 'a' | plus: 1 }}",
        "{{ 'soon' | date: '%Y' }}",
        "{{ 'now' | date: '%Y' }}",
        "{{ event.metadata.long }}",
        "{% for i in (1..999) %}{% for j in (1..999) %}{% endfor %}{% endfor %}",
        "{% assign a = 'xxxxxxxxxxxx' %}{% for i in (1..100) %}{% assign a = a | append: a %}{% endfor %}",
        "{% assign a = 9999999999 %}{% for i in (1..100) %}{% assign a = a | times: a %}{% endfor %}",
        "{{ event.metadata.long | replace: '', event.metadata.long }}",
    ],
)
def test_template_that_cannot_be_rendered_gives_a_fault(template: str) -> None:
    assert TEXTS.find_fault(template) is None
    assert isinstance(TEXTS.render(template, VALUES), TextFault)


def test_steps_are_counted_for_nodes_loops_and_filters() -> None:
    once = "{% for i in (1..1000) %}{{ i }}{{ i }}{{ i }}{% endfor %}"
    assert isinstance(TEXTS.render(once, VALUES), str)
    thrice = "{% for i in (1..1000) %}" + "{{ '' | upcase }}" * 5 + "{% endfor %}"
    fault = TEXTS.render(thrice, VALUES)
    assert isinstance(fault, TextFault)
    assert f"{MAX_STEPS:,} steps" in fault.message


def test_clock_files_and_chance_have_no_filter() -> None:
    assert FILTERS.keys().isdisjoint({"sample", "shuffle", "include", "t", "json", "base64_decode", "sort"})
    assert TEXTS.render("{{ now }}", {"now": "given"}) == "given"
    assert isinstance(TEXTS.render("{{ 'today' | date: '%Y' }}", {}), TextFault)


def test_values_are_those_of_the_effective_instant_in_the_zone_of_the_rule() -> None:
    at = to_ms(datetime(2026, 3, 28, 23, 30, tzinfo=UTC))
    values = text_values(
        rule_key="welcome",
        external_id="ann",
        profile=Profile(holder={"name": "Ann"}, fields={"a.b": 1}),
        points=Decimal("1E+2"),
        tier="gold",
        event=None,
        at_ms=at,
        zone=ZoneInfo("Europe/Berlin"),
    )
    template = (
        "{{ now }} {{ today }} {{ pass.holder.name }} {{ pass.pointsBalance }} {{ pass.fields.a.b }} {{ rule.key }}"
    )
    assert TEXTS.render(template, values) == "2026-03-29T00:30:00+01:00 2026-03-29 Ann 100 1 welcome"


def test_every_text_of_a_json_value_is_rendered() -> None:
    value = {"a": "{{ today }}", "b": ["x", {"c": "{{ event.metadata.stars }}"}], "n": 1, "none": None}
    expected = {"a": "2026-11-29", "b": ["x", {"c": "4"}], "n": 1, "none": None}
    assert render_value(value, TEXTS, VALUES) == expected
    assert isinstance(render_value([{"a": "{{ missing }}"}], TEXTS, VALUES), TextFault)
    assert render_value(value, PlainTexts(), VALUES) == value


PARTS = st.sampled_from([
    "{{", "}}", "{%", "%}", " ", "\n", "-", "|", ":", ",", "'", '"', ".", "(", ")", "[", "]", "..", "0", "9" * 30, "1e300",
    "event", "event.metadata", "event.metadata.long", "event.metadata.items", "pass.pointsBalance", "now", "a", "b",
    "{% for i in (1..1000) %}", "{% for i in event.metadata.items %}", "{% endfor %}", "{% if a %}", "{% endif %}",
    "{% assign a = a | append: event.metadata.long %}", "{% assign a = 2 | times: 9999999 %}", "{% capture a %}",
    "{% endcapture %}", "{{ event.metadata.long | split: '' | join: 'xyz' }}", "{{ a }}", "{% break %}", "{% raw %}",
    "{% endraw %}", "{% comment %}", "{% endcomment %}", "for i in", "reversed", "limit: 5", "offset: 999999999", "contains",
    "and", "or", "==", "<", "empty", "nil", *[f" | {name}: 3" for name in sorted(FILTERS)],
    *[f"{{{{ event.metadata.long | {name}: 'a', 'bb' }}}}" for name in sorted(FILTERS)],
])  # fmt: skip


@given(st.one_of(st.text(max_size=300), st.lists(st.one_of(PARTS, st.text(max_size=5)), max_size=60).map("".join)))
@settings(max_examples=600, deadline=None)
def test_no_template_raises_or_exceeds_its_limits(template: str) -> None:
    with spending_at_most(MAX_CPU_SECONDS):
        fault = TEXTS.find_fault(template)
        rendered = TEXTS.render(template, VALUES)
    assert isinstance(rendered, (str, TextFault))
    if isinstance(rendered, str):
        assert fault is None
        assert len(rendered.encode("utf-8", "surrogatepass")) <= MAX_TEXT_BYTES
    assert TEXTS.render(template, VALUES) == rendered


@pytest.mark.parametrize(
    "template",
    [
        "{{" * 2_000,
        "{{ " * 1_300,
        "{%" + " " * 3_900,
        "{{" + " " * 400 + "}}" + "{{ '" * 800,
        "{% raw %}" * 400,
        "{% if " + "a or " * 90 + "a %}{% endif %}",
        "{% if a %}" * 300,
        "{{ a" + ".b" * 200 + " }}",
        "{{ a" + "[a" * 200 + " }}",
        "{% for i in (1..1000) %}{% if " + "1 == 2 or " * 45 + "1 == 2 %}{% endif %}{% endfor %}",
        "{% for i in (1..1000) %}{% for j in event.metadata.items offset: 999999999999 %}{% endfor %}{% endfor %}",
    ],
)
def test_hostile_templates_take_little_processor_time(template: str) -> None:
    with spending_at_most(MAX_CPU_SECONDS):
        TEXTS.find_fault(template)
        TEXTS.render(template, VALUES)
