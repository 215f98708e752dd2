"""The one failure policy of the worker, for every stage.

What the store did not answer (Unavailable) is left to the next sweep, anything else is logged with a reference.
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
    """The stage under the one failure policy: never raises but for cancellation."""

    async def guarded_run(worker: Worker, key: str) -> None:
        try:
            with metrics.STAGE_SECONDS.labels(stage).time():
                await run(worker, key)
        except Unavailable as error:
            metrics.STAGE_FAILURES.labels(stage, "unavailable").inc()
            log.warning("%s %s waits for the next sweep: %s", stage, key, error)
        except Exception:
            metrics.STAGE_FAILURES.labels(stage, "error").inc()
            log.exception("%s %s failed; reference %s", stage, key, uuid.uuid4().hex)

    guarded_run.__name__ = stage
    return guarded_run
