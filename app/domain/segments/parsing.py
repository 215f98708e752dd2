"""Parser of criteria: the input of the API, and the stored form of a definition."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from app.domain.errors import Code, InvalidInput
from app.domain.events.events import Category
from app.domain.state.distinct import MAX_DISTINCT
from app.domain.state.measures import EARNED, METADATA, SOURCE, SPENT, EventFilter
from app.domain.values.conditions import MEANING, check_steps, parse_metadata_condition, parse_operator
from app.domain.values.currencies import parse_currency
from app.domain.values.decimals import parse_decimal, read_number
from app.domain.values.paths import split_path
from app.domain.values.spelling import did_you_mean
from app.domain.values.text import parse_text
from app.domain.values.windows import parse_between, parse_within

from .criteria import (
    DAYS,
    OF_FIELDS,
    THRESHOLDS,
    All,
    AnyOf,
    Criteria,
    EventCriterion,
    ListCriterion,
    Metric,
    Never,
    Not,
    SegmentCriterion,
)
from .lists import parse_category_name, parse_list, parse_names
from .local_time import parse_periods
from .moments import parse_moment
from .pass_criteria import parse_pass_criterion
from .sequences import MAX_STEP_DAYS, MAX_STEPS, MIN_STEPS, SequenceCriterion, SequenceStep

MAX_DIGITS = 34
"""Digits of the number that a sum of metadata is compared with."""
MAX_DEPTH = 8
MAX_LEAVES = 50
KINDS_OF_CRITERIA = ("all", "any", "not", "event", "pass", "segment", "sequence")
SUMMED_FIELDS = ("amount", "points", EARNED, SPENT)
"""Fields of an event that a criterion sums, beside paths of the metadata."""


@dataclass
class _ParseState:
    currency: str
    stored_meaning: int | None
    leaves_left: int = field(default=MAX_LEAVES)


def parse_criteria(
    raw: object, default_currency: str, *path: str, stored_meaning: int | None = None, allows_list: bool = False
) -> Criteria:
    """Return the criteria of a CriteriaInput, or of the stored form of a definition with that meaning.

    Each level has exactly one of KINDS_OF_CRITERIA. A tree has at most 8 levels and 50 leaves. Rules that are newer than a
    stored definition do not apply to it. Raises InvalidInput with the path of the invalid part.

    With `allows_list`, {list: true} is accepted as the whole of the criteria: those of a segment.
    """
    if isinstance(raw, Mapping) and raw.get("list") is not None:
        return _parse_list(raw, path, is_allowed=allows_list or stored_meaning is not None)
    return _parse_node(raw, _ParseState(default_currency, stored_meaning), MAX_DEPTH, path)


def _parse_list(raw: Mapping[str, object], path: tuple[str, ...], *, is_allowed: bool) -> ListCriterion:
    if raw["list"] is not True:
        raise InvalidInput(Code.INVALID, "Only true is accepted; leave `list` out of other criteria.", *path, "list")
    if not is_allowed or [name for name, value in raw.items() if value is not None] != ["list"]:
        raise InvalidInput(
            Code.INVALID,
            "`list` is the whole of a segment's criteria. Name that segment with `segment`.",
            *path,
            "list",
        )
    return ListCriterion()


def _parse_node(raw: object, state: _ParseState, depth: int, path: tuple[str, ...]) -> Criteria:
    if depth == 0:
        raise InvalidInput(Code.LIMIT, f"Nest criteria at most {MAX_DEPTH} levels deep.", *path)
    present = {k: v for k, v in raw.items() if v is not None} if isinstance(raw, Mapping) else {}
    if present.get("list") is not None:
        _parse_list(present, path, is_allowed=False)
    if len(present) != 1 or next(iter(present)) not in KINDS_OF_CRITERIA:
        raise InvalidInput(Code.INVALID, f"Give exactly one of {', '.join(KINDS_OF_CRITERIA)}.", *path)
    [(kind, body)] = present.items()
    path = (*path, kind)
    if kind in ("all", "any"):
        if not isinstance(body, Sequence) or isinstance(body, str) or not body:
            raise InvalidInput(Code.REQUIRED, "Give at least one criterion.", *path)
        children = tuple(_parse_node(child, state, depth - 1, (*path, str(i))) for i, child in enumerate(body))
        return All(children) if kind == "all" else AnyOf(children)
    if kind == "not":
        return Not(_parse_node(body, state, depth - 1, path))
    state.leaves_left -= 1
    if kind == "sequence" and isinstance(body, Mapping):
        return _parse_sequence(body, state, path)
    if state.leaves_left < 0:
        raise InvalidInput(Code.LIMIT, f"Give at most {MAX_LEAVES} criteria in one segment.", *path)
    if not isinstance(body, Mapping):
        raise InvalidInput(Code.INVALID, "Give an object.", *path)
    if kind == "event":
        return _parse_event_criterion(body, state, path)
    if kind == "segment":
        segment_id = parse_text(body.get("id"), *path, "id")
        return SegmentCriterion(segment_id, body.get("member") is not False)
    moment = parse_moment(body, path, stored_meaning=state.stored_meaning)
    return moment or parse_pass_criterion(body, path, stored_meaning=state.stored_meaning)


def _parse_event_criterion(body: Mapping[str, object], state: _ParseState, path: tuple[str, ...]) -> EventCriterion:
    periods = parse_periods(body, path)
    if periods is not None and periods.at_least is not None:
        body = {**body, "value": periods.at_least}
    metric = Metric.__members__.get(str(body.get("metric", "COUNT")))
    if metric is None:
        raise InvalidInput(Code.UNKNOWN, f"Give one of {', '.join(Metric)}.", *path, "metric")
    operator = parse_operator(body.get("operator", "GTE"), *path, "operator")
    if operator not in THRESHOLDS:
        raise InvalidInput(Code.UNSUPPORTED, f"Give one of {', '.join(THRESHOLDS)}.", *path, "operator")
    if body.get("value") is None:
        raise InvalidInput(Code.REQUIRED, "Give the number to compare with.", *path, "value")
    is_days_since = metric in DAYS
    never = Never.__members__.get(str(body.get("never") or "SINCE_JOINED"))
    if never is None:
        raise InvalidInput(Code.UNKNOWN, f"Give one of {', '.join(Never)}.", *path, "never")
    within_ms = None
    if body.get("within") is not None:
        if is_days_since:
            raise InvalidInput(Code.UNSUPPORTED, f"{metric} takes no window; leave it out.", *path, "within")
        within_ms = parse_within(body["within"], *path, "within")
    start_ms, end_ms = parse_between(body.get("between"), (*path, "between"))
    if within_ms is not None and (start_ms is not None or end_ms is not None):
        raise InvalidInput(Code.INVALID, "Give either within or between.", *path, "between")
    summed_field, currency = "amount", None
    if metric is Metric.COUNT_DISTINCT:
        summed_field = _parse_counted_field(body.get("field"), state, *path, "field")
    elif metric in OF_FIELDS:
        summed_field = _parse_summed_field(body.get("field") or "amount", state, *path, "field")
    is_metadata = summed_field.startswith(METADATA) and metric is not Metric.COUNT_DISTINCT
    value = (_parse_any_number if is_metadata else parse_decimal)(body["value"], *path, "value")
    if is_days_since and not 0 <= value <= 36_600:
        raise InvalidInput(Code.OUT_OF_RANGE, "Give 0 to 36,600 days.", *path, "value")
    if metric is Metric.COUNT_DISTINCT and value > MAX_DISTINCT:
        message = f"Punchcard counts up to {MAX_DISTINCT} different values. Give at most {MAX_DISTINCT}."
        raise InvalidInput(Code.OUT_OF_RANGE, message, *path, "value")
    if body.get("currency") is not None:
        currency = parse_currency(body["currency"], *path, "currency")
    elif metric in OF_FIELDS and summed_field == "amount":
        currency = state.currency
    event_filter = _parse_filter(body, state, path, currency=currency, span_ms=(start_ms, end_ms))
    return EventCriterion(
        event_filter,
        metric,
        operator,
        value=value,
        summed_field=summed_field,
        within_ms=within_ms,
        never=never,
        meaning=state.stored_meaning or MEANING,
        periods=periods,
    )


def _parse_sequence(body: Mapping[str, object], state: _ParseState, path: tuple[str, ...]) -> SequenceCriterion:
    raw_steps = parse_list(body.get("steps"), path, "steps")
    if not MIN_STEPS <= len(raw_steps) <= MAX_STEPS:
        raise InvalidInput(Code.OUT_OF_RANGE, f"Give {MIN_STEPS} to {MAX_STEPS} steps.", *path, "steps")
    state.leaves_left -= len(raw_steps) - 1
    if state.leaves_left < 0:
        raise InvalidInput(Code.LIMIT, f"Give at most {MAX_LEAVES} criteria in one segment.", *path)
    steps = []
    for index, raw in raw_steps:
        at = (*path, "steps", str(index))
        event = raw.get("event") if isinstance(raw, Mapping) else None
        if not isinstance(raw, Mapping) or not isinstance(event, Mapping):
            raise InvalidInput(Code.REQUIRED, "Give the events that take the step.", *at, "event")
        days = raw.get("withinDays")
        if days is not None and index == 0:
            raise InvalidInput(Code.UNSUPPORTED, "No step comes before the first one; leave it out.", *at, "withinDays")
        if days is not None and (isinstance(days, bool) or not isinstance(days, int) or not 1 <= days <= MAX_STEP_DAYS):
            raise InvalidInput(Code.OUT_OF_RANGE, f"Give 1 to {MAX_STEP_DAYS:,} days.", *at, "withinDays")
        at = (*at, "event")
        currency = None if event.get("currency") is None else parse_currency(event["currency"], *at, "currency")
        steps.append(SequenceStep(_parse_filter(event, state, at, currency=currency), days))
    within_ms = None if body.get("within") is None else parse_within(body["within"], *path, "within")
    return SequenceCriterion(tuple(steps), within_ms, meaning=state.stored_meaning or MEANING)


def _parse_filter(
    body: Mapping[str, object],
    state: _ParseState,
    path: tuple[str, ...],
    *,
    currency: str | None,
    span_ms: tuple[int | None, int | None] = (None, None),
) -> EventFilter:
    return EventFilter(
        types=parse_names(body.get("types"), (*path, "types"), parse_text),
        categories=tuple(
            Category(name) for name in parse_names(body.get("categories"), (*path, "categories"), parse_category_name)
        ),
        sources=parse_names(body.get("sources"), (*path, "sources"), parse_text),
        metadata=tuple(
            parse_metadata_condition(item, *path, "metadata", str(i), is_stored=state.stored_meaning is not None)
            for i, item in parse_list(body.get("metadata"), path, "metadata")
        ),
        currency=currency,
        from_ms=span_ms[0],
        to_ms=span_ms[1],
    )


def _parse_counted_field(raw: object, state: _ParseState, *path: str) -> str:
    """Return the field whose different values are counted."""
    if raw != SOURCE and not (isinstance(raw, str) and raw.startswith(METADATA)):
        message = f"Give the field whose different values are counted: {SOURCE} or {METADATA}<path>."
        raise InvalidInput(Code.REQUIRED if raw is None else Code.UNKNOWN, message, *path)
    return SOURCE if raw == SOURCE else _parse_summed_field(raw, state, *path)


def _parse_summed_field(raw: object, state: _ParseState, *path: str) -> str:
    name = parse_text(raw, *path, max_length=200)
    if name not in SUMMED_FIELDS and not (name.startswith(METADATA) and len(name) > len(METADATA)):
        advice = f"Give {', '.join(SUMMED_FIELDS)} or {METADATA}<path>.{did_you_mean(name, SUMMED_FIELDS)}"
        raise InvalidInput(Code.UNKNOWN, advice, *path)
    if name.startswith(METADATA) and state.stored_meaning is None:
        steps = split_path(name.removeprefix(METADATA))
        check_steps(steps, *path)
        return METADATA + ".".join(steps)
    return name


def _parse_any_number(raw: object, *path: str) -> Decimal:
    """Return the exact number that a sum of metadata is compared with, whatever its number of places."""
    number = read_number(raw)
    if number is None or len(number.as_tuple().digits) > MAX_DIGITS:
        raise InvalidInput(Code.INVALID, f"Give a number of at most {MAX_DIGITS} digits.", *path)
    return number
