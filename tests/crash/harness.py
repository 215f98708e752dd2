"""APIs, workers, a store and a Redis under load, all killed at random; then the checks and two measurements.

With faults of the store, each process reaches the store by a proxy that fails at random (`store_faults.py`).
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from random import Random

from app.commands.context import Context
from app.commands.segments import create_segment
from app.commands.webhooks.endpoints import create_webhook_endpoint
from app.commands.workspaces.workspaces import create_workspace
from app.config.settings import Settings
from app.domain.activities import ENTERED, LEFT
from app.domain.activity_queries import ActivityQuery
from app.domain.actors import SCOPES, Actor
from app.resources import Resources, open_resources
from app.store.clock import MongoClock
from app.store.mongo.queries import Database
from app.store.operations import indexes
from tests.mail_server import MailServer, run_mail_server
from tests.patience import PATIENCE_SECONDS, wait_until
from tests.servers import running_servers

from .active_counts import check_active_counts
from .campaign import open_campaign
from .channels import OtherChannels
from .checks import SEGMENTS, find_problems
from .effects import Effects, open_effects
from .ending import find_lost_deliveries, wait_until_done
from .load import EVERY_TYPE, START, Load
from .mail import Mail, open_mail
from .partner import Partner, run_partner
from .processes import Plan, Processes
from .programs import Programs, define_programs
from .report import CrashReport, Minimum
from .rollups import find_problems_of_rollups

FAULTS_IN_A_ROW = 3
MAX_PENDING = 50
"""Pending events above which clients wait before they record more."""


async def run(
    folder: Path, plan: Plan, minimum: Minimum | None = None, *, say: Callable[[str], None] = lambda _: None
) -> CrashReport:
    """Run the harness and return the report. The folder holds data and logs.

    Faults happen for the seconds of the plan, and until the minimum has happened. Raises AssertionError if the
    minimum has not happened `PATIENCE_SECONDS` later, or if work is left on which nothing happens for so long.
    """
    random = Random(plan.seed)
    async with (
        running_servers(folder, durable=True) as servers,
        run_partner(ActivityQuery(EVERY_TYPE, include_silent=True), random) as everything,
        run_partner(ActivityQuery((ENTERED, LEFT), include_silent=True), random) as transitions,
        run_mail_server() as mail_server,
        _open_workspace(servers.settings, [everything, transitions], mail_server) as (resources, secret, ids),
    ):
        processes = Processes(servers, resources.settings, plan)
        load = Load(processes.addresses, secret, random, meets_refusals=plan.has_store_faults)
        campaign = await open_campaign(processes, resources, folder, plan, say) if plan.has_store_faults else None
        keepers = [asyncio.create_task(processes.keep_running(child)) for child in processes.children]
        try:
            load.wait_for_room = lambda: _wait_for_room(resources.db, load)
            writers = [asyncio.create_task(load.send_batches(f"w{n}")) for n in range(3)]
            channels, programs, effects = OtherChannels(load), Programs(load, ids), Effects(load)
            mail = Mail(load, mail_server)
            writers += [
                asyncio.create_task(client)
                for client in (
                    load.remove(),
                    load.merge_passes(),
                    channels.record_singles(),
                    channels.import_files(),
                    channels.post_webhooks(),
                    programs.edit_rules(),
                    programs.change_list(),
                    effects.send_points(),
                    effects.scan(),
                    mail.write(),
                )
            ]
            if campaign:
                writers += campaign.start(load, channels)
            follower = asyncio.create_task(load.follow_feed())

            async def is_enough(faults: Counter[str]) -> bool:
                found = await _count(resources.db) if minimum else {}
                found |= {
                    "faults": faults.total(),
                    "worker_crashes": processes.crashes["worker"],
                    "acknowledged": len(load.acknowledged),
                    "partner_troubles": everything.troubles + transitions.troubles,
                }
                say(", ".join(f"{count} {name}" for name, count in found.items()))
                if minimum is None or load.errors:
                    return True
                return all(found[name] >= least for name, least in vars(minimum).items())

            faults = await _inject_faults(
                processes,
                resources,
                random,
                lambda: _wait_for_progress(resources.db, load),
                is_enough,
                plan,
            )
            if campaign:
                await campaign.end_faults()
            load.stopping = True
            if plan.has_kills:
                for child in processes.workers:
                    # From here on no worker kills itself: the clients wait for jobs, and the rest of the work is timed.
                    child.env = {**(child.env or {}), "CRASH_CHANCE": "0"}
                    await child.kill()
            await asyncio.gather(*writers)
            say("all clients have ended")
            if campaign:
                campaign.note_end_of_clients()
            without_redis = after_restart = 0.0
            await wait_until_done(resources, say)
            say("all work is done")
            problems = await campaign.find_problems(lambda: wait_until_done(resources, say)) if campaign else []
            if plan.has_kills:
                without_redis = await _time_without_redis(processes, load, resources, random)
                after_restart = await _time_after_restart(processes, load, resources)
            now = await resources.clock.now()
            await MongoClock(resources.db).set(now + timedelta(minutes=4))
            await wait_until_done(resources, say)
            followed = await follower
            problems += await find_problems(resources.db, load, ids, await resources.clock.now())
            problems += await find_problems_of_rollups(resources)
            problems += await check_active_counts(resources.db)
            problems += await effects.find_problems(resources.db)
            problems += await mail.find_problems(resources.db)
            problems += await find_lost_deliveries(resources.db)
            problems += await everything.find_problems(resources.db)
            problems += await transitions.find_problems(resources.db)
            counts = await _count(resources.db)
            return CrashReport(
                faults=faults,
                worker_crashes=processes.crashes["worker"],
                acknowledged=len(load.acknowledged),
                retries=load.retries,
                removed=counts["removed"],
                erased=counts["erased"],
                merged=counts["merged"],
                activities=await resources.db["activities"].count_documents({}),
                transitions=counts["transitions"],
                followed=followed,
                delivered=everything.delivered,
                repeated=everything.repeated + transitions.repeated,
                partner_troubles=everything.troubles + transitions.troubles,
                seconds_without_redis=without_redis,
                seconds_after_restart=after_restart,
                problems=problems,
                store_faults=campaign.faults.counts if campaign else Counter(),
                notes=campaign.notes if campaign else [],
            )
        finally:
            if campaign:
                await campaign.aclose()
            for keeper in keepers:
                keeper.cancel()
            await asyncio.gather(*keepers, return_exceptions=True)
            await asyncio.gather(*(child.kill() for child in (*processes.apis, *processes.workers)))
            await load.aclose()


RULE_SEES_EVENTS_FROM = START + timedelta(seconds=1)
"""An instant after that of the rule's version, which does not see the events of its own instant."""


@asynccontextmanager
async def _open_workspace(
    settings: Settings, partners: Sequence[Partner], mail_server: MailServer
) -> AsyncIterator[tuple[Resources, str, dict[str, str]]]:
    """Create a workspace with segments, programs and webhook endpoints; yield resources, API key, ids by key."""
    settings = dataclasses.replace(settings, database="crash", clock="manual", egress_allow=("127.0.0.1",))
    async with open_resources(settings) as resources:
        await indexes.ensure_indexes(resources.db)
        await MongoClock(resources.db).set(START)
        profile, secret = await create_workspace(resources, "Crash")
        actor = Actor(profile.id, "key_crash", "crash", scopes=frozenset(SCOPES))
        ctx = Context(resources.workspace(profile.id), actor, resources)
        ids = {}
        for key, body in SEGMENTS.items():
            segment = await create_segment(ctx, key, key, {"event": {"types": ["purchase"], **body}}, notify="EMIT")
            ids[key] = segment.id
        ids = await define_programs(ctx, ids)
        await open_effects(ctx)
        await open_mail(ctx, mail_server)
        await MongoClock(resources.db).set(RULE_SEES_EVENTS_FROM)
        for each in partners:
            await create_webhook_endpoint(ctx, each.receiver.url, filter=each.query)
        yield resources, secret, ids


async def _count(db: Database) -> dict[str, int]:
    """Return how many events are removed and passes merged, how many erasures have begun, and the number of transitions.

    Workers that crash may repeat an erasure many times until it is done.
    """
    begun = await db["passes"].count_documents({"erasing": {"$gte": 0}})
    return {
        "removed": await db["events"].count_documents({"removed": {"$gte": START}}),
        "erased": begun + await db["erasures"].count_documents({}),
        "merged": await db["passes"].count_documents({"alias": {"$gte": 0}}),
        "transitions": await db["activities"].count_documents({"segment": {"$gt": ""}}),
    }


async def _wait_for_room(db: Database, load: Load) -> None:
    """Wait while many events are pending: workers that crash all the time would never end the work of many events."""
    while not load.stopping:
        # The store may be starting.
        with contextlib.suppress(Exception):
            if await db["events"].count_documents({"pend": {"$gte": 0}}, limit=MAX_PENDING + 1) <= MAX_PENDING:
                return
        await asyncio.sleep(0.2)


async def _wait_for_progress(db: Database, load: Load) -> None:
    """Wait until an event is acknowledged and an activity is published that were not before."""
    acknowledged, published = len(load.acknowledged), list[int]()

    async def has_progressed() -> bool:
        # The store may be starting.
        with contextlib.suppress(Exception):
            published.append(await db["activities"].count_documents({}))
        # A client that met an error has ended, so that there may be no progress any more.
        return bool(load.errors) or (len(load.acknowledged) > acknowledged and published[-1:] > published[:1])

    await wait_until(has_progressed, pause_seconds=0.1)


async def _inject_faults(
    processes: Processes,
    resources: Resources,
    random: Random,
    wait_for_progress: Callable[[], Awaitable[None]],
    is_enough: Callable[[Counter[str]], Awaitable[bool]],
    plan: Plan,
) -> Counter[str]:
    """Kill and suspend processes and empty Redis while the business clock goes on; return the faults by kind.

    Wait for progress after some faults in a row. On a busy machine, the next faults would otherwise end each process
    before it has done anything.
    """
    faults: Counter[str] = Counter()
    clock, began, next_count_at, enough = MongoClock(resources.db), time.monotonic(), 0.0, False
    now, waited_at, seconds = RULE_SEES_EVENTS_FROM, 0, plan.seconds
    while time.monotonic() < began + seconds or not enough:
        if faults.total() % FAULTS_IN_A_ROW == 0 and faults.total() != waited_at:
            await wait_for_progress()
            waited_at = faults.total()
        await asyncio.sleep(random.uniform(0.05, 0.45))
        child = random.choice([*processes.children, *processes.workers, *processes.apis])
        number = random.random()
        if child not in processes.up:
            # A process that has just started gets time to do something, on a slow machine too.
            continue
        if not plan.has_kills:
            pass
        elif number < 0.6:
            child.signal(signal.SIGKILL)
            faults[f"kill {child.name}"] += 1
        elif number < 0.8 and child.pid is not None:
            child.signal(signal.SIGSTOP)
            await asyncio.sleep(random.uniform(0.05, 0.6))
            child.signal(signal.SIGCONT)
            faults[f"suspend {child.name}"] += 1
        elif number < 0.85:
            with contextlib.suppress(Exception):
                await resources.redis.flushall()
                faults["empty redis"] += 1
        now += timedelta(seconds=random.choice([0, 1, 20, 70]))
        with contextlib.suppress(Exception):
            await clock.set(now)
        if time.monotonic() > next_count_at:
            # The store may be down just now.
            with contextlib.suppress(Exception):
                enough = await is_enough(faults)
            next_count_at = time.monotonic() + 1
        assert time.monotonic() < began + seconds + PATIENCE_SECONDS, f"too little happened: {faults}"
    return faults


async def _record_until_published(load: Load, resources: Resources, name: str) -> float:
    """Record one event and return the monotonic time at which its activity is in the log."""
    event = {"passExternalId": "p0", "type": "visit", "amount": "1.00", "externalId": name}
    load.sent[name] = event
    await load.record([event])
    published = {"data.event.externalId": name}
    await wait_until(lambda: _exists(resources.db, published), pause_seconds=0.01)
    return time.monotonic()


async def _exists(db: Database, query: dict[str, str]) -> bool:
    """Return whether an activity matches the query."""
    return await db["activities"].count_documents(query) > 0


async def _time_without_redis(processes: Processes, load: Load, resources: Resources, random: Random) -> float:
    """Empty and kill Redis, then return the seconds from an event to its activity in the log."""
    with contextlib.suppress(Exception):
        await resources.redis.flushall()
    processes.servers.redis.signal(signal.SIGKILL)
    began = time.monotonic()
    return await _record_until_published(load, resources, f"without-redis-{random.random()}") - began


async def _time_after_restart(processes: Processes, load: Load, resources: Resources) -> float:
    """Stop all workers, record an event, and return the seconds from their restart to its activity in the log."""
    processes.kept_down |= set(processes.workers)
    await asyncio.gather(*(child.kill() for child in processes.workers))
    publishing = asyncio.create_task(_record_until_published(load, resources, "while-no-worker-ran"))
    await wait_until(lambda: "while-no-worker-ran" in load.acknowledged, pause_seconds=0.01)
    processes.kept_down.clear()
    began = time.monotonic()
    return await publishing - began
