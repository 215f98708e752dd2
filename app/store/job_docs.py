"""Jobs and plans of imports as documents, and back; `plan_from(plan_doc(x)) == x`."""

from __future__ import annotations

from app.domain.cells import DateOrder
from app.domain.columns import ColumnMapping
from app.domain.imports import Plan
from app.domain.jobs import Job, JobKind, JobStatus, Tally
from app.domain.tables import Layout

from .collection import Doc


def job_from(doc: Doc) -> Job:
    """The job of a document."""
    return Job(
        doc["_id"],
        JobKind(doc["kind"]),
        JobStatus(doc["status"]),
        doc["source"],
        tally_from(doc),
        doc["total"],
        doc["dry_run"],
        tuple(doc["warnings"]),
        doc["created_at"],
        doc.get("started_at"),
        doc.get("finished_at"),
        doc.get("cancel", False),
        doc.get("error"),
    )


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
