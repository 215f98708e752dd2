"""Walks with late events, corrections and removals, checked step by step against an answer from all events."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from decimal import Decimal

from hypothesis import strategies as st

from app.domain.events.events import Event
from app.domain.fold.prefetch import effective_ms
from app.domain.segments.criteria import MeasuredCriterion, iter_leaves
from app.domain.segments.evaluation import context_of, measured_value
from app.domain.segments.parsing import parse_criteria
from app.domain.segments.sequences import SequenceCriterion
from app.domain.state.measures import build_measure
from app.domain.values.instants import DAY_MS
from tests.domain.fold.rule_walks import RuleSimulation, refund, removal
from tests.domain.fold.test_advance import START, definitions_of, purchase_event

Answer = Callable[[Sequence[Event], int], bool]
"""Whether a pass with these events matches at an instant."""
Step = tuple[str, int, int, int]
"""Kind of operation, quarter days that pass before it, quarter days that the event is late, and a number."""
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["buy", "buy", "buy", "buy", "refund", "remove"]),
        st.integers(0, 14),
        st.integers(0, 20).map(lambda late: max(0, late - 8)),
        st.integers(1, 9),
    ),
    min_size=1,
    max_size=22,
)
SHOPS = ("api", "shop", "web")


def check_walk(steps: Sequence[Step], criteria: dict[str, object], answer: Answer, ends_ms: Sequence[int]) -> None:
    """Walk through the steps, and compare each transition, and what a rebuild gives, with the answer from all events.

    `ends_ms` are the times after an event at which the answer may change by time alone.
    """
    simulation, now = RuleSimulation(definitions_of(criteria, at_ms=START - 2)), START
    tree = parse_criteria(criteria, "USD")
    is_member = False
    simulation.fold_until(now)
    is_member = _check_time(simulation, answer, ends_ms, (START - 1, now), is_member)
    recorded: list[Event] = []
    for i, (kind, passed, late, number) in enumerate(steps):
        before, now = now, now + passed * DAY_MS // 4 + 1
        counted = list(simulation.counted)
        at = max(START, now - late * DAY_MS // 4) if late else now
        purchases = [event for event in recorded if event.type == "purchase"]
        if kind == "refund" and purchases:
            event = refund(i, at, number, purchases[number % len(purchases)], recorded_ms=now)
        elif kind == "remove" and recorded:
            event = removal(recorded.pop(number % len(recorded)), now)
        else:
            metadata = {"n": number, "tags": [number % 4, str(number % 3), number > 4]} if number != 5 else {}
            event = replace(
                purchase_event(i, at, Decimal(number), recorded_ms=now), source=SHOPS[number % 3], metadata=metadata
            )
        if kind != "remove":
            recorded.append(event)
        simulation.fold_until(now - 1)
        counts_ms = effective_ms(event, simulation.card.evaluated_until_ms)
        simulation.pending.append(event)
        simulation.fold_until(now)
        is_member = _check_time(simulation, answer, ends_ms, (before, counts_ms - 1), is_member, counted=counted)
        is_member = _check_instant(simulation, answer, counts_ms, is_member)
        is_member = _check_time(simulation, answer, ends_ms, (counts_ms, now), is_member)
        card = simulation.card
        for leaf in iter_leaves(tree):
            if isinstance(leaf, MeasuredCriterion):
                built = build_measure(leaf.measure, simulation.counted, now)
                if isinstance(leaf, SequenceCriterion):
                    assert card.measures.get(leaf.measure.key) == built
                rebuilt = replace(card, measures={} if built is None else {leaf.measure.key: built})
                assert measured_value(leaf, context_of(card, now)) == measured_value(leaf, context_of(rebuilt, now))
    end = now + 20 * DAY_MS
    simulation.fold_until(end)
    _check_time(simulation, answer, ends_ms, (now, end), is_member)


def _check_time(
    simulation: RuleSimulation,
    answer: Answer,
    ends_ms: Sequence[int],
    span_ms: tuple[int, int],
    is_member: bool,
    *,
    counted: Sequence[Event] | None = None,
) -> bool:
    """Compare the transitions after one instant, up to another, and return whether the pass is a member then."""
    counted = simulation.counted if counted is None else counted
    start_ms, end_ms = span_ms
    instants = sorted({e.occurred_ms + end for e in counted for end in ends_ms} | {START})
    expected = []
    for at in instants:
        if start_ms < at <= end_ms and answer(counted, at) != is_member:
            is_member = not is_member
            expected.append((at, is_member))
    found = [each for each in simulation.transitions("seg_0") if start_ms < each[0] <= end_ms]
    assert found == expected
    return is_member


def _check_instant(simulation: RuleSimulation, answer: Answer, at_ms: int, is_member: bool) -> bool:
    """Compare the transitions at an instant at which an event counts, and return whether the pass is a member then."""
    after = answer(simulation.counted, at_ms)
    found = [entered for at, entered in simulation.transitions("seg_0") if at == at_ms]
    assert (found[-1] if found else is_member) == after
    return after
