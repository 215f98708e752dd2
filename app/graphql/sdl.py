"""The schema as text, with what graphql-eslint is told about it."""

from __future__ import annotations

from graphql import GraphQLSchema, print_schema

VALUES = frozenset(
    """
    ActivityCause AggregateGroup AggregateGroups CursorExpired EventAttribute EventCriteria EventOrigin
    FixedWindowCriteria Freshness Heartbeat InboundProblem InboundTrial InboundVerification IngestReceipt JobProgress
    Lagged MetadataCriteria PassCriteria PassErasure PassHolder PassStatistics PointsExpiring RateLimit
    RollingWindowCriteria SegmentBackfill SegmentCriteria Spend TypeStatistics Viewer
    WebhookAttempt WebhookFilter
    """.split()
)
"""Types without an id, because there is nothing to identify: a part of an object, a figure, a message of a stream."""

NAMED_BY_CONTRACT = frozenset({"TypeStatistics"})
"""Types whose names clients were promised, although the rule of naming would have others."""


def print_sdl_of(schema: GraphQLSchema) -> str:
    """The schema in the schema definition language, ending with a newline; comments excuse the types named above."""
    lines = []
    for line in print_schema(schema).splitlines():
        keyword, _, rest = line.partition(" ")
        if keyword == "type" and (excuses := _excuses(rest.partition(" ")[0])):
            lines.append(f"# eslint-disable-next-line {excuses}")
        lines.append(line.rstrip())
    return "\n".join([*lines, ""])


def _excuses(name: str) -> str:
    rules = []
    reasons = []
    if name in VALUES:
        rules.append("@graphql-eslint/strict-id-in-types")
        reasons.append("a value: there is nothing to identify")
    if name in NAMED_BY_CONTRACT:
        rules.append("@graphql-eslint/naming-convention")
        reasons.append("its name is part of the contract")
    return f"{', '.join(rules)} -- {'; '.join(reasons)}" if rules else ""
