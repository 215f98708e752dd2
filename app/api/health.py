"""Health checks of the API: `/healthz` (the process is alive), `/readyz` (it can serve requests), `/metrics`.

`/healthz` calls no other service. `/readyz` returns 503 only if requests would fail:

- the store has accepted no write for 20 seconds, longer than an election takes,
- an index is missing,
- a newer version of Punchcard excludes this one from writing,
- or the process is shutting down.

Without Redis or workers the status is `degraded`, with code 200: the API still accepts events, and workers fold them
later.
"""

from __future__ import annotations

import asyncio
import ipaddress
import time
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from app.backlog import BacklogGauges
from app.bus import REDIS_ERRORS
from app.clock import SystemClock
from app.domain.errors import StoreRefused, Unavailable
from app.resources import Resources
from app.store.mongo.driver import limit_calls
from app.store.operations.health import check_write_and_read, missing_indexes
from app.store.operations.heartbeats import Heartbeats
from app.store.operations.schema_version import SchemaTooNew, require_writable
from app.telemetry import metrics

from .shutdown import Shutdown

CHECK_TIMEOUT_SECONDS = 5.0
INDEXES_TTL_SECONDS = 30.0
"""How long a successful check of the indexes stays valid."""
READINESS_TTL_SECONDS = 0.5
"""How long `/readyz` repeats its last answer. The route needs no key, and each check costs the store a write."""
REQUIRED_CHECKS = ("store", "indexes", "schema")
PROXY_HEADERS = frozenset(
    {"cdn-loop", "client-ip", "forwarded", "true-client-ip", "via", "x-amzn-trace-id", "x-client-ip"}
    | {"x-cluster-client-ip", "x-forwarded", "x-original-forwarded-for", "x-original-host", "x-real-ip"}
)
"""Headers that a proxy adds and a program that reads metrics does not send."""
PROXY_HEADER_PREFIXES = ("x-forwarded-", "x-envoy-", "cf-", "fastly-", "fly-")
OUTAGE_PATIENCE_SECONDS = 20.0
"""How long after its last write the store may give no answer. An election would make all instances unready at once."""

NO_ANSWER = "no answer"

Finding = dict[str, object]


class HealthChecks:
    """The health checks of one API process."""

    def __init__(
        self, resources: Resources, draining: Shutdown, now_seconds: Callable[[], float] = time.monotonic
    ) -> None:
        self._resources = resources
        self._now_seconds = now_seconds
        self._written_at: float | None = None
        """When the store accepted the last write of a check; None if it never did."""
        self._draining = draining
        self._gauges = BacklogGauges(resources)
        self._heartbeats = Heartbeats(resources.essential_db)
        self._indexes_valid_until = 0.0
        self._findings: dict[str, Finding] = {}
        self._findings_valid_until = 0.0
        self._lock = asyncio.Lock()

    async def healthz(self, _request: Request) -> Response:
        """Return 200 while the process serves requests."""
        return JSONResponse({"status": "ok"})

    async def readyz(self, _request: Request) -> Response:
        """Return the overall `status` and the `checks`.

        `status` is "ok", "degraded", "unavailable" or "stopping". Each check has its own `status` ("ok" or "down"), its
        duration in `seconds`, and details. While the store gives no answer, the status is "degraded" for 20 s.
        """
        findings = await self._check_all()
        down = [name for name, finding in findings.items() if finding["status"] != "ok"]
        status = "degraded" if down else "ok"
        if any(name in REQUIRED_CHECKS and not self._is_short_outage(findings[name]) for name in down):
            status = "unavailable"
        if self._draining.begun:
            status = "stopping"
        body = {"status": status, "checks": findings}
        return JSONResponse(body, 200 if status in ("ok", "degraded") else 503, {"cache-control": "no-store"})

    async def metrics(self, request: Request) -> Response:
        """Return the metrics, or 404 if the settings do not let this caller see them."""
        if not self._can_see_metrics(request):
            return JSONResponse({"status": "not found"}, 404)
        await self._gauges.refresh()
        body, content_type = metrics.render_metrics(request.headers.get("accept", ""))
        return Response(body, headers={"content-type": content_type, "cache-control": "no-store"})

    def _can_see_metrics(self, request: Request) -> bool:
        allowed = self._resources.settings.metrics
        if allowed != "local" or request.client is None:
            return allowed == "on"
        # A proxy on this host calls from a loopback address for remote clients. Most proxies add one of these headers, and
        # most pass on the host that the client named.
        if any(name in PROXY_HEADERS or name.startswith(PROXY_HEADER_PREFIXES) for name in request.headers):
            return False
        return _is_loopback(request.client.host) and _names_loopback(request.headers.get("host", ""))

    async def _check_all(self) -> dict[str, Finding]:
        async with self._lock:
            if self._now_seconds() >= self._findings_valid_until:
                checks = {
                    "store": self._check_store,
                    "indexes": self._check_indexes,
                    "schema": self._check_schema,
                    "redis": self._check_redis,
                    "workers": self._check_workers,
                }
                self._findings = dict(zip(checks, await asyncio.gather(*map(_run_timed, checks.values())), strict=True))
                self._findings_valid_until = self._now_seconds() + READINESS_TTL_SECONDS
            return self._findings

    def _is_short_outage(self, finding: Finding) -> bool:
        """Return whether the store gave no answer to a check, and accepted a write a short time ago."""
        if finding.get("problem") != NO_ANSWER or self._written_at is None:
            return False
        return self._now_seconds() < self._written_at + OUTAGE_PATIENCE_SECONDS

    async def _check_store(self) -> Finding:
        is_ok = await check_write_and_read(self._resources.essential_db)
        if is_ok:
            self._written_at = self._now_seconds()
        return _finding(is_ok, "the store did not return what was written")

    async def _check_indexes(self) -> Finding:
        if self._now_seconds() < self._indexes_valid_until:
            return {"status": "ok"}
        missing = await missing_indexes(self._resources.essential_db)
        if missing:
            return {"status": "down", "missing": missing}
        self._indexes_valid_until = self._now_seconds() + INDEXES_TTL_SECONDS
        return {"status": "ok"}

    async def _check_schema(self) -> Finding:
        try:
            await require_writable(self._resources.essential_db)
        except SchemaTooNew:
            return _finding(False, "the database needs a newer version of Punchcard")
        return {"status": "ok"}

    async def _check_redis(self) -> Finding:
        return _finding(bool(await self._resources.redis.ping()), "no answer")

    async def _check_workers(self) -> Finding:
        alive = await self._heartbeats.count_alive(await SystemClock().now())
        return {**_finding(alive > 0, "no worker has reported itself; start `punchcard worker`"), "alive": alive}


def _names_loopback(host: str) -> bool:
    """Return whether a Host header names this machine by a loopback address or as `localhost`."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    return name == "localhost" or _is_loopback(name)


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def _finding(is_ok: bool, problem: str) -> Finding:
    return {"status": "ok"} if is_ok else {"status": "down", "problem": problem}


async def _run_timed(check: Callable[[], Awaitable[Finding]]) -> Finding:
    started = time.monotonic()
    try:
        # With its own limit, the driver keeps no thread busy after the check.
        async with asyncio.timeout(CHECK_TIMEOUT_SECONDS):
            with limit_calls(CHECK_TIMEOUT_SECONDS):
                finding = await check()
    except (Unavailable, *REDIS_ERRORS):
        # The message of the driver may contain addresses, and this route needs no key.
        finding = _finding(False, NO_ANSWER)
    except StoreRefused:
        finding = _finding(False, "the store refuses a command; see the log")
    return {**finding, "seconds": round(time.monotonic() - started, 3)}
