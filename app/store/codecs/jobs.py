"""Jobs and their orders as documents, and back; `order_from_doc(kind, order_to_doc(x)) == x`.

Each kind of job has an order of its own. To add one, add a class to `Order` and a case to `order_to_doc` and to
`order_from_doc`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from app.domain.activity_queries import ActivityQuery
from app.domain.events.event_queries import EventQuery
from app.domain.files.columns import CellKind, ColumnMapping
from app.domain.files.csv_numbers import DecimalMark
from app.domain.files.csv_table import Layout
from app.domain.files.csv_values import DateOrder
from app.domain.files.exports import FILE_TTL_SECONDS, ExportFormat
from app.domain.files.import_plan import ImportOrder, ImportPlan
from app.domain.files.imports import TablePlan
from app.domain.files.jsonl import LinePlan
from app.domain.files.members import MemberImportOrder, MemberPlan
from app.domain.insights.verification import VerificationOrder
from app.domain.jobs import EXPORTS, File, Job, JobKind, JobStatus, Tally
from app.domain.preview import PreviewOrder
from app.domain.rules.rules import RuleVersion
from app.domain.webhooks.deliveries import DeliveryQuery
from app.store.mongo.queries import Doc

from .criteria import criteria_from_doc, criteria_to_doc
from .queries import activity_query_from_doc, delivery_query_from_doc, event_query_from_doc, query_to_doc
from .rules import rule_version_from_doc, rule_version_to_doc


@dataclass(frozen=True, slots=True)
class ExportOrder:
    """Events to export, or activities up to the position `upto`, and the format of the file."""

    query: EventQuery | ActivityQuery
    format: ExportFormat
    upto: int = 0


@dataclass(frozen=True, slots=True)
class DeletionOrder:
    """Events to remove.

    `homes` is set if the query names a pass: only events that were recorded on one of these passes are removed. They
    are the aliases of the pass, each before the pass it was merged into, and then the pass itself.
    """

    query: EventQuery
    homes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ReplayOrder:
    """Messages to send to an endpoint again: earlier deliveries, or activities up to the position `upto`.

    A query of activities includes the filter of the endpoint.
    """

    endpoint_id: str
    query: DeliveryQuery | ActivityQuery
    upto: int = 0


@dataclass(frozen=True, slots=True)
class SimulationOrder:
    """Rule to simulate, and the period in ms in which its firings count: from the first instant, up to the second."""

    rule: RuleVersion
    period: tuple[int, int]


@dataclass(frozen=True, slots=True)
class InclusionOrder:
    """Rule to ask about the members of its segment."""

    rule_id: str


@dataclass(frozen=True, slots=True)
class ConversionOrder:
    """Conversion to measure: of a rule's first firings in a period, by events of some types within a time in ms."""

    rule_id: str
    types: tuple[str, ...]
    within_ms: int
    after: datetime | None = None
    before: datetime | None = None


@dataclass(frozen=True, slots=True)
class BroadcastOrder:
    """Message to queue for each member of a segment. `at_ms` is the business time of the call, from which it is valid."""

    segment_id: str
    channel_key: str
    template_id: str
    at_ms: int
    valid_for_hours: int

    def says_the_same(self, other: BroadcastOrder) -> bool:
        """Return whether the other order is equal, apart from its time."""
        return replace(self, at_ms=other.at_ms) == other


@dataclass(frozen=True, slots=True)
class DimensionsOrder:
    """Event type whose hours are sealed again, because an attribute of it became a dimension."""

    event_type: str


Order = (
    BroadcastOrder
    | ConversionOrder
    | ImportOrder
    | ExportOrder
    | DeletionOrder
    | ReplayOrder
    | SimulationOrder
    | InclusionOrder
    | MemberImportOrder
    | PreviewOrder
    | VerificationOrder
    | DimensionsOrder
)
"""What a job does, by its kind."""


def job_from_doc(doc: Doc) -> Job:
    """Return the job of a document."""
    return Job(
        id=doc["_id"],
        kind=JobKind(doc["kind"]),
        status=JobStatus(doc["status"]),
        tally=tally_from_doc(doc),
        total=doc["total"],
        created_at=doc["created_at"],
        source=doc["source"],
        dry_run=doc["dry_run"],
        warnings=tuple(doc["warnings"]),
        started_at=doc.get("started_at"),
        finished_at=doc.get("finished_at"),
        is_cancelling=doc.get("cancel", False),
        error=doc.get("error"),
        outcome=doc.get("outcome", {}),
        file=_file_from_doc(doc),
    )


def order_to_doc(order: Order) -> Doc:
    """Return the document of an order."""
    if isinstance(order, DeletionOrder):
        return {"query": query_to_doc(order.query), "homes": list(order.homes)}
    if isinstance(order, ReplayOrder):
        return {"endpoint": order.endpoint_id, "query": query_to_doc(order.query), "upto": order.upto}
    if isinstance(order, ExportOrder):
        return {"query": query_to_doc(order.query), "format": order.format.value, "upto": order.upto}
    if isinstance(order, ConversionOrder):
        period = {"after": order.after, "before": order.before}
        return {"rule": order.rule_id, "types": list(order.types), "within": order.within_ms, **period}
    if isinstance(order, DimensionsOrder):
        return {"type": order.event_type}
    if isinstance(order, InclusionOrder):
        return {"rule": order.rule_id}
    if isinstance(order, VerificationOrder):
        rollups = None if order.rollups is None else list(order.rollups)
        return {"passes": None if order.pass_ids is None else list(order.pass_ids), "rollups": rollups}
    if isinstance(order, MemberImportOrder):
        layout = None if order.plan.layout is None else list(astuple(order.plan.layout))
        plan = {"begin": order.plan.start, "layout": layout}
        return {"segment": order.segment_id, "list": order.list_name, "plan": plan, "size": order.size}
    if isinstance(order, SimulationOrder):
        rule = order.rule
        content = rule_version_to_doc(rule) | {"timezone": rule.timezone, "subject": rule.rule_id, "rev": rule.revision}
        return {**content, "version": rule.version, "at": rule.at, "period": list(order.period)}
    if isinstance(order, BroadcastOrder):
        return {
            "segment": order.segment_id,
            "channel": order.channel_key,
            "template": order.template_id,
            "at": order.at_ms,
            "hours": order.valid_for_hours,
        }
    if isinstance(order, PreviewOrder):
        names = {"timezone": order.timezone, "segment": order.segment_id, "notify": order.notify}
        more = {"fires_rules": order.fires_rules, "at": order.at_ms, "zone_field": order.zone_field}
        return {**criteria_to_doc(order.criteria), **names, **more}
    return {
        "plan": plan_to_doc(order.plan),
        "create_missing_passes": order.create_missing_passes,
        "size": order.size,
    }


def order_from_doc(kind: JobKind, doc: Doc) -> Order:
    """Return the order of a document."""
    match kind:
        case JobKind.IMPORT:
            return ImportOrder(plan_from_doc(doc["plan"]), doc["create_missing_passes"], doc["size"])
        case JobKind.DELETE_EVENTS:
            return DeletionOrder(event_query_from_doc(doc["query"]), tuple(doc.get("homes", ())))
        case JobKind.REPLAY_WEBHOOKS:
            read = delivery_query_from_doc if "statuses" in doc["query"] else activity_query_from_doc
            return ReplayOrder(doc["endpoint"], read(doc["query"]), doc["upto"])
        case JobKind.SIMULATE_RULE:
            start_ms, end_ms = doc["period"]
            return SimulationOrder(rule_version_from_doc(doc), (start_ms, end_ms))
        case JobKind.MEASURE_CONVERSION:
            types, within_ms = tuple(doc["types"]), doc["within"]
            return ConversionOrder(doc["rule"], types, within_ms, after=doc["after"], before=doc["before"])
        case JobKind.INCLUDE_MEMBERS:
            return InclusionOrder(doc["rule"])
        case JobKind.IMPORT_SEGMENT_MEMBERS:
            stored = doc["plan"]["layout"]
            plan = MemberPlan(doc["plan"]["begin"], None if stored is None else _layout_of(stored))
            return MemberImportOrder(doc["segment"], doc["list"], plan, size=doc["size"])
        case JobKind.BROADCAST:
            return BroadcastOrder(
                segment_id=doc["segment"],
                channel_key=doc["channel"],
                template_id=doc["template"],
                at_ms=doc["at"],
                valid_for_hours=doc["hours"],
            )
        case JobKind.PREVIEW_SEGMENT:
            return PreviewOrder(
                criteria_from_doc(doc), doc["timezone"], doc["segment"],
                notify=doc["notify"], fires_rules=doc.get("fires_rules", False), at_ms=doc.get("at"),
                zone_field=doc.get("zone_field"),
            )  # fmt: skip
        case JobKind.VERIFY_PROJECTION:
            return VerificationOrder(
                None if doc["passes"] is None else tuple(doc["passes"]),
                None if doc["rollups"] is None else (doc["rollups"][0], doc["rollups"][1]),
            )
        case JobKind.PREPARE_DIMENSIONS:
            return DimensionsOrder(doc["type"])
        case JobKind.EXPORT_EVENTS:
            return ExportOrder(event_query_from_doc(doc["query"]), ExportFormat(doc["format"]))
        case JobKind.EXPORT_ACTIVITIES:
            return ExportOrder(activity_query_from_doc(doc["query"]), ExportFormat(doc["format"]), doc["upto"])


def _file_from_doc(doc: Doc) -> File | None:
    if doc["kind"] not in EXPORTS or doc["status"] != JobStatus.SUCCEEDED:
        return None
    # The first step of an export counts the items and writes no part.
    expires_at = doc["finished_at"] + timedelta(seconds=FILE_TTL_SECONDS)
    return File(
        format=ExportFormat(doc["order"]["format"]),
        parts=doc["step"] - 1,
        size=doc["position"]["bytes"],
        expires_at=expires_at,
    )


def tally_from_doc(doc: Doc) -> Tally:
    """Return the counts of a job's document."""
    return Tally(doc["created"], doc["duplicate"], doc["failed"], left_out=doc.get("left_out", 0))


def tally_to_doc(tally: Tally) -> Doc:
    """Return the counts as fields of a job's document."""
    return {"created": tally.created, "duplicate": tally.duplicate, "failed": tally.failed, "left_out": tally.left_out}


def plan_to_doc(plan: ImportPlan) -> Doc:
    """Return the document of a plan."""
    doc: Doc = {
        "mappings": [_mapping_to_doc(mapping) for mapping in plan.mappings],
        "source": plan.source,
        "timezone": plan.timezone,
        "currency": plan.currency,
        "date_order": None if plan.date_order is None else plan.date_order.value,
        "decimal_mark": None if plan.decimal_mark is None else plan.decimal_mark.value,
    }
    match plan:
        case TablePlan():
            layout = list(astuple(plan.layout))
            # Version 0.1 reads a layout of four parts. Only files with carriage returns have a fifth one.
            return {**doc, "layout": layout if plan.layout.newline != "\n" else layout[:-1]}
        case LinePlan():
            return {**doc, "begin": plan.start, "always": list(plan.required_fields)}
    raise TypeError(type(plan).__name__)


def plan_from_doc(doc: Doc) -> ImportPlan:
    """Return the plan of a document."""
    mappings = tuple(_mapping_from_doc(mapping) for mapping in doc["mappings"])
    date_order = None if doc["date_order"] is None else DateOrder(doc["date_order"])
    decimal_mark = None if doc.get("decimal_mark") is None else DecimalMark(doc["decimal_mark"])
    source, timezone, currency = doc["source"], doc["timezone"], doc["currency"]
    if "layout" in doc:
        return TablePlan(
            mappings=mappings,
            source=source,
            timezone=timezone,
            currency=currency,
            date_order=date_order,
            decimal_mark=decimal_mark,
            layout=_layout_of(doc["layout"]),
        )
    return LinePlan(
        mappings=mappings,
        source=source,
        timezone=timezone,
        currency=currency,
        date_order=date_order,
        decimal_mark=decimal_mark,
        first_line_at=doc["begin"],
        required_fields=tuple(doc["always"]),
    )


def _layout_of(stored: Sequence[Any]) -> Layout:
    encoding, delimiter, columns, start, *newline = stored
    return Layout(
        encoding=encoding,
        delimiter=delimiter,
        columns=tuple(columns),
        start=start,
        newline=newline[0] if newline else "\n",
    )


def _mapping_to_doc(mapping: ColumnMapping) -> Doc:
    doc: Doc = {"field": mapping.field, "column": mapping.column, "value": mapping.value}
    return doc if mapping.kind is None else {**doc, "kind": mapping.kind.value}


def _mapping_from_doc(doc: Doc) -> ColumnMapping:
    kind = None if doc.get("kind") is None else CellKind(doc["kind"])
    return ColumnMapping(doc["field"], doc["column"], doc["value"], kind=kind)
