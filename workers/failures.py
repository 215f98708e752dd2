"""Failure policy of the worker, the same for all stages.

If the store does not answer (Unavailable), a later sweep runs the stage again. If the store refuses a command for good
(StoreRefused), so does a much later sweep. `pauses.py` says when. The store's queries log both. Any other exception is
logged here, with a reference.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from app.domain.errors import StoreRefused, Unavailable
from app.telemetry import metrics

from .worker import Worker

log = logging.getLogger("punchcard.worker")

REDIS_LOG_SECONDS = 10.0
"""Interval of the lines about a Redis that does not answer. Both queues connect again twice a second."""


class RedisFailureLog:
    """Log of failed connections to Redis. `now_seconds` is a clock that never goes back."""

    def __init__(self, now_seconds: Callable[[], float] = time.monotonic) -> None:
        self._now_seconds = now_seconds
        self._logged_at: float | None = None
        self._unlogged = 0

    def note(self, error: Exception) -> None:
        """Log the first failure, then one line in 10 seconds with the number of failures since the last line."""
        now = self._now_seconds()
        if self._logged_at is not None and now < self._logged_at + REDIS_LOG_SECONDS:
            self._unlogged += 1
            return
        log.warning(
            "Redis unavailable, check REDIS_URL; the worker goes on without wake-ups: %s (%d more failures since the last"
            " line)", error, self._unlogged,
        )  # fmt: skip
        self._logged_at, self._unlogged = now, 0


def log_timeout(stage: str, key: str, seconds: float) -> None:
    """Log and count a run of a stage that was cancelled because it took too long. Each of its steps can be repeated."""
    metrics.STAGE_FAILURES.labels(stage, "timeout").inc()
    log.warning(
        "%s %s stopped after %g s, the next sweep continues it; if this line repeats, look for a large backlog or a slow"
        " store", stage, key, seconds,
    )  # fmt: skip


def log_failures(
    stage: str, run: Callable[[Worker, str], Awaitable[None]]
) -> Callable[[Worker, str], Coroutine[Any, Any, None]]:
    """Wrap a stage so that it logs and counts failures instead of raising them. Cancellation is still raised.

    While the stage is paused for the key, the wrapped stage does nothing.
    """

    async def guarded_run(worker: Worker, key: str) -> None:
        if worker.pauses.is_paused(stage, key):
            return
        try:
            with metrics.STAGE_SECONDS.labels(stage).time():
                await run(worker, key)
        except Unavailable as error:
            metrics.STAGE_FAILURES.labels(stage, "unavailable").inc()
            worker.pauses.note_failure(stage, key, is_refusal=False)
            # The store's queries have logged an outage of the store.
            level = logging.DEBUG if error.dependency == "store" else logging.WARNING
            log.log(level, "%s %s skipped until a later sweep: %s", stage, key, error)
        except StoreRefused as error:
            metrics.STAGE_FAILURES.labels(stage, "refused").inc()
            worker.pauses.note_failure(stage, key, is_refusal=True)
            log.debug("%s %s skipped until a later sweep: %s Reference %s", stage, key, error, error.reference)
        except Exception:
            metrics.STAGE_FAILURES.labels(stage, "error").inc()
            log.exception("%s %s failed; reference %s", stage, key, uuid.uuid4().hex)
        else:
            worker.pauses.note_success(stage, key)

    guarded_run.__name__ = stage
    return guarded_run
