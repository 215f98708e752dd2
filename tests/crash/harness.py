"""API and workers twice, a store and a Redis, all of them killed at random under load; then a reckoning."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

from app.commands.context import Context
from app.commands.segments import create_segment
from app.commands.webhooks.endpoints import create_webhook_endpoint
from app.commands.workspaces.workspaces import create_workspace
from app.config.settings import Settings
from app.domain.activities import ENTERED, LEFT, ActivityQuery
from app.domain.actors import SCOPES, Actor
from app.local.processes import Child, StartError
from app.local.servers import free_port
from app.resources import Resources, open_resources
from app.store.clock import MongoClock
from app.store.operations import indexes
from tests.servers import Servers, api, running_servers, worker

from .checks import SEGMENTS, problems, unsettled
from .doors import Doors
from .load import Load
from .partner import Partner, partner

START = datetime(2026, 1, 1, tzinfo=UTC)
SETTLE_SECONDS = 60.0


@dataclasses.dataclass
class Reckoning:
    """What happened, and what was wrong with it (nothing, it is to be hoped)."""

    faults: Counter[str]
    worker_deaths: int
    acknowledged: int
    retries: int
    removed: int
    erased: int
    merged: int
    activities: int
    flips: int
    followed: int
    delivered: int
    repeated: int
    seconds_without_redis: float
    seconds_after_restart: float
    problems: list[str]


class Crew:
    """The processes of a run, each started again as soon as it has died."""

    def __init__(self, servers: Servers, settings: Settings, seed: int) -> None:
        ports = [free_port(), free_port()]
        self.addresses = [f"http://127.0.0.1:{port}/graphql" for port in ports]
        self.apis = [api(dataclasses.replace(settings, port=port)) for port in ports]
        self.workers = [worker(settings) for _ in ports]
        for child in self.workers:
            child.argv = (*child.argv[:-1], "tests.crash.worker_main")
            child.env = {**(child.env or {}), "CRASH_SEED": str(seed), "CRASH_CHANCE": "0.01"}
        self.servers = servers
        self.deaths: Counter[str] = Counter()
        self.resting: set[Child] = set()
        self.up: set[Child] = {servers.mongo, servers.redis}
        """Those that have come up since they died last."""

    @property
    def children(self) -> list[Child]:
        """Everything that can die."""
        return [*self.apis, *self.workers, self.servers.mongo, self.servers.redis]

    async def keep(self, child: Child) -> None:
        """Starts the child again whenever it has ended, unless it is to rest."""
        while True:
            if not child.is_running and child not in self.resting:
                self.up.discard(child)
                self.deaths[child.name] += 1
                with contextlib.suppress(StartError):
                    await child.start()
                    self.up.add(child)
            await asyncio.sleep(0.02)


async def run(folder: Path, seconds: float, seed: int, say: Callable[[str], None] = lambda _: None) -> Reckoning:
    """Runs the harness for about that long and answers what it found; the folder is for data and logs."""
    random = Random(seed)
    async with (
        running_servers(folder, durable=True) as servers,
        partner(ActivityQuery(include_silent=True), random) as everything,
        partner(ActivityQuery((ENTERED, LEFT), include_silent=True), random) as flips,
        _ready(servers.settings, [everything, flips]) as (resources, secret, ids),
    ):
        crew = Crew(servers, resources.settings, seed)
        load = Load(crew.addresses, secret, random)
        keepers = [asyncio.create_task(crew.keep(child)) for child in crew.children]
        try:
            writers = [asyncio.create_task(load.integrate(f"w{n}")) for n in range(3)]
            doors = Doors(load)
            others = (load.curate(), load.join(), doors.sell(), doors.upload(), doors.hear())
            writers += [asyncio.create_task(other) for other in others]
            follower = asyncio.create_task(load.follow())
            faults = await _reap(crew, load, resources, random, seconds, say)
            load.stopping = True
            await asyncio.gather(*writers)
            for child in crew.workers:
                # From here on nobody dies unasked: what is left is to be finished and measured.
                child.env = {**(child.env or {}), "CRASH_CHANCE": "0"}
                await child.kill()
            await _settled(resources)
            without_redis = await _told_without_redis(crew, load, resources, random)
            after_restart = await _told_after_restart(crew, load, resources)
            now = await resources.clock.now()
            await MongoClock(resources.db).set(now + timedelta(minutes=4))
            await _settled(resources)
            followed = await follower
            wrong = await problems(resources.db, load, ids, await resources.clock.now())
            wrong += [*await everything.untold(resources.db), *await flips.untold(resources.db)]
            told = resources.db["activities"]
            return Reckoning(
                faults,
                crew.deaths["worker"],
                len(load.acknowledged),
                load.retries,
                await resources.db["events"].count_documents({"removed": {"$gte": START}}),
                await resources.db["erasures"].count_documents({}),
                await resources.db["passes"].count_documents({"alias": {"$gte": 0}}),
                await told.count_documents({}),
                await told.count_documents({"segment": {"$gt": ""}}),
                followed,
                everything.delivered,
                everything.repeated + flips.repeated,
                without_redis,
                after_restart,
                wrong,
            )
        finally:
            for keeper in keepers:
                keeper.cancel()
            await asyncio.gather(*keepers, return_exceptions=True)
            await asyncio.gather(*(child.kill() for child in (*crew.apis, *crew.workers)))
            await load.aclose()


@asynccontextmanager
async def _ready(
    settings: Settings, partners: Sequence[Partner]
) -> AsyncIterator[tuple[Resources, str, dict[str, str]]]:
    """Resources of the harness's own, the key of a workspace, and its segments (key -> id); the partners are told."""
    settings = dataclasses.replace(settings, database="crash", clock="manual", egress_allow=("127.0.0.1",))
    async with open_resources(settings) as resources:
        await indexes.ensure_indexes(resources.db)
        await MongoClock(resources.db).set(START)
        profile, secret = await create_workspace(resources, "Crash")
        actor = Actor(profile.id, "key_crash", "crash", frozenset(SCOPES))
        ctx = Context(resources.workspace(profile.id), actor, resources)
        ids = {}
        for key, body in SEGMENTS.items():
            made = await create_segment(ctx, key, key, {"event": {"types": ["purchase"], **body}}, notify="EMIT")
            ids[key] = made.id
        for each in partners:
            await create_webhook_endpoint(ctx, each.receiver.url, filter=each.query)
        yield resources, secret, ids


async def _reap(
    crew: Crew, load: Load, resources: Resources, random: Random, seconds: float, say: Callable[[str], None]
) -> Counter[str]:
    """Kills, suspends and empties until the time is over, while business time goes on; what was done how often.

    A machine on which little happens has twice the time.
    """
    faults: Counter[str] = Counter()
    clock, until, next_word = MongoClock(resources.db), time.monotonic() + seconds, 0.0
    now = START

    def goes_on() -> bool:
        little = faults.total() < 40 or crew.deaths["worker"] < 15 or len(load.acknowledged) < 300
        return time.monotonic() < until + (seconds if little else 0)

    while goes_on():
        await asyncio.sleep(random.uniform(0.05, 0.45))
        child = random.choice([*crew.children, *crew.workers, *crew.apis])
        fate = random.random()
        if child not in crew.up:
            # On a slow machine too, whoever comes up has a moment to do something.
            continue
        if fate < 0.6:
            child.signal(signal.SIGKILL)
            faults[f"kill {child.name}"] += 1
        elif fate < 0.8 and child.pid is not None:
            child.signal(signal.SIGSTOP)
            await asyncio.sleep(random.uniform(0.05, 0.6))
            child.signal(signal.SIGCONT)
            faults[f"suspend {child.name}"] += 1
        elif fate < 0.85:
            with contextlib.suppress(Exception):
                await resources.redis.flushall()
                faults["empty redis"] += 1
        now += timedelta(seconds=random.choice([0, 1, 20, 70]))
        with contextlib.suppress(Exception):
            await clock.set(now)
        if time.monotonic() > next_word:
            say(
                f"{int(until - time.monotonic())} s left, {faults.total()} faults, {crew.deaths['worker']} dead workers"
            )
            next_word = time.monotonic() + 5
    return faults


async def _settled(resources: Resources) -> None:
    """Returns when nothing is left to do."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while True:
        try:
            left = await unsettled(resources.db, int((await resources.clock.now()).timestamp() * 1000))
        except Exception as error:  # noqa: BLE001  # the store may still be starting
            left = repr(error)
        if left is None:
            return
        if time.monotonic() > deadline:
            raise AssertionError(f"after {SETTLE_SECONDS:g} s there are still {left}")
        await asyncio.sleep(0.05)


async def _told(load: Load, resources: Resources, name: str) -> float:
    """Records one event; the instant (of the loop) at which the feed tells it."""
    event = {"passExternalId": "p0", "type": "visit", "amount": "1.00", "externalId": name}
    load.sent[name] = event
    await load.record([event])
    deadline = time.monotonic() + SETTLE_SECONDS
    while not await resources.db["activities"].count_documents({"data.event.externalId": name}):
        if time.monotonic() > deadline:
            raise AssertionError(f"{name} was not told within {SETTLE_SECONDS:g} s")
        await asyncio.sleep(0.01)
    return time.monotonic()


async def _told_without_redis(crew: Crew, load: Load, resources: Resources, random: Random) -> float:
    """Seconds from an event to the feed, right after everything in Redis was lost with it."""
    with contextlib.suppress(Exception):
        await resources.redis.flushall()
    crew.servers.redis.signal(signal.SIGKILL)
    began = time.monotonic()
    return await _told(load, resources, f"without-redis-{random.random()}") - began


async def _told_after_restart(crew: Crew, load: Load, resources: Resources) -> float:
    """Seconds from the restart of the killed workers to the feed telling what was recorded meanwhile."""
    crew.resting |= set(crew.workers)
    await asyncio.gather(*(child.kill() for child in crew.workers))
    telling = asyncio.create_task(_told(load, resources, "while-no-worker-ran"))
    while "while-no-worker-ran" not in load.acknowledged:
        await asyncio.sleep(0.01)
    crew.resting.clear()
    began = time.monotonic()
    return await telling - began
