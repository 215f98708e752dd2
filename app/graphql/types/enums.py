"""Enums of the schema that are the domain's, or that several modules speak of; the others stand with their types."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, StrEnum

import strawberry
from strawberry.types.base import has_strawberry_definition
from strawberry.types.enum import StrawberryEnumDefinition

from app.domain.activities import CauseKind
from app.domain.errors import Code
from app.domain.events.events import Category
from app.domain.events.receipts import RecordStatus
from app.domain.files.csv_values import DateOrder
from app.domain.files.exports import ExportFormat
from app.domain.files.imports import ImportFormat
from app.domain.jobs import JobKind, JobStatus
from app.domain.segments.criteria import Metric, Never
from app.domain.state.statistics import Period
from app.domain.values.conditions import Operator


def describe_enum(enum: type[Enum], name: str, values: Mapping[str, str]) -> None:
    """Publish an enum under a name, described by its docstring, with a description for each value."""
    published = strawberry.enum(enum, name=name)
    assert has_strawberry_definition(published)
    definition = published.__strawberry_definition__
    assert isinstance(definition, StrawberryEnumDefinition)
    for value in definition.values:
        value.description = values[value.name]


EventCategory = Category
describe_enum(
    EventCategory,
    "EventCategory",
    {
        "TRANSACTION": "Money moved: purchase, refund, payment, charge, credit.",
        "ACTIVITY": "The customer did something: a visit, a check-in, a scan, a click.",
        "FIELD_CHANGE": "A field of the pass was set, incremented or decremented.",
        "CUSTOM": "A type that the workspace named itself.",
    },
)
EventStatus = RecordStatus
describe_enum(
    EventStatus,
    "RecordStatus",
    {
        "CREATED": "It was recorded now.",
        "DUPLICATE": "It had been recorded before with the same content; what was stored first is answered.",
        "CONFLICT": "Its identity is taken by other content; nothing was recorded.",
        "REJECTED": "It cannot be accepted; `userErrors` says why.",
    },
)
UserErrorCode = Code
describe_enum(
    UserErrorCode,
    "UserErrorCode",
    {
        "INVALID": "The value has the wrong form.",
        "REQUIRED": "A value is missing.",
        "TOO_LONG": "The text, the JSON or the fraction is too long.",
        "TOO_MANY": "There are too many items.",
        "OUT_OF_RANGE": "The value lies outside its bounds.",
        "UNKNOWN": "There is nothing of this name or id.",
        "TAKEN": "The name belongs to something else already.",
        "CONFLICT": "The input contradicts what is stored.",
        "EVENT_REMOVED": "The event with this identity was removed for good.",
        "CYCLE": "Segments would refer to each other in a circle.",
        "LIMIT": "A limit of the product would be exceeded.",
        "UNSUPPORTED": "This combination is not available.",
    },
)
ActivityCauseKind = CauseKind
describe_enum(
    ActivityCauseKind,
    "ActivityCauseKind",
    {
        "EVENT": "An event; `event` says which.",
        "TIME": "Time passed: a window moved on, or so many days were over.",
        "DEFINITION_CHANGED": "The segment was edited or archived; `segmentVersion` says to which version.",
        "EVENT_REMOVED": "An event was removed.",
        "BACKFILL": "The segment was new, and judged the passes that were there.",
        "PASS_CREATED": "The pass was created.",
        "PASS_MERGED": "The pass was merged into another one.",
    },
)
ComparisonOperator = Operator
describe_enum(
    ComparisonOperator,
    "ComparisonOperator",
    {
        "EQ": "Equal.",
        "NE": "Not equal, or absent.",
        "GT": "Greater.",
        "GTE": "Greater or equal.",
        "LT": "Less.",
        "LTE": "Less or equal.",
        "IN": "Equal to one of a list.",
        "NOT_IN": "Equal to none of a list, or absent.",
        "CONTAINS": "A text that contains this text.",
        "EXISTS": "There is a value.",
        "NOT_EXISTS": "There is no value.",
    },
)
EventMetric = Metric
describe_enum(
    EventMetric,
    "EventMetric",
    {
        "COUNT": "How many matching events there are.",
        "SUM": "The sum of `field` over the matching events; refunds and credits subtract from amounts.",
        "DAYS_SINCE_LAST": "Days of 24 hours since the last matching event.",
        "DAYS_SINCE_FIRST": "Days of 24 hours since the first matching event.",
    },
)
NeverHandling = Never
describe_enum(
    NeverHandling,
    "NeverHandling",
    {
        "SINCE_JOINED": "Count the days since the pass was installed, else created.",
        "MATCHES": "It matches.",
        "FAILS": "It does not match.",
    },
)
CalendarPeriod = Period
describe_enum(
    CalendarPeriod,
    "CalendarPeriod",
    {
        "DAY": "Since midnight.",
        "WEEK": "Since the first day of the week, as the workspace counts weeks.",
        "MONTH": "Since the first day of the month.",
        "QUARTER": "Since the first day of January, April, July or October.",
        "YEAR": "Since the first of January.",
    },
)


class ActivityCategory(StrEnum):
    """Who brought an activity about."""

    ACTION = "ACTION"
    EFFECT = "EFFECT"


describe_enum(
    ActivityCategory,
    "ActivityCategory",
    {
        "ACTION": "Somebody did it.",
        "EFFECT": "Punchcard derived it, such as entering a segment.",
    },
)


describe_enum(
    JobKind,
    "JobKind",
    {
        "IMPORT": "Records the rows of a file as events.",
        "EXPORT_EVENTS": "Writes the events that match a filter to a file.",
        "EXPORT_ACTIVITIES": "Writes the activities that match a filter to a file.",
        "DELETE_EVENTS": "Removes the events that match a filter.",
        "REPLAY_WEBHOOKS": "Sends messages to a webhook endpoint once more.",
    },
)
describe_enum(
    JobStatus,
    "JobStatus",
    {
        "QUEUED": "No worker has begun it yet.",
        "RUNNING": "A worker carries it on.",
        "SUCCEEDED": "It is finished; rows may have failed, see the report.",
        "FAILED": "It could not go on; `error` says why. What was done stays.",
        "CANCELLED": "It was cancelled. What was done stays.",
    },
)
describe_enum(
    DateOrder,
    "DateOrder",
    {"DMY": "The day.", "MDY": "The month."},
)
describe_enum(
    ImportFormat,
    "ImportFormat",
    {
        "CSV": "Comma-separated values (also by semicolon, tab or bar), the first row naming the columns.",
        "JSONL": "One JSON object a line, with the names of `RecordEventInput`; what `exportEvents` wrote is read as it is.",
    },
)
describe_enum(
    ExportFormat,
    "ExportFormat",
    {
        "CSV": "Comma-separated values in UTF-8 for spreadsheets, the first row naming the columns. Texts that a "
        "spreadsheet would run as a formula are marked as text.",
        "JSONL": "One JSON object a line; events can be imported again as they are.",
    },
)
