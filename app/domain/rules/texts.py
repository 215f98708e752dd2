"""Texts of effects: the templates' values, and the interface of the renderer that the walk is given."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol
from zoneinfo import ZoneInfo

from app.domain.events.events import Event
from app.domain.passes.passes import Profile
from app.domain.values.decimals import plain
from app.domain.values.instants import from_ms

MAX_TEMPLATE_CHARACTERS = 4_000
"""Characters of one template."""
MAX_TEXT_BYTES = 10_240
"""Bytes of one rendered text in UTF-8."""
MAX_STEPS = 10_000
"""Steps of rendering one template: each output, tag, round of a loop and filter is one, more if it is long."""


@dataclass(frozen=True, slots=True)
class TextFault:
    """Reason why a template does not parse or render. `line` and `column` begin at 1; None if no part is at fault."""

    message: str
    line: int | None = None
    column: int | None = None


class Texts(Protocol):
    """Renderer of templates. Equal templates and values give equal results, on every machine and at every time."""

    def find_fault(self, template: str) -> TextFault | None:
        """Return why the template does not parse; None if it does."""
        ...

    def render(self, template: str, values: Mapping[str, object]) -> str | TextFault:
        """Return the text of a template, or why it cannot be rendered. Never raises."""
        ...


class PlainTexts:
    """Renderer without a template language: it returns every template unchanged."""

    def find_fault(self, template: str) -> TextFault | None:
        """Return None."""
        return None

    def render(self, template: str, values: Mapping[str, object]) -> str | TextFault:
        """Return the template."""
        return template


def has_markup(template: str) -> bool:
    """Return whether a template may differ from its text. Others need no values and no renderer."""
    return "{{" in template or "{%" in template


def iter_templates(value: object, *path: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield each text with markup in a JSON value, with its path. Keys are no templates."""
    if isinstance(value, str):
        if has_markup(value):
            yield value, path
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from iter_templates(item, *path, key)
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            yield from iter_templates(item, *path, str(index))


def render_value(value: object, texts: Texts, values: Mapping[str, object]) -> object | TextFault:
    """Return a JSON value with every text in it rendered, or the first fault."""
    if isinstance(value, str):
        return texts.render(value, values) if has_markup(value) else value
    if isinstance(value, Mapping):
        rendered: dict[str, object] = {}
        for key, item in value.items():
            result = render_value(item, texts, values)
            if isinstance(result, TextFault):
                return result
            rendered[key] = result
        return rendered
    if isinstance(value, (list, tuple)):
        items: list[object] = []
        for item in value:
            result = render_value(item, texts, values)
            if isinstance(result, TextFault):
                return result
            items.append(result)
        return items
    return value


def text_values(
    *,
    rule_key: str,
    external_id: str,
    profile: Profile,
    points: Decimal,
    tier: str | None,
    event: Event | None,
    at_ms: int,
    zone: ZoneInfo,
) -> dict[str, object]:
    """Return the values that templates may use. `event` is the cause; None if a rule fires for another one.

    `now` is the effective instant in the rule's zone, and `today` its date, both as ISO 8601. They do not depend on when
    the worker runs.
    """
    now = from_ms(at_ms).astimezone(zone)
    return {
        "now": now.isoformat(timespec="seconds"),
        "today": now.date().isoformat(),
        "rule": {"key": rule_key},
        "pass": {
            "externalId": external_id,
            "holder": profile.holder,
            "fields": profile.split_fields,
            "metadata": profile.split_metadata,
            "status": profile.status,
            "pointsBalance": Decimal(plain(points)),
            "tier": tier,
        },
        "event": None if event is None else _event_values(event, zone),
    }


def _event_values(event: Event, zone: ZoneInfo) -> dict[str, object]:
    return {
        "type": event.type,
        "category": str(event.category),
        "source": event.source,
        "externalId": event.external_id,
        "label": event.label,
        "amount": None if event.amount is None else Decimal(plain(event.amount)),
        "currency": event.currency,
        "points": Decimal(plain(event.points)),
        "metadata": event.details,
        "occurredAt": event.occurred_at.astimezone(zone).isoformat(timespec="seconds"),
    }
