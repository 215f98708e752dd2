"""The command `python -m bench.members`: what a page of `members(at:)` costs beside a page of `members`.

Every pass is in the segment now. Half of them were in it once before, so that a page at the instant between skips stays.
"""

from __future__ import annotations

import asyncio
import dataclasses
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import click
from rich.console import Console

from app.domain.passes.passes import Membership, Pass, Profile
from app.domain.segments.history import Ending, Interval
from app.domain.values.instants import to_ms
from app.local.servers import mongo_server
from app.resources import open_resources
from app.store.codecs import intervals, passes
from app.store.mongo.ids import new_id
from app.store.mongo.paging import PageRequest
from app.store.mongo.queries import Database
from app.store.operations.indexes import ensure_indexes
from app.store.workspace.workspace import Workspace
from tests.servers import running_servers

from .timing import Processes, Run, Side, compare

SEGMENT = "seg_bench"
NOW = datetime(2026, 6, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
ENTERED, BEFORE = NOW - timedelta(days=30), NOW - timedelta(days=300)
ENDING = Ending(BEFORE + timedelta(days=1), {"kind": "TIME"}, 1)
INSERTED_AT_ONCE = 1_000


@click.command(context_settings={"max_content_width": 110})
@click.option("--passes", "number", default=20_000, show_default=True, help="Members of the segment.")
@click.option("--rounds", default=30, show_default=True, help="Pages of each kind.")
def main(number: int, rounds: int) -> None:
    """Measure pages of 50 members: now, an hour ago, and while half of the passes were members.

    \b
    Examples:
      python -m bench.members
      python -m bench.members --passes 100000
    """
    asyncio.run(_run(number, rounds))


async def _run(number: int, rounds: int) -> None:
    console = Console(width=130)
    with tempfile.TemporaryDirectory(prefix="punchcard-members-") as folder:
        async with running_servers(Path(folder)) as servers:
            console.print(f"Store: {mongo_server(Path(folder)).engine}")
            processes = Processes()
            processes.watch("store", servers.mongo.pid)
            settings = dataclasses.replace(servers.settings, database="members", log_level="WARNING")
            async with open_resources(settings) as resources:
                await ensure_indexes(resources.db)
                workspace = resources.workspace("ws_bench")
                middle = await _insert(resources.db, workspace.id, number)
                await _compare(console, workspace, processes, middle=middle, rounds=rounds)


async def _compare(console: Console, workspace: Workspace, processes: Processes, *, middle: str, rounds: int) -> None:
    for title, span in (("first page", PageRequest(50)), ("page in the middle", PageRequest(50, after=(middle,)))):
        sides = [
            Side("members", prepare=_reading(partial(workspace.segments.members, SEGMENT, span))),
            *(
                Side(name, prepare=_reading(partial(workspace.intervals.members, SEGMENT, at, span)))
                for name, at in (("an hour ago", NOW - HOUR), ("when half of them were members", BEFORE + HOUR))
            ),
        ]
        await compare(sides, processes, rounds=rounds)
        for side in sides:
            cpu_ms = side.cpu_ms_per_unit("store")
            console.print(
                f"{title}, {side.name}: {1_000 * side.median:.1f} ms, {cpu_ms:.1f} ms of CPU time of the store"
            )
    started = Side("computedThrough", prepare=_reading(partial(workspace.progress.computed_through, NOW)))
    await compare([started], processes, rounds=rounds)
    console.print(f"computedThrough: {1_000 * started.median:.1f} ms")


def _reading(read: Callable[[], Awaitable[object]]) -> Callable[[], Awaitable[Run]]:
    async def run() -> None:
        await read()

    async def prepare() -> Run:
        return run

    return prepare


async def _insert(db: Database, workspace_id: str, number: int) -> str:
    """Store passes and their stays, and return the id of the pass in the middle."""
    membership = Membership(SEGMENT, to_ms(ENTERED), 1, cause={"kind": "TIME"}, number=4)
    card = Pass(
        id="", workspace_id=workspace_id, external_id="", initial_profile=Profile(), profile=Profile(),
        installed_at=None, created_at=BEFORE, updated_at=BEFORE, evaluated_until_ms=to_ms(ENTERED), revision=0,
        memberships={SEGMENT: membership},
    )  # fmt: skip
    stay = Interval("", SEGMENT, None, 4, ENTERED, cause={"kind": "TIME"}, version=1)
    ids = [new_id("pass") for _ in range(number)]
    for start in range(0, number, INSERTED_AT_ONCE):
        part = ids[start : start + INSERTED_AT_ONCE]
        await db["passes"].insert_many([passes.to_doc(replace(card, id=each, external_id=each)) for each in part])
        stays = [replace(stay, id=f"act_{each}:4", pass_id=each) for each in part]
        stays += [
            replace(stay, id=f"act_{each}:2", pass_id=each, number=2, entered_at=BEFORE, ending=ENDING)
            for each in part[::2]
        ]
        await db["intervals"].insert_many([intervals.to_doc(each, workspace_id) for each in stays])
    return sorted(ids)[number // 2]


if __name__ == "__main__":
    main()
