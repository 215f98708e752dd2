"""Recency, frequency and monetary value: scores by quantiles, and criteria that select the customers of a cell."""

from __future__ import annotations

from decimal import Decimal
from random import Random

import pytest

from app.domain.errors import InvalidInput
from app.domain.insights.customer_values import (
    CustomerValues,
    Scores,
    Thresholds,
    check_quantiles,
    criteria_of,
    input_of,
)
from app.domain.segments.parsing import parse_criteria
from app.domain.values.instants import DAY_MS

from .moments import START_MS, moment, random_moments

ALL_MS = (None, START_MS + 100 * DAY_MS)


def test_customers_with_equal_values_have_equal_scores() -> None:
    values = CustomerValues(["purchase"], "EUR")
    for number, name in enumerate(("ann", "bob", "cas", "dan")):
        values.add([moment(name, START_MS + number * DAY_MS, "purchase", "5")])
    values.add([moment("dan", START_MS, "purchase", "1"), moment("eve", START_MS, "visit")])
    thresholds, cells = values.answer(2)
    assert thresholds == Thresholds((START_MS + DAY_MS,), (1,), (Decimal(5),))
    found = {cell.scores: (cell.passes, cell.revenue) for cell in cells}
    assert found == {
        Scores(2, 2, 2): (1, Decimal(6)),
        Scores(2, 1, 1): (1, Decimal(5)),
        Scores(1, 1, 1): (2, Decimal(10)),
    }
    assert list(found) == sorted(found, reverse=True)
    assert CustomerValues((), "EUR").answer(5) == (Thresholds(), ())


def test_scores_divide_customers_by_their_ranks() -> None:
    random = Random(3)
    for quantiles in (2, 3, 5, 10):
        values = CustomerValues((), "EUR")
        events = random_moments(random, 300, 90, customers=40)
        values.add(events)
        thresholds, cells = values.answer(quantiles)
        counts = sorted(sum(e.pass_id == name and not e.made for e in events) for name in {e.pass_id for e in events})
        for rank, threshold in enumerate(thresholds.frequency, start=1):
            at_most = sum(count <= threshold for count in counts)
            below = sum(count < threshold for count in counts)
            assert below * quantiles < rank * len(counts) <= at_most * quantiles
        assert sum(cell.passes for cell in cells) == len(counts)


def test_criteria_of_a_cell_are_an_input_that_the_api_accepts() -> None:
    thresholds = Thresholds((START_MS,), (2,), (Decimal("10.5"),))
    for scores in (Scores(1, 1, 1), Scores(2, 2, 2), Scores(1, 2, 1)):
        for span_ms in (ALL_MS, (START_MS - DAY_MS, START_MS + 1)):
            criteria = criteria_of(scores, thresholds, ["purchase"], "EUR", span_ms=span_ms)
            if scores.recency == 1 or span_ms == ALL_MS:
                assert parse_criteria(input_of(criteria), "USD") == criteria


def test_number_of_quantiles_is_checked() -> None:
    check_quantiles(5)
    for wrong in (1, 11):
        with pytest.raises(InvalidInput):
            check_quantiles(wrong, "input", "quantiles")
