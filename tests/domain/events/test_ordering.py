"""Order of events: by instant and id, and a correction after what it corrects, whatever its date and id."""

from __future__ import annotations

from dataclasses import replace

import pytest

from app.domain.events.events import Category, Event, Origin
from app.domain.events.ordering import complete_orders, sort_events
from app.domain.values.decimals import ZERO
from app.domain.values.instants import from_ms


def event(name: str, at_ms: int, corrects: str | None = None) -> Event:
    return Event(
        name,
        "pass_1",
        Category.CUSTOM,
        type="custom",
        amount=None,
        currency=None,
        points=ZERO,
        source="api",
        external_id=None,
        metadata={},
        occurred_at=from_ms(at_ms),
        recorded_at=from_ms(at_ms),
        origin=Origin("API"),
        correction_of=corrects,
    )


def names(*events: Event) -> list[str]:
    return [each.id for each in sort_events(events)]


@pytest.mark.parametrize(("correction_ms", "expected"), [(2, "dba"), (5, "dba"), (6, "dba"), (9, "dba")])
def test_correction_follows_its_original_whatever_its_date_and_id(correction_ms: int, expected: str) -> None:
    assert names(event("a", correction_ms, corrects="b"), event("b", 5), event("d", 1)) == list(expected)


def test_correction_of_a_correction_follows_both() -> None:
    chain = [event("b", 1, corrects="a"), event("a", 3, corrects="c"), event("c", 5), event("z", 5), event("y", 6)]
    assert names(*chain) == ["c", "z", "a", "b", "y"]
    assert [each.depth_order for each in complete_orders(chain)] == [(5, 2), (5, 1), (5, 0), (5, 0), (6, 0)]


def test_stored_order_of_an_original_holds_after_the_original_was_removed() -> None:
    correction = replace(event("a", 1, corrects="b"), corrected_order=(5, 0))
    assert names(correction, event("d", 4), event("e", 6)) == ["d", "a", "e"]
    assert (correction.order, correction.order_ms) == ((5, 0, 1, "a"), 5)


def test_correction_of_an_unknown_original_counts_at_its_own_date() -> None:
    assert names(event("b", 2, corrects="nothing"), event("a", 1), event("c", 3)) == ["a", "b", "c"]


def test_corrections_in_a_circle_are_sorted_too() -> None:
    """No client can record a circle: an original exists before its correction."""
    assert sorted(names(event("a", 1, corrects="b"), event("b", 2, corrects="a"))) == ["a", "b"]


def test_each_event_is_listed_once() -> None:
    assert names(event("b", 1), event("a", 1), event("b", 1)) == ["a", "b"]
