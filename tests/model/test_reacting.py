"""No interleaving of react with crashes and erasures loses or repeats an effect, and each wrong variant is caught."""

from __future__ import annotations

import pytest

from tests.model.reacting import WRONG, run

RUNS, STEPS = 300, 400
WRONG_RUNS = 1_000


def test_no_interleaving_loses_or_repeats_an_effect() -> None:
    problems = [(seed, problem) for seed in range(RUNS) if (problem := run(seed, STEPS)) is not None]
    assert problems == []


@pytest.mark.parametrize("name", WRONG)
def test_wrong_variant_is_caught(name: str) -> None:
    assert any(run(seed, STEPS, **WRONG[name]()) is not None for seed in range(WRONG_RUNS))
