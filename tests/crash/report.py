"""What has to happen in a crash run, and what happened."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Minimum:
    """What has to happen before a run may end. A run with less would prove nothing.

    `erased` is how many erasures have begun. All of them are done before the checks.
    """

    faults: int = 30
    worker_crashes: int = 10
    acknowledged: int = 150
    removed: int = 10
    erased: int = 1
    merged: int = 1
    transitions: int = 40
    partner_troubles: int = 1


@dataclass
class CrashReport:
    """What happened in a run, and the contradictions that the checks found."""

    faults: Counter[str]
    worker_crashes: int
    acknowledged: int
    retries: int
    removed: int
    erased: int
    merged: int
    activities: int
    transitions: int
    followed: int
    delivered: int
    repeated: int
    partner_troubles: int
    seconds_without_redis: float
    seconds_after_restart: float
    problems: list[str]
    store_faults: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)
    """What is no contradiction, such as how long the rest of the work took."""
