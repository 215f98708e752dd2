"""Partitions of a webhook endpoint, and the circuit that stops all of them while the endpoint fails.

The passes of a workspace are spread over 16 partitions. A partition sends one message at a time, so the messages of a
pass arrive in order. Partitions do not wait for each other. If an endpoint fails 10 times in a row, its circuit opens:
only single probes are sent to it.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from .deliveries import MAX_RETRY_AFTER_SECONDS, Attempt

PARTITIONS = 16
"""Partitions of an endpoint."""
CIRCUIT_OPENS_AFTER_FAILURES = 10
"""Failures in a row after which the circuit opens, provided that CIRCUIT_OPENS_AFTER_MS have passed too."""
CIRCUIT_OPENS_AFTER_MS = 10_000
"""The shortest time from the first of these failures to the opening of the circuit."""
FIRST_PROBE_DELAY_SECONDS = 5
MAX_PROBE_DELAY_SECONDS = 300
DISABLED_AFTER_MS = 272_100_000
"""75 h 35 min: how long a circuit is open before the endpoint is disabled. One message is retried for as long."""


def partition_of(pass_id: str) -> int:
    """Return the partition, 0 to 15, of every activity of a pass."""
    return zlib.crc32(pass_id.encode()) % PARTITIONS


@dataclass(frozen=True, slots=True)
class BlockedHead:
    """The failed attempts of the message that its partition waits for, and the time of the next attempt.

    While the circuit is open, failures do not count in `attempt_count`. `blocked_ms` is the time of the first failure.
    `activity_id` names the activity of the message; it is None for a head that version 0.1.0 stored.
    """

    attempt_count: int
    retry_at_ms: int
    blocked_ms: int
    attempts: tuple[Attempt, ...] = ()
    activity_id: str | None = None


@dataclass(frozen=True, slots=True)
class EndpointHealth:
    """The failures of an endpoint since its last success, and the state of its circuit.

    `failing_since_ms` is the time of the first of these failures. `circuit_opened_ms` is None while the circuit is
    closed. `probe_pauses` counts the pauses between probes since the circuit opened. Times are milliseconds since 1970.
    """

    failures: int = 0
    failing_since_ms: int | None = None
    circuit_opened_ms: int | None = None
    probe_pauses: int = 0

    @property
    def circuit_open(self) -> bool:
        """Whether only single probes may be sent."""
        return self.circuit_opened_ms is not None

    def after_failure(self, now_ms: int) -> EndpointHealth:
        """Return the health after one more failure, which may open the circuit."""
        since_ms = now_ms if self.failing_since_ms is None else self.failing_since_ms
        failures = self.failures + 1
        is_open = failures >= CIRCUIT_OPENS_AFTER_FAILURES and now_ms - since_ms >= CIRCUIT_OPENS_AFTER_MS
        opened_ms = now_ms if is_open and self.circuit_opened_ms is None else self.circuit_opened_ms
        return EndpointHealth(
            failures=failures,
            failing_since_ms=since_ms,
            circuit_opened_ms=opened_ms,
            probe_pauses=self.probe_pauses,
        )

    def after_probe_pause(self) -> EndpointHealth:
        """Return the health at the beginning of one more pause between probes."""
        return replace(self, probe_pauses=self.probe_pauses + 1)

    def probe_delay_ms(self, chance: float, retry_after_seconds: int = 0) -> int:
        """Return the milliseconds until the next probe: 5 s, then twice as long each time, up to 5 min.

        `chance` is a random number from 0 to 1 that makes the delay up to a fifth longer. `retry_after_seconds` is the
        endpoint's `Retry-After`: it can only make the delay longer, up to one hour.
        """
        seconds = min(FIRST_PROBE_DELAY_SECONDS * 2 ** min(self.probe_pauses, 16), MAX_PROBE_DELAY_SECONDS) * (
            1 + chance / 5
        )
        return int(1000 * max(seconds, min(retry_after_seconds, MAX_RETRY_AFTER_SECONDS)))

    def is_given_up(self, now_ms: int) -> bool:
        """Return whether the circuit was open for so long that the endpoint is to be disabled."""
        return self.circuit_opened_ms is not None and now_ms - self.circuit_opened_ms >= DISABLED_AFTER_MS


@dataclass(frozen=True, slots=True)
class PartitionState:
    """The progress of an endpoint, as the API shows it.

    - `position`: every activity up to it is delivered, deferred or hidden by the endpoint's filter.
    - `health`: the failures in a row, and the state of the circuit.
    - `heads`: the blocked heads by the position of their activity.
    - `work_ms`: the earliest time of work; None if the endpoint is idle or disabled.
    - `last_attempt`: the last attempt at the endpoint; None if there was none, or only by version 0.1.0.
    """

    position: int
    health: EndpointHealth = EndpointHealth()
    heads: Mapping[int, BlockedHead] = field(default_factory=dict)
    work_ms: int | None = None
    last_attempt: Attempt | None = None

    @property
    def next_retry_ms(self) -> int | None:
        """The time of the next attempt at a blocked head, or of the next probe; None if neither is to come."""
        if self.work_ms is None or self.health.circuit_open:
            return self.work_ms
        return min((head.retry_at_ms for head in self.heads.values()), default=None)

    def retry_ms_of(self, head: BlockedHead) -> int | None:
        """Return the time of the next attempt at a blocked head; None if the endpoint is disabled."""
        if self.work_ms is None:
            return None
        return max(head.retry_at_ms, self.work_ms) if self.health.circuit_open else head.retry_at_ms
