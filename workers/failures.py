"""Failure policy of the worker, the same for all stages.

If the store does not answer (Unavailable), the next sweep runs the stage again. Any other exception is logged, with a
reference.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from app.domain.errors import Unavailable
from app.telemetry import metrics

from .worker import Worker

log = logging.getLogger("punchcard.worker")


def log_failures(
    stage: str, run: Callable[[Worker, str], Awaitable[None]]
) -> Callable[[Worker, str], Coroutine[Any, Any, None]]:
    """Wrap a stage so that it logs and counts failures instead of raising them. Cancellation is still raised."""

    async def guarded_run(worker: Worker, key: str) -> None:
        try:
            with metrics.STAGE_SECONDS.labels(stage).time():
                await run(worker, key)
        except Unavailable as error:
            metrics.STAGE_FAILURES.labels(stage, "unavailable").inc()
            log.warning("%s %s skipped until the next sweep, store unavailable: %s", stage, key, error)
        except Exception:
            metrics.STAGE_FAILURES.labels(stage, "error").inc()
            log.exception("%s %s failed; reference %s", stage, key, uuid.uuid4().hex)

    guarded_run.__name__ = stage
    return guarded_run
