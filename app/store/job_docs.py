"""Jobs and their orders as documents, and back; `order_from(kind, order_doc(x)) == x`.

A new kind of job has an order of its own: a class in `Order`, a case in `order_doc`, and one in `order_from`.
"""

from __future__ import annotations

from app.domain.cells import DateOrder
from app.domain.columns import ColumnMapping
from app.domain.imports import ImportOrder, Plan
from app.domain.jobs import Job, JobKind, JobStatus, Tally
from app.domain.tables import Layout

from .collection import Doc

Order = ImportOrder
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
    )


def order_doc(order: Order) -> Doc:
    """The document of an order."""
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


def tally_from(doc: Doc) -> Tally:
    """The counts of a job's document."""
    return Tally(doc["created"], doc["duplicate"], doc["failed"])


def tally_doc(tally: Tally) -> Doc:
    """The counts as fields of a job's document."""
    return {"created": tally.created, "duplicate": tally.duplicate, "failed": tally.failed}


def plan_doc(plan: Plan) -> Doc:
    """The document of a plan."""
    layout = plan.layout
    return {
        "encoding": layout.encoding,
        "delimiter": layout.delimiter,
        "columns": list(layout.columns),
        "start": layout.start,
        "mappings": [{"field": m.field, "column": m.column, "value": m.value} for m in plan.mappings],
        "source": plan.source,
        "timezone": plan.timezone,
        "currency": plan.currency,
        "date_order": None if plan.date_order is None else plan.date_order.value,
    }


def plan_from(doc: Doc) -> Plan:
    """The plan of a document."""
    return Plan(
        Layout(doc["encoding"], doc["delimiter"], tuple(doc["columns"]), doc["start"]),
        tuple(ColumnMapping(m["field"], m["column"], m["value"]) for m in doc["mappings"]),
        doc["source"],
        doc["timezone"],
        doc["currency"],
        None if doc["date_order"] is None else DateOrder(doc["date_order"]),
    )
