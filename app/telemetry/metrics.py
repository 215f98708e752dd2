"""What Prometheus reads: every metric of both kinds of process, in a registry of its own.

Labels take few values: names that callers choose are kept up to a bound, then counted as `other`. Durations are in
seconds. What tells of the whole installation (the `backlog` ones) is the same from every process: take the maximum, not
the sum.
"""

from __future__ import annotations

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, PlatformCollector, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.gc_collector import GCCollector

REGISTRY: Final = CollectorRegistry()
ProcessCollector(registry=REGISTRY)
PlatformCollector(registry=REGISTRY)
GCCollector(registry=REGISTRY)

MAX_LABEL_VALUES: Final = 200
MAX_LABEL_CHARACTERS: Final = 64
OTHER: Final = "other"
FAST_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
SLOW_BUCKETS = (0.001, 0.005, 0.02, 0.1, 0.5, 2, 10, 45)

HTTP_REQUESTS = Counter(
    "punchcard_http_requests", "HTTP requests by route and status.", ("route", "status"), registry=REGISTRY
)
OPERATIONS = Counter(
    "punchcard_operations",
    "GraphQL operations by name (none, where it has none), type and what became of them: ok, errors beside data, refused.",
    ("operation", "type", "transport", "outcome"),
    registry=REGISTRY,
)
OPERATION_SECONDS = Histogram(
    "punchcard_operation_seconds",
    "How long queries and mutations took, by name and type.",
    ("operation", "type"),
    buckets=FAST_BUCKETS,
    registry=REGISTRY,
)
COST = Counter(
    "punchcard_cost_points", "Points that operations cost, by name and type.", ("operation", "type"), registry=REGISTRY
)
ERRORS = Counter("punchcard_errors", "Top-level GraphQL errors by code.", ("code",), registry=REGISTRY)
USER_ERRORS = Counter("punchcard_user_errors", "userErrors of mutations by code.", ("code",), registry=REGISTRY)
INBOUND = Counter(
    "punchcard_inbound_messages",
    "Messages to inbound hooks by what became of them: recorded, duplicate, skipped, failed (kept), refused.",
    ("outcome",),
    registry=REGISTRY,
)
SOCKETS = Gauge("punchcard_sockets_open", "WebSockets open now.", registry=REGISTRY)
SUBSCRIPTIONS = Gauge(
    "punchcard_subscriptions_open", "Subscriptions running now, on sockets and as event streams.", registry=REGISTRY
)
STUCK = Counter(
    "punchcard_stuck_connections",
    "Connections ended because their client read nothing for half a minute, by kind: http, ws.",
    ("kind",),
    registry=REGISTRY,
)
LAGS = Counter(
    "punchcard_feed_lags",
    "Times a subscriber was so slow that it had to go on from the log, and was told.",
    registry=REGISTRY,
)
FEED_SECONDS = Histogram(
    "punchcard_feed_lag_seconds",
    "From the instant an activity was decided to the moment this API had it for its subscribers; only on the system clock.",
    buckets=(*FAST_BUCKETS, 30, 60),
    registry=REGISTRY,
)
DRAINING = Gauge(
    "punchcard_draining", "1 while this process finishes what it has and takes nothing new.", registry=REGISTRY
)

STAGE_SECONDS = Histogram(
    "punchcard_stage_seconds", "How long runs of a stage took.", ("stage",), buckets=SLOW_BUCKETS, registry=REGISTRY
)
STAGE_FAILURES = Counter(
    "punchcard_stage_failures",
    "Runs of a stage that did not end well: put off because the store was away, or failed for a reason of their own.",
    ("stage", "reason"),
    registry=REGISTRY,
)
FOLDS = Counter("punchcard_folds", "Rounds of the fold that found something pending.", registry=REGISTRY)
EVENTS_FOLDED = Counter("punchcard_events_folded", "Events counted in their pass.", registry=REGISTRY)
TRANSITIONS = Counter("punchcard_flips", "Passes that entered or left a segment.", ("direction",), registry=REGISTRY)
PUBLISHED = Counter("punchcard_activities_published", "Activities appended to the log.", registry=REGISTRY)
DELIVERIES = Counter(
    "punchcard_webhook_tries",
    "Tries of messages at webhook endpoints by what became of them: succeeded, retried (later), set_aside (later, and others"
    " go on), failed (for good).",
    ("outcome",),
    registry=REGISTRY,
)
DELIVERY_SECONDS = Histogram(
    "punchcard_webhook_try_seconds",
    "How long tries at webhook endpoints took.",
    buckets=(0.005, 0.02, 0.1, 0.5, 1, 2, 5, 10, 15),
    registry=REGISTRY,
)

BACKLOG_UP = Gauge("punchcard_backlog_up", "1 where the store answered the questions below, else 0.", registry=REGISTRY)
PENDING = Gauge("punchcard_pending_events", "Events not folded yet; counting stops at 10,000.", registry=REGISTRY)
FOLD_LAG = Gauge(
    "punchcard_fold_lag_seconds",
    "Age of the oldest event not folded yet, by the business clock; with many pending, of the oldest in a sample.",
    registry=REGISTRY,
)
DUE = Gauge(
    "punchcard_due_passes",
    "Passes whose next flip by time has come and was not judged yet; counting stops at 10,000.",
    registry=REGISTRY,
)
OUTBOXES = Gauge(
    "punchcard_unpublished_passes",
    "Passes with activities not published yet; counting stops at 10,000.",
    registry=REGISTRY,
)
PARKED = Gauge(
    "punchcard_parked_passes", "Passes set aside after five failures; counting stops at 10,000.", registry=REGISTRY
)
BACKFILLS = Gauge("punchcard_backfills", "Workspaces whose segments are being filled.", registry=REGISTRY)
JOBS = Gauge("punchcard_open_jobs", "Imports that are not finished.", registry=REGISTRY)
CIRCUITS_OPEN = Gauge(
    "punchcard_webhook_endpoints_away",
    "Webhook endpoints that fail whatever they are sent, and are probed now and then.",
    registry=REGISTRY,
)
DELIVERY_LAG = Gauge(
    "punchcard_webhook_lag_positions",
    "How many positions of the log the webhook endpoint that is furthest behind has not been told of; of a hundred at most.",
    registry=REGISTRY,
)
DEFERRED = Gauge(
    "punchcard_webhook_pending_deliveries",
    "Messages to webhook endpoints that were set aside or are replayed, and wait; counting stops at 10,000.",
    registry=REGISTRY,
)
WORKERS = Gauge("punchcard_workers", "Workers that gave a sign of life lately.", registry=REGISTRY)
REDIS_QUEUE = Gauge(
    "punchcard_queued_wake_ups",
    "Wake-ups that wait in Redis, by queue; NaN while Redis is away.",
    ("queue",),
    registry=REGISTRY,
)

_names: set[str] = set()


def bounded(name: str) -> str:
    """The name as a label: itself while fewer than 200 are known, cut to 64 characters; then `other`."""
    name = name[:MAX_LABEL_CHARACTERS]
    if name not in _names:
        if len(_names) >= MAX_LABEL_VALUES:
            return OTHER
        _names.add(name)
    return name


def exposition(accept: str) -> tuple[bytes, str]:
    """Every metric as it stands, and the content type: OpenMetrics for who accepts it, else Prometheus text."""
    encode, content_type = choose_encoder(accept)
    return encode(REGISTRY), content_type
