"""The part `webhooks`: 1,000 activities sent to one endpoint in another process, beside bare posts of the same bodies.

The bare side also has sixteen connections, but it reads no log, signs nothing and stores no results.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import sys
from collections.abc import AsyncIterator, Sequence

import httpcore

from app.commands.events.record import record_events
from app.commands.webhooks.endpoints import create_webhook_endpoint
from app.domain.webhooks.messages import render_message
from app.domain.webhooks.partitions import PARTITIONS, partition_of
from app.flow import SLOT_RANGES
from workers.stages.deliver import run_endpoint
from workers.stages.fold import fold
from workers.stages.publish import publish
from workers.worker import Worker

from .recording import generate_items, to_inputs
from .stock import Stock
from .timing import Processes, Run, Side, compare

EVENTS, PASSES = 1_000, 1_000


@contextlib.asynccontextmanager
async def _run_receiver(processes: Processes) -> AsyncIterator[str]:
    """Run a receiver as a process inside the block, and yield its address."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.receiver", stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    port = int(await process.stdout.readline())
    processes.watch("receiver", process.pid)
    try:
        yield f"http://127.0.0.1:{port}/"
    finally:
        processes.forget("receiver")
        process.kill()
        await process.wait()


async def measure_webhooks(stock: Stock, processes: Processes, rounds: int) -> list[Side]:
    """Measure 1,000 activities of 1,000 passes: posted bare, and delivered."""
    resources = stock.ctx.resources
    settings = dataclasses.replace(resources.settings, egress_allow=("127.0.0.1",))
    ctx = dataclasses.replace(stock.ctx, resources=dataclasses.replace(resources, settings=settings))
    worker = Worker.on(ctx.resources)
    async with _run_receiver(processes) as url, contextlib.AsyncExitStack() as stack:
        pools = [await stack.enter_async_context(httpcore.AsyncConnectionPool()) for _ in range(PARTITIONS)]
        endpoint, _ = await create_webhook_endpoint(ctx, url)
        bodies: list[list[bytes]] = []

        async def prepare_delivery() -> Run:
            before = await ctx.workspace.activities.last_pos()
            await record_events(ctx, to_inputs(generate_items(stock, EVENTS, PASSES)))
            await asyncio.gather(*(fold(worker, key) for key in SLOT_RANGES))
            await publish(worker, ctx.workspace.id)
            activities = await ctx.workspace.activities.after(before, 2 * EVENTS)
            bodies[:] = [[] for _ in range(PARTITIONS)]
            for activity in activities[:EVENTS]:
                bodies[partition_of(activity.pass_id)].append(render_message(activity, "somebody").body)
            return lambda: run_endpoint(worker, endpoint.id)

        async def prepare_bare() -> Run:
            async def post_all(pool: httpcore.AsyncConnectionPool, messages: Sequence[bytes]) -> None:
                for body in messages:
                    headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
                    answer = await pool.request("POST", url, headers=headers, content=body)
                    assert answer.status == 200

            return lambda: asyncio.gather(*map(post_all, pools, bodies))

        sides = [Side("delivered", prepare_delivery, EVENTS), Side("bare posts", prepare_bare, EVENTS)]
        await compare(sides, processes, rounds=rounds)
        return sides[::-1]
