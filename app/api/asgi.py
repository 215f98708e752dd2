"""The ASGI application of the API: its routes, its middleware and the resources that it opens."""

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
from app.document_cache import DocumentCache
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
from app.resources import SELECTION_SECONDS, Resources, open_resources
from app.store.mongo.usage import StoreShares
from app.telemetry import operations

from .client_address import client_address
from .downloads import Downloads
from .health import HealthChecks
from .inbound import InboundHooks
from .request_log import RequestLog
from .shutdown import Shutdown
from .unsubscribe import UnsubscribeLinks

GRAPHIQL = Path(__file__).parent / "static" / "graphiql"
HEARTBEAT_INTERVAL_SECONDS = 10.0
"""Longest time without a message on a subscription: docs/howto/follow-the-feed.md promises one every 15 seconds."""
MAX_USER_AGENT_CHARACTERS = 255
MAX_CACHED_WORKSPACES = 1_000

SECURITY_HEADERS = {
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
    """Objects that the routes use while the application runs."""

    resources: Resources
    keyring: Keyring
    feed: Feed
    http: GraphQLHttp
    socket: GraphQLSocket
    downloads: Downloads
    hooks: InboundHooks
    links: UnsubscribeLinks
    health: HealthChecks


class State(TypedDict):
    """State of the application's lifespan, which Starlette puts into the scope of every request."""

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
    """Create the application; without `settings`, read them from the environment.

    Tests pass `resources` that are already open. The server passes `draining` and begins it before it closes
    connections.
    Raises ConfigError if the file of trusted documents cannot be used.
    """
    chosen = settings or Settings.from_env(os.environ)
    shutdown = draining or Shutdown()
    trusted = load_trusted(chosen)
    # A client gets UNAVAILABLE from an operation that finds no primary, before the operation's own time is over.
    selection_seconds = min(SELECTION_SECONDS, max(0.5, chosen.operation_seconds - 1.0))

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[State]:
        async with resources() if resources else open_resources(chosen, selection_seconds=selection_seconds) as opened:
            edge = _open_edge(opened, shutdown, trusted, heartbeat_seconds, init_timeout_seconds)
            shutdown.when_begun(edge.socket.shut_down)
            shutdown.when_begun(edge.http.shut_down)
            yield {"edge": edge}
            await edge.keyring.aclose()

    middleware = [Middleware(RequestLog, shutdown), Middleware(SecurityHeaders)]
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
    app = Starlette(routes=_routes(), lifespan=lifespan, middleware=middleware)
    # A redirect to the path without its slash would name the host of the request, which the client chooses.
    app.router.redirect_slashes = False
    return app


def _routes() -> list[BaseRoute]:
    return [
        Route("/graphiql", serve_graphiql),
        Route("/graphiql/", serve_graphiql),
        Mount("/graphiql", StaticFiles(directory=GRAPHIQL)),
        Route("/hooks/{hook}", receive_hook, methods=["POST"]),
        Route("/unsubscribe/{token}", take_consent_back, methods=["GET", "POST"]),
        Route("/jobs/{job}/report.csv", download_report),
        Route("/exports/{job}", download_export),
        Route("/healthz", check_health),
        Route("/readyz", check_readiness),
        Route("/metrics", export_metrics),
        Route("/", redirect_to_graphiql),
    ]


def _open_edge(
    resources: Resources,
    draining: Shutdown,
    trusted: TrustedDocuments,
    heartbeat_seconds: float,
    init_timeout_seconds: float,
) -> Edge:
    settings = resources.settings
    subscriptions = Quota("subscriptions", settings.max_subscriptions, settings.max_subscriptions_per_key)
    budget = None
    if settings.budget_points:
        budget = Budget(
            resources.redis,
            settings.database,
            points=settings.budget_points,
            per_second=settings.budget_per_second,
        )
    keyring = Keyring(resources)
    feed = Feed(resources.bus, measures_lag=settings.clock == "system")
    shares = StoreShares(resources.capacity)
    limits = Limits.from_settings(settings)
    engine = Engine(schema, limits=limits, subscriptions=subscriptions, budget=budget, shares=shares)
    persisted = PersistedDocuments(
        DocumentCache(resources.redis, settings.database),
        trusted,
        only_trusted=settings.documents == "trusted",
    )

    # Named queries hold no state. Creating them for each request took a fifth of the time of a small query.
    workspace_of = lru_cache(MAX_CACHED_WORKSPACES)(resources.workspace)

    async def open_context(
        headers: Mapping[str, str], address: str | None, authorization: str | None
    ) -> RequestContext:
        actor = await keyring.caller(authorization)
        operations.current().note_caller(actor.workspace_id, actor.key_id)
        user_agent = headers.get("user-agent")
        commands = Context(
            workspace_of(actor.workspace_id),
            actor,
            resources,
            ip_address=client_address(address),
            user_agent=None if user_agent is None else user_agent[:MAX_USER_AGENT_CHARACTERS],
        )
        return RequestContext(commands, feed, heartbeat_seconds, authenticate=lambda: keyring.caller(authorization))

    return Edge(
        resources=resources,
        keyring=keyring,
        feed=feed,
        http=GraphQLHttp(
            engine,
            open_context,
            persisted,
            limits=BodyLimits(settings.body_bytes, settings.upload_bytes),
            max_batch=settings.max_batch,
        ),
        socket=GraphQLSocket(
            engine,
            open_context,
            persisted,
            origins=settings.cors_origins,
            init_timeout_seconds=init_timeout_seconds,
            limit=settings.max_sockets,
            limit_per_key=settings.max_sockets_per_key,
        ),
        downloads=Downloads(resources, keyring, shares),
        hooks=InboundHooks(resources, budget, shares),
        links=UnsubscribeLinks(resources),
        health=HealthChecks(resources, draining),
    )


def _edge_of(scope: Scope) -> Edge:
    return cast(State, scope["state"])["edge"]


async def redirect_to_graphiql(_request: Request) -> Response:
    """Redirect people who open the bare address to GraphiQL."""
    return RedirectResponse("/graphiql", 307)


async def serve_graphiql(_request: Request) -> Response:
    """Return the GraphiQL page, on which people try queries. The page needs no API key; its queries need one."""
    return FileResponse(GRAPHIQL / "index.html", headers={"content-security-policy": CONTENT_POLICY})


async def download_report(request: Request) -> Response:
    """Return the report of the rows of a job that failed."""
    return await _edge_of(request.scope).downloads.report(request)


async def download_export(request: Request) -> Response:
    """Return the file that an export wrote."""
    return await _edge_of(request.scope).downloads.export(request)


async def receive_hook(request: Request) -> Response:
    """Receive a message that another system sends to an inbound hook."""
    return await _edge_of(request.scope).hooks(request)


async def take_consent_back(request: Request) -> Response:
    """Let a customer take a consent back by the link in a message."""
    return await _edge_of(request.scope).links(request)


async def check_health(request: Request) -> Response:
    """Report that the process is alive."""
    return await _edge_of(request.scope).health.healthz(request)


async def check_readiness(request: Request) -> Response:
    """Report whether the process can serve requests, and the state of each part that it needs."""
    return await _edge_of(request.scope).health.readyz(request)


async def export_metrics(request: Request) -> Response:
    """Return the metrics in Prometheus's format."""
    return await _edge_of(request.scope).health.metrics(request)


class SecurityHeaders:
    """Middleware that adds security headers to every HTTP response.

    With them browsers do not guess media types, show pages in frames, send referrers or share responses across origins.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Call the application and add the headers to the start of its response."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *SECURITY_HEADERS.items()]
            await send(message)

        await self._app(scope, receive, send_with_headers)


class GraphQLRoute:
    """Middleware that serves /graphql over HTTP and WebSocket, and passes other paths on.

    It stands before Starlette's router, which takes a twentieth of the time of a small query.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve /graphql, and pass other paths on."""
        if scope["type"] == "lifespan" or scope["path"] not in ("/graphql", "/graphql/"):
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await _edge_of(scope).socket(scope, receive, send)
        else:
            await _edge_of(scope).http(scope, receive, send)
