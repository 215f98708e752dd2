"""Lanes: how the messages to one webhook endpoint wait for each other, and when all of them wait because it is away.

The passes of a workspace are spread over 16 lanes. A lane sends one message at a time, so those of a pass arrive in order;
lanes do not wait for each other. An endpoint that fails whatever it is sent is away: nothing but single probes goes to it.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace

from .deliveries import MOST_RETRY_AFTER_SECONDS, Attempt

LANES = 16
AWAY_AFTER = 10
"""So many failures in a row, with no success in between, and"""
AWAY_AFTER_MS = 10_000
"""so long since the first of them: the endpoint is away."""
HOLD_SECONDS = 5
MOST_HOLD_SECONDS = 300
GIVEN_UP_AFTER_MS = 272_100_000
"""75 h 35 min: an endpoint that was away for so long is disabled. It is how long one message would be retried."""


def lane_of(pass_id: str) -> int:
    """The lane (0 to 15) of every activity of this pass."""
    return zlib.crc32(pass_id.encode()) % LANES


@dataclass(frozen=True, slots=True)
class Head:
    """The message that a lane stands at because it failed: how often, how, and when it is tried again."""

    tries: int
    at_ms: int
    attempts: tuple[Attempt, ...] = ()


@dataclass(frozen=True, slots=True)
class Health:
    """How an endpoint has been: failures since its last success, since when, and since when it is away, if it is.

    `holds` is how many times in a row it was left alone for a while since it is away. Times are milliseconds since 1970.
    """

    failures: int = 0
    since_ms: int | None = None
    away_since_ms: int | None = None
    holds: int = 0

    @property
    def away(self) -> bool:
        """Whether nothing but single probes may be sent."""
        return self.away_since_ms is not None

    def failed(self, now_ms: int) -> Health:
        """After one more failure."""
        since_ms = now_ms if self.since_ms is None else self.since_ms
        failures = self.failures + 1
        gone = failures >= AWAY_AFTER and now_ms - since_ms >= AWAY_AFTER_MS
        away_since_ms = now_ms if gone and self.away_since_ms is None else self.away_since_ms
        return Health(failures, since_ms, away_since_ms, self.holds)

    def held(self) -> Health:
        """After it is left alone once more."""
        return replace(self, holds=self.holds + 1)

    def hold_ms(self, chance: float, retry_after_seconds: int = 0) -> int:
        """For how many milliseconds it is left alone now: 5 s, then twice as long each time, up to 5 min.

        `chance` is a random number from 0 to 1, and makes it up to a fifth longer. The endpoint's own wish is honoured up to
        an hour.
        """
        seconds = min(HOLD_SECONDS * 2 ** min(self.holds, 16), MOST_HOLD_SECONDS) * (1 + chance / 5)
        return int(1000 * max(seconds, min(retry_after_seconds, MOST_RETRY_AFTER_SECONDS)))

    def given_up(self, now_ms: int) -> bool:
        """Whether it was away for so long that it is disabled."""
        return self.away_since_ms is not None and now_ms - self.away_since_ms >= GIVEN_UP_AFTER_MS


@dataclass(frozen=True, slots=True)
class LaneState:
    """How far an endpoint is, as it is asked for: everything up to `pos` was delivered or set aside, or is not shown to it.

    `away_since_ms` is since when it is away, None while it is not.
    """

    pos: int
    away_since_ms: int | None = None
