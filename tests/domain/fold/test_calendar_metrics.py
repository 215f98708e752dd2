"""Averages, extremes and different values of calendar windows: removals, edges, limits, and what a pass stores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from random import Random

import bson
import pytest

from app.domain.definitions import Definitions
from app.domain.events.events import Event
from app.domain.fold.prefetch import find_prefetch
from app.domain.segments.comparisons import count_comparisons
from app.domain.segments.criteria import EventCriterion
from app.domain.segments.evaluation import context_of, measured_value
from app.domain.segments.limits import MAX_COMPARISONS
from app.domain.segments.parsing import parse_criteria
from app.domain.segments.segments import Version
from app.domain.state.distinct import MAX_DISTINCT, MAX_LISTED_VALUES
from app.domain.state.measures import Measure, State, add_event, build_measure
from app.domain.values.instants import DAY_MS, HOUR_MS, from_ms, to_ms
from app.store.codecs.states import state_from_doc, state_to_doc
from tests.local_time_oracle import ZONES, midnight_ms
from tests.store.generated import encode_and_decode

from .rule_walks import removal
from .test_advance import PassSimulation, definitions_of, new_pass, purchase_event

FROM = to_ms(datetime(2026, 3, 3, 12, tzinfo=UTC))
METRICS = ("COUNT", "SUM", "AVG", "MIN", "MAX", "COUNT_DISTINCT")


def criterion(metric: str, operator: str, value: int, unit: str = "MONTH", offset: int = 0) -> dict[str, object]:
    """Return a criterion on amounts, or on sources, of a calendar window."""
    field = {"COUNT": {}, "COUNT_DISTINCT": {"field": "source"}}.get(metric, {"field": "amount"})
    window = {"calendar": {"unit": unit, "offset": offset}}
    return {"event": {"types": ["purchase"], "metric": metric, "operator": operator, "value": value, **field, **window}}


class Restarted(PassSimulation):
    """A pass that a worker stores and reads again after each fold."""

    def fold(self, now_ms: int, limit: int | None = None) -> None:
        """Fold the pending events, and read the pass as the store returns it."""
        super().fold(now_ms, limit)
        self.card = replace(self.card, measures={key: stored(state) for key, state in self.card.measures.items()})

    def record(self, *events: Event, at_ms: int) -> None:
        """Fold events at an instant."""
        self.pending += events
        self.fold_until(at_ms)

    def measured(self, index: int = 0) -> object:
        """Return what the criterion of a segment measures now, which is also what a rebuild gives."""
        active = self.definitions.active_for(self.card.revision, self.card.profile)
        leaf = active.by_segment[f"seg_{index}"].criteria
        assert isinstance(leaf, EventCriterion)
        measure = leaf.measure
        assert self.card.measures.get(measure.key) == build_measure(measure, self.counted, self.card.evaluated_until_ms)
        return measured_value(leaf, context_of(self.card, self.card.evaluated_until_ms))


def stored(state: State) -> State:
    """Return a state as the store returns it."""
    return state_from_doc(encode_and_decode(state_to_doc(state)))


def open_pass(*criteria: dict[str, object], zone: str = "Europe/Berlin", at_ms: int = FROM) -> Restarted:
    """Return a new pass, with a segment of each of the criteria."""
    versions = definitions_of(*criteria, at_ms=at_ms - 1).versions
    in_zone = Definitions(replace(each, timezone=zone) for each in versions if isinstance(each, Version))
    simulation = Restarted(in_zone, new_pass(at_ms))
    simulation.fold(at_ms)
    return simulation


def bought(i: int, at_ms: int, amount: int = 5, source: str = "api", **fields: int) -> Event:
    return replace(purchase_event(i, at_ms, Decimal(amount), **fields), source=source)  # type: ignore[arg-type]


def test_removed_extreme_gives_way_to_the_next_one_of_its_period() -> None:
    simulation = open_pass(criterion("MAX", "GTE", 9), criterion("MIN", "LTE", 1), criterion("AVG", "EQ", 5))
    events = [bought(i, FROM + i * DAY_MS, amount) for i, amount in enumerate((9, 1, 5, 9))]
    simulation.record(*events, at_ms=FROM + 4 * DAY_MS)
    assert [simulation.measured(index) for index in range(3)] == [9, 1, 6]
    for removed, expected in ((events[0], [9, 1, 5]), (events[3], [5, 1, 3]), (events[1], [5, 5, 5])):
        simulation.record(removal(removed, now := simulation.card.evaluated_until_ms + HOUR_MS), at_ms=now)
        assert [simulation.measured(index) for index in range(3)] == expected
    assert [entered for _, entered in simulation.transitions("seg_0")] == [True, False]
    assert [entered for _, entered in simulation.transitions("seg_1")] == [True, False]
    assert [entered for _, entered in simulation.transitions("seg_2")] == [True, False, True, False, True]
    simulation.record(removal(events[2], now := simulation.card.evaluated_until_ms + HOUR_MS), at_ms=now)
    assert [simulation.measured(index) for index in range(3)] == [None, None, None]
    assert not simulation.card.memberships
    assert not simulation.card.measures


def test_value_counts_while_one_of_its_events_is_left() -> None:
    simulation = open_pass(criterion("COUNT_DISTINCT", "GTE", 2))
    first, other, last = (
        bought(1, FROM + 1, source="shop"), bought(2, FROM + 2, source="web"), bought(3, FROM + 3, source="shop"),
    )  # fmt: skip
    simulation.record(first, other, last, at_ms=FROM + 10)
    simulation.record(removal(last, FROM + 20), at_ms=FROM + 20)
    assert simulation.measured() == 2
    simulation.record(removal(first, FROM + 30), at_ms=FROM + 30)
    assert simulation.measured() == 1
    assert simulation.transitions("seg_0") == [(FROM + 2, True), (FROM + 30, False)]


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("metric", METRICS)
def test_event_on_the_edge_counts_in_the_period_that_begins(metric: str, zone: str) -> None:
    """Also on days of 23 and 25 hours, and on those of Lord Howe Island, which are half an hour longer or shorter."""
    value = {"COUNT": 1, "COUNT_DISTINCT": 1}.get(metric, 5)
    for day in (date(2026, 3, 8), date(2026, 3, 29), date(2026, 4, 5), date(2026, 10, 25)):
        before, start, middle, end = (midnight_ms(zone, day + timedelta(days=count)) for count in (-1, 0, 1, 2))
        simulation = open_pass(
            criterion(metric, "EQ", value, "DAY"), criterion(metric, "EQ", value, "DAY", -1), zone=zone, at_ms=before
        )
        simulation.record(bought(1, start - 1), bought(2, middle), at_ms=end + DAY_MS)
        today = [(start - 1, True), (start, False), (middle, True), (end, False)]
        assert simulation.transitions("seg_0") == today
        assert simulation.transitions("seg_1")[:3] == [(start, True), (middle, False), (end, True)]


@pytest.mark.parametrize("metric", METRICS)
def test_window_that_time_alone_empties_counts_zero_or_has_no_value(metric: str) -> None:
    """No other segment makes the walk visit the midnight."""
    has_value = metric in ("AVG", "MIN", "MAX")
    simulation = open_pass(criterion(metric, "LT", 9 if has_value else 1, "DAY"))
    midnight = midnight_ms("Europe/Berlin", date(2026, 3, 4))
    simulation.record(bought(1, FROM + 1), at_ms=midnight + DAY_MS)
    assert simulation.transitions("seg_0") == (
        [(FROM + 1, True), (midnight, False)] if has_value else [(FROM, True), (FROM + 1, False), (midnight, True)]
    )


AFTER_TWELVE = {
    "DAY": (date(2026, 3, 15), date(2026, 3, 16)),
    "WEEK": (date(2026, 5, 25), date(2026, 6, 1)),
    "MONTH": (date(2027, 3, 1), date(2027, 4, 1)),
    "QUARTER": (date(2029, 1, 1), date(2029, 4, 1)),
    "YEAR": (date(2038, 1, 1), date(2039, 1, 1)),
}
"""The first days of the periods that come 12 and 13 periods after that of FROM."""


@pytest.mark.parametrize("metric", METRICS)
def test_window_of_twelve_periods_ago_slides_over_both_its_edges_in_one_walk(metric: str) -> None:
    value = {"COUNT": 2, "COUNT_DISTINCT": 2, "SUM": 12, "AVG": 6, "MIN": 3, "MAX": 9}[metric]
    for unit, days in AFTER_TWELVE.items():
        simulation = open_pass(criterion(metric, "EQ", value, unit, -12))
        entered, left = (midnight_ms("Europe/Berlin", day) for day in days)
        simulation.pending += [bought(1, FROM + 1, 3, "shop"), bought(2, FROM + 2, 9, "web")]
        simulation.fold(left + DAY_MS)
        assert simulation.transitions("seg_0") == [(entered, True), (left, False)], unit
        assert simulation.card.measures == {}


def test_more_than_a_hundred_values_are_counted_anew_when_events_are_removed() -> None:
    simulation = open_pass(criterion("COUNT_DISTINCT", "LTE", MAX_DISTINCT), criterion("COUNT_DISTINCT", "GTE", 100))
    events = [bought(i, FROM + i, source=f"shop-{i}") for i in range(MAX_DISTINCT + 2)]
    for recorded in (events[:-1], events[-1:]):
        simulation.record(*recorded, at_ms=FROM + 1_000)
        assert simulation.measured() == MAX_LISTED_VALUES
        [state] = simulation.card.measures.values()
        assert len(bson.encode(state_to_doc(state))) < 60
    for count, event in enumerate(events[:3]):
        now = FROM + 2_000 + count
        simulation.record(removal(event, now), at_ms=now)
        assert simulation.measured() == min(MAX_LISTED_VALUES, len(events) - count - 1)
    assert simulation.transitions("seg_0") == [(FROM, True), (FROM + MAX_DISTINCT, False), (FROM + 2_001, True)]
    assert simulation.transitions("seg_1") == [(FROM + MAX_DISTINCT - 1, True), (FROM + 2_002, False)]


def test_edit_of_the_threshold_carries_values_over_and_another_metric_reads_events() -> None:
    simulation = open_pass(criterion("MAX", "GTE", 9))
    simulation.record(bought(1, FROM + 1, 4), bought(2, FROM + 2, 7), at_ms=FROM + 10)
    [version] = simulation.definitions.latest_active.versions
    for number, (edited, reads, measured) in enumerate(
        ((criterion("MAX", "GTE", 7), False, 7), (criterion("MIN", "LTE", 4), True, 4)), 2
    ):
        now = FROM + 10 * number
        newer = replace(
            version, revision=number, version=number, criteria=parse_criteria(edited, "USD"), at=from_ms(now)
        )
        simulation.definitions = simulation.definitions.extended([newer])
        assert find_prefetch(simulation.card, simulation.definitions, (), now).history == reads
        simulation.fold(now)
        assert simulation.measured() == measured
        assert "seg_0" in simulation.card.memberships
        assert len(simulation.card.measures) == 1


@pytest.mark.parametrize("metric", METRICS)
def test_state_does_not_depend_on_the_order_of_events_and_stays_small(metric: str) -> None:
    """Of 13 periods with 100 sources each: at most 16,500 bytes of values, and 600 of numbers."""
    simulation = open_pass(criterion(metric, "GTE", 1, "DAY", -12))
    [measure] = simulation.definitions.latest_active.measures
    now = FROM + 12 * DAY_MS
    events = [bought(i, FROM + i * 12 * DAY_MS // 2_600, i % 9 + 1, f"shop-{i % 100}") for i in range(2_600)]
    state = fold(measure, Random(1).sample(events, len(events)), now)
    assert stored(state) == state == fold(measure, events, now) == build_measure(measure, events, now)
    size = len(bson.encode(state_to_doc(state)))
    assert size <= (16_500 if metric == "COUNT_DISTINCT" else 600)


def test_set_of_values_counts_as_a_comparison_for_each_period() -> None:
    """So the sets of all live segments fit into the document of a pass."""
    counts = {
        (metric, offset): count_comparisons(parse_criteria(criterion(metric, "GTE", 1, "DAY", offset), "USD"))
        for metric in ("MAX", "COUNT_DISTINCT")
        for offset in (0, -12)
    }
    assert counts == {("MAX", 0): 1, ("MAX", -12): 1, ("COUNT_DISTINCT", 0): 1, ("COUNT_DISTINCT", -12): 13}
    assert MAX_COMPARISONS // 13 * 16_500 < 7_000_000


def fold(measure: Measure, events: Sequence[Event], at_ms: int) -> State:
    """Return the state after the events, one after the other."""
    state: State | None = None
    for event in events:
        state = add_event(measure, state, event, at_ms)
    assert state is not None
    return state
