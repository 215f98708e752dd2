"""What was read for an answer: in `extensions.plan` of the response, if the request asks for it, and in the log."""

from __future__ import annotations

from app.domain.rollups.selections import Plan
from app.telemetry import operations

from .context import RequestContext


def note_plan(context: RequestContext, field: str, plan: Plan) -> None:
    """Note what was read for the answer of a field: sealed months, days and hours, or the events and why."""
    source = "ROLLUPS" if plan.reason is None else "EVENTS"
    noted: dict[str, object] = {"field": field, "source": source}
    if plan.reason is None:
        noted |= {
            "months": plan.months,
            "days": plan.days,
            "hours": plan.hours,
            "eventHours": plan.event_hours,
        }
    else:
        noted["reason"] = plan.reason
    context.plans.append(noted)
    operations.current().count_aggregation(source.lower())
