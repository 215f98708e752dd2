"""The metrics of API processes and workers, in a Prometheus registry of their own.

Labels have few values: `limit_label` counts names that clients choose as `other` beyond a limit. Durations are in
seconds. The metrics from BACKLOG_UP on describe the whole installation and have the same value in every process.
Aggregate them with max, not with sum.
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
    "punchcard_http_requests", "HTTP requests, by route and status.", ("route", "status"), registry=REGISTRY
)
OPERATIONS = Counter(
    "punchcard_operations",
    "GraphQL operations, by name (`none` if it has none), type, transport and outcome: ok, errors (beside data), refused"
    " (no data).",
    ("operation", "type", "transport", "outcome"),
    registry=REGISTRY,
)
OPERATION_SECONDS = Histogram(
    "punchcard_operation_seconds",
    "Duration of queries and mutations, by name and type.",
    ("operation", "type"),
    buckets=FAST_BUCKETS,
    registry=REGISTRY,
)
COST = Counter(
    "punchcard_cost_points", "Points that operations cost, by name and type.", ("operation", "type"), registry=REGISTRY
)
ERRORS = Counter("punchcard_errors", "Top-level GraphQL errors, by code.", ("code",), registry=REGISTRY)
USER_ERRORS = Counter(
    "punchcard_user_errors", "Entries in userErrors of mutations, by code.", ("code",), registry=REGISTRY
)
INBOUND = Counter(
    "punchcard_inbound_messages",
    "Messages to inbound hooks, by outcome: recorded, duplicate, skipped, failed (kept for a rerun), refused.",
    ("outcome",),
    registry=REGISTRY,
)
SOCKETS = Gauge("punchcard_sockets_open", "Open WebSockets.", registry=REGISTRY)
SUBSCRIPTIONS = Gauge(
    "punchcard_subscriptions_open", "Running subscriptions, on WebSockets and as HTTP streams.", registry=REGISTRY
)
STUCK = Counter(
    "punchcard_stuck_connections",
    "Connections closed because their client read nothing for 30 seconds, by kind: http, ws.",
    ("kind",),
    registry=REGISTRY,
)
LAGS = Counter(
    "punchcard_feed_lags",
    "Times that a slow subscriber fell out of the buffer, got a Lagged message and continued from the log.",
    registry=REGISTRY,
)
FEED_SECONDS = Histogram(
    "punchcard_feed_lag_seconds",
    "Time from the recording of an activity until this API process read it for its subscribers. Measured only if"
    " PUNCHCARD_CLOCK=system.",
    buckets=(*FAST_BUCKETS, 30, 60),
    registry=REGISTRY,
)
DRAINING = Gauge(
    "punchcard_draining",
    "1 while this process finishes its requests and accepts no new connections, else 0.",
    registry=REGISTRY,
)

STAGE_SECONDS = Histogram(
    "punchcard_stage_seconds", "Duration of the runs of a stage.", ("stage",), buckets=SLOW_BUCKETS, registry=REGISTRY
)
STAGE_FAILURES = Counter(
    "punchcard_stage_failures",
    "Runs of a stage that failed, by reason: unavailable (the store did not answer, a later sweep runs the stage), refused"
    " (the store refused a command), timeout (the run took too long, the next sweep continues it), error.",
    ("stage", "reason"),
    registry=REGISTRY,
)
FOLDS = Counter("punchcard_folds", "Rounds of the fold that found pending events.", registry=REGISTRY)
EVENTS_FOLDED = Counter("punchcard_events_folded", "Events that the fold applied to their pass.", registry=REGISTRY)
TRANSITIONS = Counter(
    "punchcard_flips",
    "Transitions of passes into (in) or out of (out) a segment, by direction.",
    ("direction",),
    registry=REGISTRY,
)
SEALED = Counter(
    "punchcard_rollups_sealed",
    "Rollups that became valid, by level: hour, day or month.",
    ("level",),
    registry=REGISTRY,
)
PUBLISHED = Counter("punchcard_activities_published", "Activities appended to the activity log.", registry=REGISTRY)
MESSAGES = Counter(
    "punchcard_messages",
    "Messages to customers, by what became of them at a look: sent, failed, suppressed, or queued for another attempt.",
    ("outcome",),
    registry=REGISTRY,
)
DELIVERIES = Counter(
    "punchcard_webhook_tries",
    "Attempts at webhook endpoints, by outcome: succeeded, retried (another attempt follows), set_aside (the message is"
    " deferred and its partition continues), failed (no further attempt).",
    ("outcome",),
    registry=REGISTRY,
)
DELIVERY_SECONDS = Histogram(
    "punchcard_webhook_try_seconds",
    "Duration of attempts at webhook endpoints.",
    buckets=(0.005, 0.02, 0.1, 0.5, 1, 2, 5, 10, 15),
    registry=REGISTRY,
)

REACTIONS = Counter(
    "punchcard_reactions",
    "Attempts at effects outside passes, by outcome: made, retried (another attempt follows), parked (its partition"
    " continues, another attempt follows), refused and failed (no further attempt).",
    ("outcome",),
    registry=REGISTRY,
)

BACKLOG_UP = Gauge(
    "punchcard_backlog_up", "1 if the store answered the queries for the backlog, else 0.", registry=REGISTRY
)
PENDING = Gauge(
    "punchcard_pending_events", "Events that are not folded yet. Counting stops at about 10,000.", registry=REGISTRY
)
FOLD_LAG = Gauge(
    "punchcard_fold_lag_seconds",
    "Age of the oldest event that is not folded yet, by the business clock. From about 10,000 pending events on, the"
    " oldest of a sample.",
    registry=REGISTRY,
)
DUE = Gauge(
    "punchcard_due_passes",
    "Passes with a due transition or end of points by time alone that is not applied yet. Counting stops at 10,000.",
    registry=REGISTRY,
)
OUTBOXES = Gauge(
    "punchcard_unpublished_passes",
    "Passes with activities that are not published yet. Counting stops at 10,000.",
    registry=REGISTRY,
)
PARKED = Gauge(
    "punchcard_parked_passes",
    "Passes that are parked after five failures. Counting stops at 10,000.",
    registry=REGISTRY,
)
BACKFILLS = Gauge(
    "punchcard_backfills",
    "Workspaces whose passes are being evaluated under new segment definitions.",
    registry=REGISTRY,
)
JOBS = Gauge(
    "punchcard_open_jobs",
    "Jobs that are not finished, such as imports and exports. Counting stops at 10,000.",
    registry=REGISTRY,
)
CIRCUITS_OPEN = Gauge(
    "punchcard_webhook_endpoints_away",
    "Webhook endpoints whose circuit is open: after repeated failures they get only single probes.",
    registry=REGISTRY,
)
DELIVERY_LAG = Gauge(
    "punchcard_webhook_lag_positions",
    "Positions of the activity log that the webhook endpoint furthest behind has not received. It is the furthest of up"
    " to 100 endpoints with work.",
    registry=REGISTRY,
)
DEFERRED = Gauge(
    "punchcard_webhook_pending_deliveries",
    "Messages to webhook endpoints that are deferred, or queued by a replay. Counting stops at 10,000.",
    registry=REGISTRY,
)
REACT_LAG = Gauge(
    "punchcard_react_lag_positions",
    "Positions of the activity log that react has not read, in the workspace where it is furthest behind among up to 100"
    " with work.",
    registry=REGISTRY,
)
PARKED_REACTIONS = Gauge(
    "punchcard_parked_reactions",
    "Effects outside passes that were refused, or failed several times. Counting stops at 10,000.",
    registry=REGISTRY,
)
WORKERS = Gauge("punchcard_workers", "Workers with a valid heartbeat.", registry=REGISTRY)
REDIS_QUEUE = Gauge(
    "punchcard_queued_wake_ups",
    "Wake-ups that wait in Redis, by queue. NaN while Redis does not answer.",
    ("queue",),
    registry=REGISTRY,
)

_label_values: set[str] = set()


def limit_label(name: str) -> str:
    """Return a name that a client chose as a label value, cut to 64 characters; after 200 names, return `other`."""
    name = name[:MAX_LABEL_CHARACTERS]
    if name not in _label_values:
        if len(_label_values) >= MAX_LABEL_VALUES:
            return OTHER
        _label_values.add(name)
    return name


def render_metrics(accept: str) -> tuple[bytes, str]:
    """Return all metrics and their content type: OpenMetrics if `accept` allows it, else Prometheus's text format."""
    encode, content_type = choose_encoder(accept)
    return encode(REGISTRY), content_type
