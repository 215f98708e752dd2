"""Metrics of values: average, minimum, maximum and the number of different values, in walks and in rebuilds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.errors import InvalidInput
from app.domain.events.events import Event
from app.domain.segments.evaluation import COMPARE
from app.domain.segments.parsing import parse_criteria
from app.domain.state.distinct import hash_value
from app.domain.state.extremes import Extremes, add_candidate, build_extremes, expire_candidates, fill_gap
from app.domain.values.conditions import Operator
from app.domain.values.instants import DAY_MS

from .walk_checks import STEPS, Step, check_walk

DAYS = 4


@pytest.fixture(scope="module", autouse=True)
def _short_lists() -> Iterator[None]:
    limits = {
        "windows.MAX_EXPIRING": 2,
        "extremes.MAX_CANDIDATES": 4,
        "extremes.NEXT_CANDIDATES": 2,
        "distinct.MAX_LISTED_VALUES": 4,
    }
    patches = [patch(f"app.domain.state.{name}", limit) for name, limit in limits.items()]
    patches.append(patch("app.domain.state.refilling.MAX_EXPIRING", 2))
    for each in patches:
        each.start()
    yield
    for each in patches:
        each.stop()


def amounts(events: Sequence[Event]) -> list[Decimal]:
    return [event.amount for event in events if event.type == "purchase" and event.amount is not None]


def numbers(events: Sequence[Event]) -> list[Decimal]:
    return [Decimal(str(event.metadata["n"])) for event in events if event.type == "purchase" and "n" in event.metadata]


def different(events: Sequence[Event]) -> int:
    tags = [each for event in events if event.type == "purchase" for each in event.metadata.get("tags", ())]  # type: ignore[attr-defined]
    return min(4, len({(type(each), each) for each in tags}))


def sources(events: Sequence[Event]) -> int:
    return len({event.source for event in events if event.type == "purchase"})


def average(values: Sequence[Decimal]) -> Decimal | None:
    return sum(values, Decimal(0)) / len(values) if values else None


METRICS: dict[str, tuple[dict[str, object], Callable[[Sequence[Event]], Decimal | int | None]]] = {
    "average amount": ({"metric": "AVG"}, lambda events: average(amounts(events))),
    "smallest amount": ({"metric": "MIN"}, lambda events: min(amounts(events), default=None)),
    "greatest amount": ({"metric": "MAX"}, lambda events: max(amounts(events), default=None)),
    "average number": ({"metric": "AVG", "field": "metadata.n"}, lambda events: average(numbers(events))),
    "smallest number": ({"metric": "MIN", "field": "metadata.n"}, lambda events: min(numbers(events), default=None)),
    "greatest number": ({"metric": "MAX", "field": "metadata.n"}, lambda events: max(numbers(events), default=None)),
    "different tags": ({"metric": "COUNT_DISTINCT", "field": "metadata.tags"}, different),
    "different sources": ({"metric": "COUNT_DISTINCT", "field": "source"}, sources),
}


@settings(max_examples=80, deadline=None)
@given(
    name=st.sampled_from(list(METRICS)),
    within=st.sampled_from([None, DAYS, DAYS]),
    steps=STEPS,
    operator=st.sampled_from(["GTE", "GT", "EQ", "LT", "LTE"]),
    value=st.integers(1, 7),
)
def test_metric_equals_plain_arithmetic_over_the_events_at_every_instant(
    name: str, within: int | None, steps: list[Step], operator: str, value: int
) -> None:
    """Walk, rebuild and arithmetic agree for late events, corrections and removals (segments, section 2: metrics)."""
    fields, measure = METRICS[name]
    value = min(value, 3) if fields["metric"] == "COUNT_DISTINCT" else value
    window = {} if within is None else {"within": {"days": within}}

    def answer(events: Sequence[Event], at_ms: int) -> bool:
        start_ms = at_ms - within * DAY_MS if within is not None else -1
        found = measure([event for event in events if event.occurred_ms > start_ms])
        return found is not None and COMPARE[Operator(operator)](found, Decimal(value))

    criteria: dict[str, object] = {
        "event": {"types": ["purchase"], "operator": operator, "value": value, **fields, **window}
    }
    check_walk(steps, criteria, answer, [] if within is None else [within * DAY_MS])


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 9)), max_size=60), st.booleans(), st.integers(1, 30))
def test_list_of_extremes_with_gaps_gives_the_extreme_of_each_window(
    events: list[tuple[int, int]], is_greatest: bool, width: int
) -> None:
    seen: list[tuple[int, Decimal]] = []
    state: Extremes | None = None
    now = 0
    best = max if is_greatest else min
    for at, number in sorted(events, key=lambda each: each[0] - each[1] % 4):
        for instant in range(now, max(now, at) + 1):
            now = instant
            while state is not None and state.first_gap is not None and (
                state.first_gap == 0 or state.instants[state.first_gap - 1] <= now - width
            ):  # fmt: skip
                after, end = state.instants[state.first_gap], state.instants[state.first_gap + 1]
                state = fill_gap(state, after, _join([each for each in seen if after < each[0] < end], is_greatest))
            state = None if state is None else expire_candidates(state, now - width)
            inside = [value for each, value in seen if each > now - width]
            assert (None if state is None else state.value) == (best(inside) if inside else None)
        if at > now - width:
            state = add_candidate(state, at, Decimal(number), is_greatest=is_greatest)
            seen.append((at, Decimal(number)))
    left = _join([each for each in seen if each[0] > now - width], is_greatest)
    built = build_extremes(left, is_greatest=is_greatest)
    assert (built and built.value) == (state and state.value)


@pytest.mark.parametrize("count", range(5, 20))
def test_filled_gap_stays_filled_while_candidates_before_it_have_left_the_window(count: int) -> None:
    """A worker reads the gap before the walk takes the first candidates out. It must not read the same gap for ever."""
    pairs = [(at, Decimal(at)) for at in range(count)]
    state = build_extremes(pairs, is_greatest=False)
    assert state is not None
    while state.first_gap is not None:
        after, end = state.instants[state.first_gap], state.instants[state.first_gap + 1]
        state = fill_gap(state, after, pairs[after + 1 : end])
        assert state.first_gap is None or state.instants[state.first_gap] > after
        assert state.instants[0] == 0
    assert state.instants == tuple(range(count))


def _join(pairs: list[tuple[int, Decimal]], is_greatest: bool) -> list[tuple[int, Decimal]]:
    best = max if is_greatest else min
    return [(at, best(value for each, value in pairs if each == at)) for at in sorted({at for at, _ in pairs})]


def test_equal_values_of_one_kind_are_one_value() -> None:
    assert hash_value(3) == hash_value(3.0) == hash_value(Decimal("3.00"))
    assert len({hash_value(each) for each in (1, "1", True, 1.5, "true", "")}) == 6
    assert hash_value(None) is hash_value({"a": 1}) is None


@pytest.mark.parametrize(
    ("fields", "at"),
    [
        ({"metric": "COUNT_DISTINCT", "field": "source", "value": 101}, "value"),
        ({"metric": "COUNT_DISTINCT", "value": 1}, "field"),
        ({"metric": "COUNT_DISTINCT", "field": "amount", "value": 1}, "field"),
        ({"metric": "AVG", "field": "source", "value": 1}, "field"),
        ({"metric": "MAX", "field": "metadata.", "value": 1}, "field"),
    ],
)
def test_metric_of_another_field_or_beyond_its_limit_is_refused(fields: dict[str, object], at: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        parse_criteria({"event": fields}, "EUR")
    assert refused.value.problems[0].field[-1] == at
