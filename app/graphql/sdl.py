"""Printing of the schema as text, with comments that turn off rules of graphql-eslint for single types."""

from __future__ import annotations

from graphql import GraphQLSchema, print_schema

TYPES_WITHOUT_ID = frozenset(
    """
    ActivityCause AggregateGroup AggregateGroups CursorExpired EventAttribute EventCriteria EventOrigin
    FixedWindowCriteria Freshness Heartbeat InboundProblem InboundTrial InboundVerification IngestReceipt JobProgress
    Lagged MetadataCriteria PassCriteria PassErasure PassHolder PassStatistics PointsExpiring RateLimit
    RollingWindowCriteria SegmentBackfill SegmentCriteria Spend TypeStatistics Viewer
    WebhookAttempt WebhookFilter
    """.split()
)
"""Types without an id: parts of objects, figures and messages of streams, which no client fetches by themselves."""

NAMED_BY_CONTRACT = frozenset({"TypeStatistics"})
"""Types whose names break the naming rule of graphql-eslint. Clients use the names, so they cannot change."""


def print_sdl_of(schema: GraphQLSchema) -> str:
    """Return the schema in the schema definition language, ending with a newline."""
    lines = []
    for line in print_schema(schema).splitlines():
        keyword, _, rest = line.partition(" ")
        if keyword == "type" and (rules := _render_disabled_rules(rest.partition(" ")[0])):
            lines.append(f"# eslint-disable-next-line {rules}")
        lines.append(line.rstrip())
    return "\n".join([*lines, ""])


def _render_disabled_rules(name: str) -> str:
    rules = []
    reasons = []
    if name in TYPES_WITHOUT_ID:
        rules.append("@graphql-eslint/strict-id-in-types")
        reasons.append("a value: there is nothing to identify")
    if name in NAMED_BY_CONTRACT:
        rules.append("@graphql-eslint/naming-convention")
        reasons.append("its name is part of the contract")
    return f"{', '.join(rules)} -- {'; '.join(reasons)}" if rules else ""
