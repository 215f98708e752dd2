"""Bounds of processor time that hold on slow machines, too."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import repeat

REFERENCE_SECONDS = 0.005
"""Processor time that `_measure_reference` takes on the machine for which the bounds of the tests were chosen."""


@contextmanager
def spending_at_most(seconds: float) -> Iterator[None]:
    """Fail if the block takes more processor time than this.

    On a machine that is slower than that of REFERENCE_SECONDS before or after the block, the bound is as many times higher.
    """
    slowest, began = _measure_reference(), time.process_time()
    yield
    spent = time.process_time() - began
    allowed = seconds * max(1.0, max(slowest, _measure_reference()) / REFERENCE_SECONDS)
    assert spent <= allowed, f"the block took {spent:.2f} s of processor time, and {allowed:.2f} s are allowed"


def _measure_reference() -> float:
    """Return the processor time of a fixed computation in Python."""
    began = time.process_time()
    for _ in repeat(None, 1_000_000):
        pass
    return time.process_time() - began
