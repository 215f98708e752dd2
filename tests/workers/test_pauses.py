"""Pauses of stages that fail again and again: they grow, and the end of an outage ends them."""

from __future__ import annotations

from workers.pauses import OUTAGE_PAUSES_SECONDS, REFUSAL_PAUSES_SECONDS, Pauses


def measure_pauses(pauses: Pauses, clock: list[float], count: int, *, is_refusal: bool) -> list[float]:
    """Let a stage fail so often, each time at the end of its pause, and return the length of each pause."""
    found = []
    for _ in range(count):
        pauses.note_failure("merge", "pass_1", is_refusal=is_refusal)
        began = clock[0]
        while pauses.is_paused("merge", "pass_1"):
            clock[0] += 0.5
        found.append(clock[0] - began)
    return found


def test_pause_grows_with_each_failure_in_a_row_up_to_a_longest_one() -> None:
    clock = [100.0]
    pauses = Pauses(lambda: clock[0])
    count = len(OUTAGE_PAUSES_SECONDS) + 1
    expected = [*OUTAGE_PAUSES_SECONDS, OUTAGE_PAUSES_SECONDS[-1]]
    assert measure_pauses(pauses, clock, count, is_refusal=False) == expected
    assert measure_pauses(pauses, clock, 3, is_refusal=True) == list(REFUSAL_PAUSES_SECONDS[:3])
    assert not pauses.is_paused("merge", "pass_2")


def test_success_of_any_stage_ends_the_pauses_of_an_outage_but_not_those_of_refusals() -> None:
    pauses = Pauses(lambda: 100.0)
    for _ in range(2):
        pauses.note_failure("fold", "0-15", is_refusal=False)
        pauses.note_failure("merge", "pass_1", is_refusal=True)
    assert pauses.is_paused("fold", "0-15")
    pauses.note_success("publish", "workspace_1")
    assert not pauses.is_paused("fold", "0-15")
    assert pauses.is_paused("merge", "pass_1")
    pauses.note_success("merge", "pass_1")
    assert not pauses.is_paused("merge", "pass_1")
