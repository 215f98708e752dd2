"""Jobs and their orders as documents, and back; `order_from(kind, order_doc(x)) == x`.

A new kind of job has an order of its own: a class in `Order`, a case in `order_doc`, and one in `order_from`.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass
from datetime import timedelta

from app.domain.activities import ActivityQuery
from app.domain.events.events import EventQuery
from app.domain.files.columns import ColumnMapping
from app.domain.files.csv_table import Layout
from app.domain.files.csv_values import DateOrder
from app.domain.files.exports import FILE_TTL_SECONDS, ExportFormat
from app.domain.files.import_plan import ImportOrder, ImportPlan
from app.domain.files.imports import TablePlan
from app.domain.files.jsonl import LinePlan
from app.domain.jobs import EXPORTS, File, Job, JobKind, JobStatus, Tally
from app.domain.webhooks.deliveries import DeliveryQuery
from app.store.mongo.queries import Doc

from .queries import activity_query_from, delivery_query_from, event_query_from, query_doc


@dataclass(frozen=True, slots=True)
class ExportOrder:
    """What an export was asked for: which events, or which activities up to a position, and how they are written."""

    query: EventQuery | ActivityQuery
    format: ExportFormat
    upto: int = 0


@dataclass(frozen=True, slots=True)
class DeletionOrder:
    """Which events a job removes.

    Where they are those of a pass: only what was recorded on one of `homes`, which are the passes that it answers for, each
    before the one it became a part of, and itself.
    """

    query: EventQuery
    homes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ReplayOrder:
    """Which messages an endpoint is sent again: what was delivered to it before, or activities up to a position.

    The endpoint's own filter is part of a query of activities.
    """

    endpoint_id: str
    query: DeliveryQuery | ActivityQuery
    upto: int = 0


Order = ImportOrder | ExportOrder | DeletionOrder | ReplayOrder
"""What a job was asked to do, by its kind."""


def job_from(doc: Doc) -> Job:
    """The job of a document."""
    return Job(
        doc["_id"],
        JobKind(doc["kind"]),
        JobStatus(doc["status"]),
        tally_from(doc),
        doc["total"],
        doc["created_at"],
        doc["source"],
        doc["dry_run"],
        tuple(doc["warnings"]),
        doc.get("started_at"),
        doc.get("finished_at"),
        doc.get("cancel", False),
        doc.get("error"),
        doc.get("outcome", {}),
        _file(doc),
    )


def order_doc(order: Order) -> Doc:
    """The document of an order."""
    if isinstance(order, DeletionOrder):
        return {"query": query_doc(order.query), "homes": list(order.homes)}
    if isinstance(order, ReplayOrder):
        return {"endpoint": order.endpoint_id, "query": query_doc(order.query), "upto": order.upto}
    if isinstance(order, ExportOrder):
        return {"query": query_doc(order.query), "format": order.format.value, "upto": order.upto}
    return {
        "plan": plan_doc(order.plan),
        "create_missing_passes": order.create_missing_passes,
        "size": order.size,
    }


def order_from(kind: JobKind, doc: Doc) -> Order:
    """The order of a document."""
    match kind:
        case JobKind.IMPORT:
            return ImportOrder(plan_from(doc["plan"]), doc["create_missing_passes"], doc["size"])
        case JobKind.DELETE_EVENTS:
            return DeletionOrder(event_query_from(doc["query"]), tuple(doc.get("homes", ())))
        case JobKind.REPLAY_WEBHOOKS:
            read = delivery_query_from if "statuses" in doc["query"] else activity_query_from
            return ReplayOrder(doc["endpoint"], read(doc["query"]), doc["upto"])
        case JobKind.EXPORT_EVENTS:
            return ExportOrder(event_query_from(doc["query"]), ExportFormat(doc["format"]))
        case JobKind.EXPORT_ACTIVITIES:
            return ExportOrder(activity_query_from(doc["query"]), ExportFormat(doc["format"]), doc["upto"])


def _file(doc: Doc) -> File | None:
    if doc["kind"] not in EXPORTS or doc["status"] != JobStatus.SUCCEEDED:
        return None
    # Its first step only counts.
    until = doc["finished_at"] + timedelta(seconds=FILE_TTL_SECONDS)
    return File(ExportFormat(doc["order"]["format"]), doc["step"] - 1, doc["position"]["bytes"], until)


def tally_from(doc: Doc) -> Tally:
    """The counts of a job's document."""
    return Tally(doc["created"], doc["duplicate"], doc["failed"])


def tally_doc(tally: Tally) -> Doc:
    """The counts as fields of a job's document."""
    return {"created": tally.created, "duplicate": tally.duplicate, "failed": tally.failed}


def plan_doc(plan: ImportPlan) -> Doc:
    """The document of a plan."""
    doc: Doc = {
        "mappings": [{"field": m.field, "column": m.column, "value": m.value} for m in plan.mappings],
        "source": plan.source,
        "timezone": plan.timezone,
        "currency": plan.currency,
        "date_order": None if plan.date_order is None else plan.date_order.value,
    }
    match plan:
        case TablePlan():
            return {**doc, "layout": list(astuple(plan.layout))}
        case LinePlan():
            return {**doc, "begin": plan.begin, "always": list(plan.always)}
    raise TypeError(type(plan).__name__)


def plan_from(doc: Doc) -> ImportPlan:
    """The plan of a document."""
    mappings = tuple(ColumnMapping(m["field"], m["column"], m["value"]) for m in doc["mappings"])
    date_order = None if doc["date_order"] is None else DateOrder(doc["date_order"])
    source, timezone, currency = doc["source"], doc["timezone"], doc["currency"]
    if "layout" in doc:
        encoding, delimiter, columns, start = doc["layout"]
        layout = Layout(encoding, delimiter, tuple(columns), start)
        return TablePlan(
            mappings=mappings, source=source, timezone=timezone, currency=currency, date_order=date_order, layout=layout
        )
    return LinePlan(
        mappings=mappings,
        source=source,
        timezone=timezone,
        currency=currency,
        date_order=date_order,
        begin_at=doc["begin"],
        always=tuple(doc["always"]),
    )
