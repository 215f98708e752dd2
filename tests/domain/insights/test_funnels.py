"""Funnels: customers who take steps one after the other."""

from __future__ import annotations

from decimal import Decimal
from itertools import pairwise, product
from random import Random
from statistics import median

from app.domain.insights.funnels import Funnel, FunnelStep
from app.domain.values.instants import DAY_MS, HOUR_MS

from .moments import START_MS, moment, random_moments

STEPS = ("visit", "purchase", "refund")


def test_customer_counts_with_the_start_that_leads_furthest() -> None:
    funnel = Funnel(2, DAY_MS, from_ms=START_MS, to_ms=START_MS + 10 * DAY_MS)
    late = START_MS + 5 * DAY_MS
    funnel.add(0, [moment("ann", START_MS, "visit"), moment("ann", late, "visit"), moment("bob", START_MS, "visit")])
    funnel.add(1, [moment("ann", late + HOUR_MS), moment("bob", START_MS + DAY_MS + 1), moment("cas", START_MS)])
    assert funnel.answer() == (
        FunnelStep(2, Decimal(1), None),
        FunnelStep(1, Decimal("0.5"), Decimal(3_600)),
    )


def test_one_event_takes_one_step_and_the_last_moment_is_in_time() -> None:
    funnel = Funnel(2, DAY_MS, from_ms=START_MS, to_ms=START_MS + DAY_MS)
    events = [moment("ann", START_MS, number=1), moment("bob", START_MS, number=2)]
    events.append(moment("bob", START_MS + DAY_MS, number=3))
    for step in (0, 1):
        funnel.add(step, events)
    assert [step.passes for step in funnel.answer()] == [2, 1]


def test_funnel_without_starts_has_no_rates() -> None:
    assert Funnel(2, DAY_MS, from_ms=0, to_ms=1).answer() == (FunnelStep(0, None, None), FunnelStep(0, None, None))


def test_answer_equals_an_independent_computation() -> None:
    random = Random(5)
    for _ in range(100):
        events = random_moments(random, 40, 12, customers=4)
        within_ms = random.randrange(1, 6) * DAY_MS
        from_ms, to_ms = START_MS + 2 * DAY_MS, START_MS + 8 * DAY_MS
        funnel = Funnel(len(STEPS), within_ms, from_ms=from_ms, to_ms=to_ms)
        by_step = [[e for e in events if e.type == kind] for kind in STEPS]
        for number, step in enumerate(by_step):
            funnel.add(number, step)
        reached: list[int] = [0] * len(STEPS)
        waits: list[list[int]] = [[] for _ in STEPS]
        for name in {e.pass_id for e in events}:
            mine = [[e for e in step if e.pass_id == name] for step in by_step]
            starts = [e for e in mine[0] if from_ms <= e.at_ms < to_ms]
            chains = [
                chain
                for depth in range(1, len(STEPS) + 1)
                for chain in product(starts, *mine[1:depth])
                if all(a.order < b.order for a, b in pairwise(chain)) and chain[-1].at_ms - chain[0].at_ms <= within_ms
            ]
            if not chains:
                continue
            deepest = max(map(len, chains))
            best = min((c for c in chains if len(c) == deepest), key=lambda c: [e.order for e in c])
            for number in range(deepest):
                reached[number] += 1
                if number:
                    waits[number].append(best[number].at_ms - best[number - 1].at_ms)
        found = funnel.answer()
        assert [step.passes for step in found] == reached
        assert [step.median_seconds for step in found] == [
            Decimal(str(median(each))) / 1_000 if each else None for each in waits
        ]
