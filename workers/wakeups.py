"""Wake-ups among several workers: arq gives a wake-up to any worker, which hands it on to those that prefer its key.

A handed-on wake-up is a message over Redis. If it is lost, or if the workers see different heartbeats for a moment, the
next sweep of the worker that prefers the key finds the work.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from app.telemetry import tracing

from .worker import Worker

Run = Callable[[Worker, str], Awaitable[None]]


def topic(worker_id: str) -> str:
    """Return the topic of the wake-ups for one worker."""
    return f"worker:{worker_id}"


async def take(worker: Worker, stages: Mapping[str, Run], stage: str, key: str, trace: str | None = None) -> None:
    """Run a stage for a key here, or hand the wake-up on to the workers that prefer the key.

    A wake-up of a job is not handed on: the lease on the job already gives it to one worker.
    """
    owners = {worker.id} if stage == "jobs" else worker.sharing.owners(stage, key)
    for owner in owners - {worker.id}:
        message = {"stage": stage, "key": key, "trace": trace}
        await worker.resources.bus.publish(topic(owner), message)
    if worker.id in owners:
        await _run(worker, stages[stage], stage, key, trace=trace)


async def listen(worker: Worker, stages: Mapping[str, Run]) -> None:
    """Run the stages that other workers hand on, until cancelled. They are not handed on again."""
    async for message in worker.resources.bus.listen(topic(worker.id)):
        match message:
            case {"stage": str(stage), "key": str(key), "trace": str() | None as trace} if stage in stages:
                if not worker.stopping and worker.sharing.prefers(stage, key):
                    worker.start_task(_run(worker, stages[stage], stage, key, trace=trace))
            case _:
                # None: the connection to Redis is new. The sweep finds what was lost before.
                continue


async def _run(worker: Worker, run: Run, stage: str, key: str, *, trace: str | None) -> None:
    if trace is None:
        await run(worker, key)
        return
    with tracing.span(stage, "stage", trace) as span:
        span.note(punchcard__key=key)
        await run(worker, key)
