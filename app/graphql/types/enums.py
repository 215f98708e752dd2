"""Enums of the schema that belong to the domain or that several modules use. Other enums stand beside their types."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, StrEnum

import strawberry
from strawberry.types.base import has_strawberry_definition
from strawberry.types.enum import StrawberryEnumDefinition

from app.domain.activities import CauseKind
from app.domain.errors import CODE_MEANINGS, Code
from app.domain.events.events import Category
from app.domain.events.receipts import RecordStatus
from app.domain.files.columns import CellKind
from app.domain.files.csv_numbers import DecimalMark
from app.domain.files.csv_values import DateOrder
from app.domain.files.exports import ExportFormat
from app.domain.files.imports import ImportFormat
from app.domain.jobs import JobKind, JobStatus
from app.domain.passes.lists import EXCLUDE, INCLUDE
from app.domain.rules.rules import OnCorrection
from app.domain.segments.criteria import Metric, Never
from app.domain.state.statistics import Period
from app.domain.values.conditions import Operator
from app.domain.values.periods import PeriodUnit, Weekday


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
        "TRANSACTION": "Money moved, for example `purchase`, `refund`, `payment`, `charge` or `credit`.",
        "ACTIVITY": "The customer did something, for example `check_in`, `visit`, `scan` or `link_click`.",
        "FIELD_CHANGE": "A field of the pass was set, incremented or decremented. Only built-in types have this category.",
        "CUSTOM": "Any other event. Default of types that are not built in.",
    },
)
EventStatus = RecordStatus
describe_enum(
    EventStatus,
    "RecordStatus",
    {
        "CREATED": "The item was recorded by this call.",
        "DUPLICATE": "The item was recorded before with the same content. Nothing new was recorded. A client treats "
        "this as success.",
        "CONFLICT": "Another item with the same identity and different content exists. Nothing was recorded.",
        "REJECTED": "The item is not acceptable. Nothing was recorded. `userErrors` says what to change.",
    },
)
UserErrorCode = Code
describe_enum(UserErrorCode, "UserErrorCode", CODE_MEANINGS)
ActivityCauseKind = CauseKind
describe_enum(
    ActivityCauseKind,
    "ActivityCauseKind",
    {
        "EVENT": "An event counted. `ActivityCause.event` is the event.",
        "TIME": "Time passed: an event left a window, a number of days was reached, or points expired.",
        "DEFINITION_CHANGED": "The segment was changed or archived. `ActivityCause.segmentVersion` is the new version.",
        "EVENT_REMOVED": "An event was removed, or the pass was erased.",
        "BACKFILL": "The segment was new, and existing passes were evaluated for the first time.",
        "PASS_CREATED": "The pass was created.",
        "PASS_MERGED": "The pass was merged into another pass.",
        "MANUAL": "The pass was put on a list of the segment, or taken off it, with `addToSegment` or `removeFromSegment`.",
    },
)
ComparisonOperator = Operator
describe_enum(
    ComparisonOperator,
    "ComparisonOperator",
    {
        "EQ": "The value is equal. Numbers compare exactly, and with numbers only: the text `10` does not equal 10.",
        "NE": "The opposite of `EQ`: no value at the path is equal, or the value is absent.",
        "GT": "The value is greater. Numbers compare with numbers, texts with texts by code point. An absent value does "
        "not match.",
        "GTE": "The value is greater or equal. An absent value does not match.",
        "LT": "The value is less. An absent value does not match.",
        "LTE": "The value is less or equal. An absent value does not match.",
        "IN": "The value is equal to one value of a list of 1 to 100.",
        "NOT_IN": "The opposite of `IN`: no value at the path is equal to one of the list, or the value is absent.",
        "CONTAINS": "The value is a text that contains the given text. Case matters. The text has at most 1,000 bytes; "
        "a sign such as `.` counts twice.",
        "EXISTS": "The value exists and is not null. The condition takes no `value`.",
        "NOT_EXISTS": "The value is absent or null. The condition takes no `value`.",
        "WITHIN_LAST": "Only for instants of a pass: it lies in the last N days of 24 hours, with the `value` `{days: N}`.",
        "BEFORE": "Only for instants of a pass: N days of 24 hours have passed since it, with the `value` `{days: N}`. "
        "Negative days lie ahead.",
        "AFTER": "The opposite of `BEFORE`, for an instant that exists.",
    },
)
EventMetric = Metric
describe_enum(
    EventMetric,
    "EventMetric",
    {
        "COUNT": "Number of matching events.",
        "SUM": "Sum of `field` over the matching events. In a sum of amounts, refunds and credits subtract.",
        "AVG": "Average of `field` over the matching events that have a value, as recorded.",
        "MIN": "Smallest `field` of the matching events that have a value, as recorded.",
        "MAX": "Greatest `field` of the matching events that have a value, as recorded.",
        "COUNT_DISTINCT": "Number of different values of `field`, up to 100. More count as 101.",
        "DAYS_SINCE_LAST": "Time since the last matching event, in days of 24 hours. Takes no `within`.",
        "DAYS_SINCE_FIRST": "Time since the first matching event, in days of 24 hours. Takes no `within`.",
    },
)
NeverHandling = Never
describe_enum(
    NeverHandling,
    "NeverHandling",
    {
        "SINCE_JOINED": "The days count from `installedAt` of the pass, or from `createdAt` if it has none.",
        "MATCHES": "A pass without a matching event satisfies the criterion.",
        "FAILS": "A pass without a matching event does not satisfy the criterion.",
    },
)
describe_enum(
    PeriodUnit,
    "PeriodUnit",
    {
        "DAY": "A day, from midnight.",
        "WEEK": "A week, from midnight of the weekday on which weeks of the workspace begin.",
        "MONTH": "A month, from its first day.",
        "QUARTER": "A quarter, from the first day of January, April, July or October.",
        "YEAR": "A year, from January 1.",
    },
)
describe_enum(Weekday, "Weekday", {day: f"{day.title()}, from midnight to midnight." for day in Weekday})
describe_enum(
    OnCorrection,
    "CorrectionHandling",
    {
        "REVERSE": "A correction or removal of the cause takes back what no longer holds.",
        "KEEP": "A correction or removal of the cause leaves everything as it is.",
    },
)
CalendarPeriod = Period
describe_enum(
    CalendarPeriod,
    "CalendarPeriod",
    {
        "DAY": "The current day, from midnight.",
        "WEEK": "The current week, from midnight of the first day of the week of the workspace.",
        "MONTH": "The current month, from its first day.",
        "QUARTER": "The current quarter, from the first day of January, April, July or October.",
        "YEAR": "The current year, from January 1.",
    },
)


class ActivityCategory(StrEnum):
    """Whether an activity happened outside of Punchcard or was derived by Punchcard."""

    ACTION = "ACTION"
    EFFECT = "EFFECT"


class SegmentList(StrEnum):
    """List of a segment."""

    INCLUDE = INCLUDE
    EXCLUDE = EXCLUDE


describe_enum(
    ActivityCategory,
    "ActivityCategory",
    {
        "ACTION": "Something that a customer or a client did, for example a purchase or a change of the pass.",
        "EFFECT": "Something that Punchcard derived or did: a segment was entered, points expired, a message was sent.",
    },
)


describe_enum(
    JobKind,
    "JobKind",
    {
        "IMPORT": "Records the rows of a file as events. Started by `importEvents`.",
        "EXPORT_EVENTS": "Writes the events that match a filter to a file. Started by `exportEvents`.",
        "EXPORT_ACTIVITIES": "Writes the activities that match a filter to a file. Started by `exportActivities`.",
        "DELETE_EVENTS": "Removes the events that match a filter. Started by `deleteEvents`.",
        "REPLAY_WEBHOOKS": "Sends messages to a webhook endpoint again. Started by `replayWebhookDeliveries`.",
        "IMPORT_SEGMENT_MEMBERS": "Puts the passes of a file on a list of a segment. Started by `importSegmentMembers`.",
        "INCLUDE_MEMBERS": "Asks a new rule about the members of its segment. Started by `createRule`.",
        "MEASURE_CONVERSION": "Compares who converted after a rule fired. Started by `measureRuleConversion`.",
        "SIMULATE_RULE": "Computes what a rule would have done, and changes nothing. Started by `simulateRule`.",
        "BROADCAST": "Queues a message to each member of a segment. Started by `broadcastMessage`.",
        "PREVIEW_SEGMENT": "Computes who would be in a segment, and changes nothing. Started by `previewSegment`.",
        "VERIFY_PROJECTION": "Compares what is stored with the events. Started by `verifyProjection`.",
        "PREPARE_DIMENSIONS": "Lets rollups be computed again that have no totals by a new dimension. Started by "
        "`defineEventType` and `updateEventType`.",
    },
)
describe_enum(
    JobStatus,
    "JobStatus",
    {
        "QUEUED": "No worker has started the job yet.",
        "RUNNING": "A worker is working on the job.",
        "SUCCEEDED": "The job is finished. Single rows may have failed; `progress.failed` counts them.",
        "FAILED": "The job could not be finished. `error` says why. What was done before stays.",
        "CANCELLED": "The job was cancelled. What was done before stays.",
    },
)
describe_enum(
    DateOrder,
    "DateOrder",
    {"DMY": "The day comes first: 03/04/2026 is 3 April.", "MDY": "The month comes first: 03/04/2026 is 4 March."},
)
describe_enum(
    DecimalMark,
    "DecimalMark",
    {
        "POINT": "Decimal places follow a point: 1,234 is one thousand two hundred thirty-four.",
        "COMMA": "Decimal places follow a comma: 1,234 is a little more than one.",
    },
)
describe_enum(
    CellKind,
    "CellKind",
    {
        "TEXT": "Texts as they are written: 1.10 stays `1.10`.",
        "NUMBER": "Numbers: 1.10 becomes 1.1. A row with a cell that is no number fails.",
    },
)
describe_enum(
    ImportFormat,
    "ImportFormat",
    {
        "CSV": "Values separated by comma, semicolon, tab or vertical bar. The first row names the columns. Files of "
        "`exportEvents` can be imported unchanged.",
        "JSONL": "One JSON object a line, with the names of `RecordEventInput`. Files of `exportEvents` can be "
        "imported unchanged.",
    },
)
describe_enum(
    ExportFormat,
    "ExportFormat",
    {
        "CSV": "Comma-separated values in UTF-8 for spreadsheets. The first row names the columns. A text that a "
        "spreadsheet would run as a formula is marked as text.",
        "JSONL": "One JSON object a line. Exported events can be imported again unchanged.",
    },
)
describe_enum(
    SegmentList,
    "SegmentList",
    {
        "INCLUDE": "The passes on it belong to the segment, whatever its criteria say.",
        "EXCLUDE": "The passes on it do not belong to the segment, whatever its criteria say.",
    },
)
