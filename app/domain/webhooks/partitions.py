"""Lanes: how the messages to one webhook endpoint wait for each other, and when all of them wait because it is away.

The passes of a workspace are spread over 16 lanes. A lane sends one message at a time, so those of a pass arrive in order;
lanes do not wait for each other. An endpoint that fails whatever it is sent is away: nothing but single probes goes to it.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace

from .deliveries import MAX_RETRY_AFTER_SECONDS, Attempt

PARTITIONS = 16
CIRCUIT_OPENS_AFTER_FAILURES = 10
"""So many failures in a row, with no success in between, and"""
CIRCUIT_OPENS_AFTER_MS = 10_000
"""so long since the first of them: the endpoint is away."""
FIRST_PROBE_DELAY_SECONDS = 5
MAX_PROBE_DELAY_SECONDS = 300
DISABLED_AFTER_MS = 272_100_000
"""75 h 35 min: an endpoint that was away for so long is disabled. It is how long one message would be retried."""


def partition_of(pass_id: str) -> int:
    """The lane (0 to 15) of every activity of this pass."""
    return zlib.crc32(pass_id.encode()) % PARTITIONS


@dataclass(frozen=True, slots=True)
class BlockedHead:
    """The message that a lane stands at because it failed: how often, how, and when it is tried again."""

    attempt_count: int
    retry_at_ms: int
    attempts: tuple[Attempt, ...] = ()


@dataclass(frozen=True, slots=True)
class EndpointHealth:
    """How an endpoint has been: failures since its last success, since when, and since when it is away, if it is.

    `holds` is how many times in a row it was left alone for a while since it is away. Times are milliseconds since 1970.
    """

    failures: int = 0
    failing_since_ms: int | None = None
    circuit_opened_ms: int | None = None
    probe_pauses: int = 0

    @property
    def circuit_open(self) -> bool:
        """Whether nothing but single probes may be sent."""
        return self.circuit_opened_ms is not None

    def after_failure(self, now_ms: int) -> EndpointHealth:
        """After one more failure."""
        since_ms = now_ms if self.failing_since_ms is None else self.failing_since_ms
        failures = self.failures + 1
        gone = failures >= CIRCUIT_OPENS_AFTER_FAILURES and now_ms - since_ms >= CIRCUIT_OPENS_AFTER_MS
        away_since_ms = now_ms if gone and self.circuit_opened_ms is None else self.circuit_opened_ms
        return EndpointHealth(failures, since_ms, away_since_ms, self.probe_pauses)

    def after_probe_pause(self) -> EndpointHealth:
        """After it is left alone once more."""
        return replace(self, probe_pauses=self.probe_pauses + 1)

    def probe_delay_ms(self, chance: float, retry_after_seconds: int = 0) -> int:
        """For how many milliseconds it is left alone now: 5 s, then twice as long each time, up to 5 min.

        `chance` is a random number from 0 to 1, and makes it up to a fifth longer. The endpoint's own wish is honoured up to
        an hour.
        """
        seconds = min(FIRST_PROBE_DELAY_SECONDS * 2 ** min(self.probe_pauses, 16), MAX_PROBE_DELAY_SECONDS) * (
            1 + chance / 5
        )
        return int(1000 * max(seconds, min(retry_after_seconds, MAX_RETRY_AFTER_SECONDS)))

    def is_given_up(self, now_ms: int) -> bool:
        """Whether it was away for so long that it is disabled."""
        return self.circuit_opened_ms is not None and now_ms - self.circuit_opened_ms >= DISABLED_AFTER_MS


@dataclass(frozen=True, slots=True)
class PartitionState:
    """How far an endpoint is, as it is asked for: everything up to `pos` was delivered or set aside, or is not shown to it.

    `away_since_ms` is since when it is away, None while it is not.
    """

    position: int
    circuit_opened_ms: int | None = None
