"""Estimates of a number of passes from some of them that were drawn at random."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor, sqrt

Z_95 = 1.959964
"""The normal deviate that 95 % of draws stay within, on both sides."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """Number with its 95 % interval. An exact one has no width."""

    count: int
    low: int
    high: int
    exact: bool


def estimate_count(hits: int, drawn: int, total: int) -> Estimate:
    """Return the estimated number of hits among `total`, of which `drawn` were evaluated. Exact if all were.

    The interval is Wilson's, which also holds for shares near 0 and 1. Draws without replacement know more: they count
    as so many more draws.
    """
    if drawn >= total:
        return Estimate(hits, hits, hits, exact=True)
    if not drawn:
        return Estimate(0, 0, total, exact=False)
    share, weight = hits / drawn, drawn * (total - 1) / (total - drawn)
    spread = Z_95**2 / weight
    middle = (share + spread / 2) / (1 + spread)
    half = sqrt(share * (1 - share) * spread + spread**2 / 4) / (1 + spread)
    # What was evaluated is certain.
    low = max(hits, floor(total * (middle - half)))
    high = min(total - (drawn - hits), ceil(total * (middle + half)))
    return Estimate(scale(hits, drawn, total), low, high, exact=False)


def estimate_most(drawn: Sequence[int], total: int) -> int:
    """Return the upper end of the 95 % interval of a sum over `total`, of which these numbers were drawn.

    It is the sum itself if all were drawn, and 0 if none was.
    """
    count = len(drawn)
    if count < 2 or count >= total:
        return scale(sum(drawn), count, total)
    mean = sum(drawn) / count
    variance = sum((number - mean) ** 2 for number in drawn) / (count - 1)
    # Draws without replacement know more.
    deviation = sqrt(variance / count * (total - count) / (total - 1))
    return ceil(total * (mean + Z_95 * deviation))


def scale(number: int, drawn: int, total: int) -> int:
    """Return a number that was counted among `drawn`, for `total`."""
    return round(number * total / drawn) if drawn else 0
