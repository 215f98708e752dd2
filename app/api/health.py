"""What operators and their machines ask: is the process alive, can it be worked with, what does it count.

`/healthz` asks nobody. `/readyz` is 503 only where requests would fail: without a store that takes writes, without its
indexes, or while the process is going away. Everything else is `degraded`, and 200: without workers or Redis, events are
accepted all the same and folded later, and taking the API away would only lose them.
"""

from __future__ import annotations

import asyncio
import ipaddress
import time
from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from app.backlog import BacklogGauges
from app.bus import REDIS_ERRORS
from app.clock import SystemClock
from app.domain.errors import Unavailable
from app.resources import Resources
from app.store.operations.health import check_write_and_read, missing_indexes
from app.store.operations.heartbeats import Heartbeats
from app.telemetry import metrics

from .shutdown import Shutdown

CHECK_TIMEOUT_SECONDS = 5.0
INDEXES_TTL_SECONDS = 30.0
"""How long indexes that were all there are taken to be there still."""
READINESS_TTL_SECONDS = 0.5
"""How long an answer is given again: anybody may ask, and each asking costs the store a write."""
NEEDED = ("store", "indexes")
FORWARDED = ("forwarded", "x-forwarded-for")

Finding = dict[str, object]


class HealthChecks:
    """The probes of one process."""

    def __init__(self, resources: Resources, draining: Shutdown) -> None:
        self._resources = resources
        self._draining = draining
        self._gauges = BacklogGauges(resources)
        self._heartbeats = Heartbeats(resources.db)
        self._indexes_good_until = 0.0
        self._found: dict[str, Finding] = {}
        self._found_good_until = 0.0
        self._asking = asyncio.Lock()

    async def healthz(self, _request: Request) -> Response:
        """200 while the process serves requests."""
        return JSONResponse({"status": "ok"})

    async def readyz(self, _request: Request) -> Response:
        """`status`, and under `checks` each part: its own `status` (ok or down), `seconds`, and what is wrong."""
        found = await self._checks()
        down = [name for name, finding in found.items() if finding["status"] != "ok"]
        status = "degraded" if down else "ok"
        if any(name in NEEDED for name in down):
            status = "unavailable"
        if self._draining.begun:
            status = "stopping"
        body = {"status": status, "checks": found}
        return JSONResponse(body, 200 if status in ("ok", "degraded") else 503, {"cache-control": "no-store"})

    async def metrics(self, request: Request) -> Response:
        """The metrics, for whom the settings let see them; 404 for everybody else."""
        if not self._may_see(request):
            return JSONResponse({"status": "not found"}, 404)
        await self._gauges.refresh()
        body, content_type = metrics.exposition(request.headers.get("accept", ""))
        return Response(body, headers={"content-type": content_type, "cache-control": "no-store"})

    def _may_see(self, request: Request) -> bool:
        allowed = self._resources.settings.metrics
        if allowed != "local" or request.client is None:
            return allowed == "on"
        # A proxy on this machine calls from here for others; those say so.
        if any(name in request.headers for name in FORWARDED):
            return False
        try:
            return ipaddress.ip_address(request.client.host).is_loopback
        except ValueError:
            return False

    async def _checks(self) -> dict[str, Finding]:
        async with self._asking:
            if time.monotonic() >= self._found_good_until:
                parts = {"store": self._store, "indexes": self._indexes, "redis": self._redis, "workers": self._workers}
                self._found = dict(zip(parts, await asyncio.gather(*map(_timed, parts.values())), strict=True))
                self._found_good_until = time.monotonic() + READINESS_TTL_SECONDS
            return self._found

    async def _store(self) -> Finding:
        return _finding(await check_write_and_read(self._resources.db), "what was written could not be read")

    async def _indexes(self) -> Finding:
        if time.monotonic() < self._indexes_good_until:
            return {"status": "ok"}
        missing = await missing_indexes(self._resources.db)
        if missing:
            return {"status": "down", "missing": missing}
        self._indexes_good_until = time.monotonic() + INDEXES_TTL_SECONDS
        return {"status": "ok"}

    async def _redis(self) -> Finding:
        return _finding(bool(await self._resources.redis.ping()), "it does not answer")

    async def _workers(self) -> Finding:
        alive = await self._heartbeats.alive(await SystemClock().now())
        return {**_finding(alive > 0, "no worker gave a sign of life"), "alive": alive}


def _finding(good: bool, problem: str) -> Finding:
    return {"status": "ok"} if good else {"status": "down", "problem": problem}


async def _timed(ask: Callable[[], Awaitable[Finding]]) -> Finding:
    started = time.monotonic()
    try:
        async with asyncio.timeout(CHECK_TIMEOUT_SECONDS):
            finding = await ask()
    except (Unavailable, *REDIS_ERRORS):
        # What the driver says may hold addresses, and this is answered without a key.
        finding = _finding(False, "it does not answer")
    return {**finding, "seconds": round(time.monotonic() - started, 3)}
