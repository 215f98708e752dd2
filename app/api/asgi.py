"""The ASGI application: routes, and what is open while it runs."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TypedDict, cast

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.auth import Keyring
from app.commands.context import Context
from app.config.settings import Settings
from app.feed.tailer import Feed
from app.graphql.context import RequestContext
from app.graphql.execution.engine import Engine
from app.graphql.execution.limits import Limits
from app.graphql.execution.persisted import PersistedDocuments
from app.graphql.execution.quotas import Quota
from app.graphql.execution.trusted_documents import TrustedDocuments, load_trusted
from app.graphql.protocol.bodies import BodyLimits
from app.graphql.protocol.http import GraphQLHttp
from app.graphql.protocol.ws import GraphQLSocket
from app.graphql.schema import schema
from app.rate_limits import Budget
from app.resources import Resources, open_resources
from app.telemetry import operations

from .downloads import Downloads
from .health import HealthChecks
from .inbound import InboundHooks
from .request_log import RequestLog
from .shutdown import Shutdown

GRAPHIQL = Path(__file__).parent / "static" / "graphiql"
HEARTBEAT_INTERVAL_SECONDS = 10.0
"""How long a subscription may be quiet; the contract promises 15."""
MAX_USER_AGENT = 255
MAX_WORKSPACES = 1_000

HEADERS = {
    b"x-content-type-options": b"nosniff",
    b"x-frame-options": b"DENY",
    b"referrer-policy": b"no-referrer",
    b"cross-origin-resource-policy": b"same-origin",
}
CONTENT_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; font-src 'self' data:; "
    "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


@dataclass(frozen=True)
class Edge:
    """What the routes work with while the application runs."""

    resources: Resources
    keyring: Keyring
    feed: Feed
    http: GraphQLHttp
    socket: GraphQLSocket
    downloads: Downloads
    hooks: InboundHooks
    probes: HealthChecks


class State(TypedDict):
    """The lifespan's state, as Starlette hands it to requests."""

    edge: Edge


OpenResources = Callable[[], AbstractAsyncContextManager[Resources]]


def create_app(
    settings: Settings | None = None,
    *,
    resources: OpenResources | None = None,
    draining: Shutdown | None = None,
    heartbeat_seconds: float = HEARTBEAT_INTERVAL_SECONDS,
    init_timeout_seconds: float = 10.0,
) -> Starlette:
    """The application. Settings come from the environment unless given; tests give `resources` that are open already.

    Whoever stops it in order gives `draining`, and begins it before closing connections. Raises ConfigError where the
    trusted documents cannot be used.
    """
    chosen = settings or Settings.from_env(os.environ)
    leaving = draining or Shutdown()
    trusted = load_trusted(chosen)

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[State]:
        async with resources() if resources else open_resources(chosen) as opened:
            edge = _edge(opened, leaving, trusted, heartbeat_seconds, init_timeout_seconds)
            leaving.when_begun(edge.socket.leave)
            leaving.when_begun(edge.http.leave)
            yield {"edge": edge}
            await edge.keyring.aclose()

    middleware = [Middleware(RequestLog, leaving), Middleware(SecurityHeaders)]
    if chosen.cors_origins:
        middleware.append(
            Middleware(
                CORSMiddleware,
                allow_origins=chosen.cors_origins,
                allow_methods=["GET", "POST", "PUT", "DELETE"],
                allow_headers=["*"],
                expose_headers=["retry-after", "x-request-id"],
                max_age=600,
            )
        )
    middleware.append(Middleware(GraphQLRoute))
    return Starlette(routes=_routes(), lifespan=lifespan, middleware=middleware)


def _routes() -> list[BaseRoute]:
    return [
        Route("/graphiql", graphiql),
        Route("/graphiql/", graphiql),
        Mount("/graphiql", StaticFiles(directory=GRAPHIQL)),
        Route("/hooks/{hook}", hooks, methods=["POST"]),
        Route("/jobs/{job}/report.csv", report_csv),
        Route("/exports/{job}", exported),
        Route("/healthz", healthz),
        Route("/readyz", readyz),
        Route("/metrics", prometheus),
        Route("/", home),
    ]


def _edge(
    resources: Resources,
    draining: Shutdown,
    trusted: TrustedDocuments,
    heartbeat_seconds: float,
    init_timeout_seconds: float,
) -> Edge:
    settings = resources.settings
    places = Quota("subscriptions", settings.max_subscriptions, settings.max_subscriptions_per_key)
    budget = None
    if settings.budget_points:
        budget = Budget(resources.redis, settings.database, settings.budget_points, settings.budget_per_second)
    keyring, feed, engine = (
        Keyring(resources),
        Feed(resources.bus, timed=settings.clock == "system"),
        Engine(schema, Limits.of(settings), places, budget),
    )

    persisted = PersistedDocuments(
        resources.redis,
        settings.database,
        trusted,
        only_trusted=settings.documents == "trusted",
    )

    # Its named queries hold no state, and making them took a fifth of a small query's time.
    workspaces = lru_cache(MAX_WORKSPACES)(resources.workspace)

    async def open_context(
        headers: Mapping[str, str], address: str | None, authorization: str | None
    ) -> RequestContext:
        actor = await keyring.actor(authorization)
        operations.current().sent_by(actor.workspace_id, actor.key_id)
        user_agent = headers.get("user-agent")
        commands = Context(
            workspaces(actor.workspace_id),
            actor,
            resources,
            ip_address=address,
            user_agent=None if user_agent is None else user_agent[:MAX_USER_AGENT],
        )
        return RequestContext(commands, feed, heartbeat_seconds, lambda: keyring.actor(authorization))

    return Edge(
        resources,
        keyring,
        feed,
        GraphQLHttp(
            engine,
            open_context,
            persisted,
            BodyLimits(settings.body_bytes, settings.upload_bytes),
            max_batch=settings.max_batch,
        ),
        GraphQLSocket(
            engine,
            open_context,
            persisted,
            origins=settings.cors_origins,
            init_timeout_seconds=init_timeout_seconds,
            most=settings.max_sockets,
            most_per_key=settings.max_sockets_per_key,
        ),
        Downloads(resources, keyring),
        InboundHooks(resources, budget),
        HealthChecks(resources, draining),
    )


def _of(scope: Scope) -> Edge:
    return cast(State, scope["state"])["edge"]


async def home(_request: Request) -> Response:
    """The way to the page, for people who open the bare address."""
    return RedirectResponse("/graphiql", 307)


async def graphiql(_request: Request) -> Response:
    """The page on which people try queries; it needs no key, the queries do."""
    return FileResponse(GRAPHIQL / "index.html", headers={"content-security-policy": CONTENT_POLICY})


async def report_csv(request: Request) -> Response:
    """The report of a job's failed rows."""
    return await _of(request.scope).downloads.report(request)


async def exported(request: Request) -> Response:
    """The file that an export wrote."""
    return await _of(request.scope).downloads.export(request)


async def hooks(request: Request) -> Response:
    """Takes what a foreign system tells."""
    return await _of(request.scope).hooks(request)


async def healthz(request: Request) -> Response:
    """Whether the process is alive."""
    return await _of(request.scope).probes.healthz(request)


async def readyz(request: Request) -> Response:
    """Whether it can be worked with."""
    return await _of(request.scope).probes.readyz(request)


async def prometheus(request: Request) -> Response:
    """What it counts."""
    return await _of(request.scope).probes.metrics(request)


class SecurityHeaders:
    """Adds to every HTTP response the headers that keep browsers from guessing, framing and leaking."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes everything on, with the headers added."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *HEADERS.items()]
            await send(message)

        await self._app(scope, receive, sending)


class GraphQLRoute:
    """/graphql, over HTTP and WebSocket, before the router: that takes a twentieth of a small query's time."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes on what is for other paths."""
        if scope["type"] == "lifespan" or scope["path"] not in ("/graphql", "/graphql/"):
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await _of(scope).socket(scope, receive, send)
        else:
            await _of(scope).http(scope, receive, send)
