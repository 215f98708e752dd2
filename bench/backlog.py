"""The command `python -m bench.backlog`: what one pass of a backlog costs, in a short and in a long backlog.

The stages publish, backfill and due empty a backlog in rounds. A round should cost the same whatever else waits. So the
store should spend the same CPU time on a pass in both backlogs.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from app.clock import FixedClock
from app.commands.segments import create_segment
from app.domain.values.instants import to_ms
from app.flow import SLOT_RANGES
from app.local.servers import mongo_server
from app.resources import open_resources
from tests.backlogs import insert_passes
from tests.business import Business, create_business, open_business, spent
from tests.servers import running_servers
from workers.stages.backfill import backfill
from workers.stages.due import due
from workers.stages.publish import publish

from .timing import Processes

NOW = datetime(2026, 1, 1, tzinfo=UTC)


async def _prepare_publish(business: Business, count: int) -> None:
    await insert_passes(business, count, unpublished=True)


async def _prepare_backfill(business: Business, count: int) -> None:
    await insert_passes(business, count)
    await create_segment(business.ctx, "big", "big", spent(100))


async def _prepare_due(business: Business, count: int) -> None:
    await insert_passes(business, count, due_ms=[to_ms(NOW) + number for number in range(500)])


async def _publish(business: Business) -> None:
    await publish(business.worker, business.ctx.workspace.id)


async def _backfill(business: Business) -> None:
    await backfill(business.worker, business.ctx.workspace.id)


async def _due(business: Business) -> None:
    await asyncio.gather(*(due(business.worker, key) for key in SLOT_RANGES))


STAGES: dict[str, tuple[Callable[[Business, int], Awaitable[None]], Callable[[Business], Awaitable[None]]]] = {
    "publish": (_prepare_publish, _publish),
    "backfill": (_prepare_backfill, _backfill),
    "due": (_prepare_due, _due),
}


@click.command(context_settings={"max_content_width": 110})
@click.option(
    "--passes", "sizes", multiple=True, type=int, help="Passes of a backlog; may be repeated.  [default: 2000 and 8000]"
)
@click.option(
    "--only", "stages", multiple=True, type=click.Choice(list(STAGES)), help="Measure only this stage; may be repeated."
)
def main(sizes: tuple[int, ...], stages: tuple[str, ...]) -> None:
    """Measure what one pass of a backlog costs, in backlogs of several lengths.

    A ratio is the CPU time of the store for one pass, divided by that in the first backlog. It should stay near 1.

    \b
    Examples:
      python -m bench.backlog
      python -m bench.backlog --only publish --passes 5000 --passes 20000
    """
    asyncio.run(_run(sizes or (2_000, 8_000), stages or tuple(STAGES)))


async def _run(sizes: tuple[int, ...], stages: tuple[str, ...]) -> None:
    console = Console(width=120)
    table = Table()
    for heading in ("stage", "passes", "seconds", "store CPU ms/pass", "bench CPU ms/pass", "ratio"):
        table.add_column(heading, justify="left" if heading == "stage" else "right")
    with tempfile.TemporaryDirectory(prefix="punchcard-backlog-") as name:
        async with running_servers(Path(name)) as servers:
            console.print(f"Store: {mongo_server(Path(name)).engine}")
            processes = Processes()
            processes.watch("store", servers.mongo.pid)
            processes.watch("bench", None)
            async with open_resources(servers.settings) as opened:
                clock = FixedClock(NOW + timedelta(seconds=1))
                resources = replace(opened, clock=clock)
                await open_business(resources, clock)
                for stage in stages:
                    first = 0.0
                    for count in sizes:
                        prepare, run = STAGES[stage]
                        business = await create_business(resources, clock, f"{stage} {count}")
                        await prepare(business, count)
                        cpu, began = processes.cpu(), time.perf_counter()
                        await run(business)
                        seconds = time.perf_counter() - began
                        used = {name: 1000 * (after - cpu[name]) / count for name, after in processes.cpu().items()}
                        first = first or used["store"]
                        table.add_row(
                            stage,
                            f"{count:,}",
                            f"{seconds:.1f}",
                            f"{used['store']:.2f}",
                            f"{used['bench']:.2f}",
                            f"{used['store'] / first:.2f}",
                        )
    console.print(table)


if __name__ == "__main__":
    main()
