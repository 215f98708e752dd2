"""Pauses of a stage whose runs fail again and again for one key, such as a pass or a workspace.

The pause grows with each failure in a row. After an outage nothing waits long: the first run that succeeds ends the
pauses of all runs that met the outage. A run that the store refused for good waits much longer, up to an hour.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

OUTAGE_PAUSES_SECONDS = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0)
"""Pause after each failure in a row because the store did not answer. The last one repeats."""
REFUSAL_PAUSES_SECONDS = (5.0, 5.0, 5.0, 5.0, 60.0, 600.0, 3_600.0)
"""Pause after each refusal in a row. The last one repeats, because the cause may end: an operator removes it."""
MAX_PAUSES = 100_000


@dataclass(frozen=True, slots=True)
class _Pause:
    failures: int
    ends_at: float
    is_refusal: bool


class Pauses:
    """The pauses of one worker, by stage and key. `now_seconds` is a clock that never goes back."""

    def __init__(self, now_seconds: Callable[[], float] = time.monotonic) -> None:
        self._now_seconds = now_seconds
        self._pauses: dict[tuple[str, str], _Pause] = {}
        self._has_outage = False

    def is_paused(self, stage: str, key: str) -> bool:
        """Return whether the stage must not run for the key yet."""
        pause = self._pauses.get((stage, key))
        return pause is not None and self._now_seconds() < pause.ends_at

    def note_failure(self, stage: str, key: str, *, is_refusal: bool) -> None:
        """Begin a pause: the store did not answer, or refused a command for good."""
        before = self._pauses.pop((stage, key), None)
        failures = before.failures if before is not None and before.is_refusal == is_refusal else 0
        lengths = REFUSAL_PAUSES_SECONDS if is_refusal else OUTAGE_PAUSES_SECONDS
        ends_at = self._now_seconds() + lengths[min(failures, len(lengths) - 1)]
        if len(self._pauses) >= MAX_PAUSES:
            del self._pauses[next(iter(self._pauses))]
        self._pauses[stage, key] = _Pause(failures + 1, ends_at, is_refusal)
        self._has_outage = self._has_outage or not is_refusal

    def note_success(self, stage: str, key: str) -> None:
        """End the pause of the stage for the key, and all pauses for outages: the store answers again."""
        self._pauses.pop((stage, key), None)
        if self._has_outage:
            self._pauses = {each: pause for each, pause in self._pauses.items() if pause.is_refusal}
            self._has_outage = False
