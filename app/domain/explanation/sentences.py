"""The sentence of an explanation, in English, which a support agent can read out."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import ROUND_FLOOR, Decimal
from typing import assert_never
from zoneinfo import ZoneInfo

from app.domain.passes.lists import INCLUDE
from app.domain.segments.criteria import (
    All,
    AnyOf,
    EventCriterion,
    ListCriterion,
    Metric,
    Not,
    SegmentCriterion,
)
from app.domain.segments.moments import AnniversaryCriterion, RelativeCriterion
from app.domain.segments.pass_criteria import Kind, PassCriterion
from app.domain.segments.sequences import SequenceCriterion
from app.domain.state.distinct import MAX_DISTINCT, MAX_LISTED_VALUES
from app.domain.state.measures import EventFilter
from app.domain.values.conditions import POSITIVE, VALUELESS, Operator
from app.domain.values.decimals import canonical
from app.domain.values.windows import within_dict

from .explaining import Explanation
from .field_texts import field_text
from .local_time_texts import instant_of, instant_text, moment_text, streak_text, window_text
from .trees import Part, deciding_leaves

MAX_REASONS = 3
"""Reasons that a sentence gives. It counts the others."""
MAX_SHOWN = 60
"""Characters of a value that a sentence shows."""
ASKED: Mapping[Operator, str] = {
    Operator.EQ: "exactly {}",
    Operator.NE: "anything but {}",
    Operator.GT: "more than {}",
    Operator.GTE: "at least {}",
    Operator.LT: "less than {}",
    Operator.LTE: "at most {}",
    Operator.IN: "one of {}",
    Operator.NOT_IN: "none of {}",
    Operator.CONTAINS: "a text that contains {}",
    Operator.EXISTS: "any value",
    Operator.NOT_EXISTS: "no value",
}
ASKED_OF_INSTANTS: Mapping[Operator, str] = {
    Operator.GT: "an instant after {}",
    Operator.GTE: "an instant from {} on",
    Operator.LT: "an instant before {}",
    Operator.LTE: "an instant up to {}",
}
"""What replaces the words for numbers where instants are compared."""
WHICH: Mapping[Metric, str] = {Metric.AVG: "average", Metric.MIN: "smallest", Metric.MAX: "greatest"}
OPPOSITES: Mapping[Operator, Operator] = {
    **POSITIVE,
    **{positive: negative for negative, positive in POSITIVE.items()},
    Operator.GT: Operator.LTE,
    Operator.GTE: Operator.LT,
    Operator.LT: Operator.GTE,
    Operator.LTE: Operator.GT,
}
"""The operator that holds if another one does not. CONTAINS has none."""


def sentence_of(explanation: Explanation, segment_name: str | None, names: Mapping[str, str]) -> str:
    """Return the sentence. `segment_name` is None for criteria of no segment; `names` has other segments by id."""
    zone = ZoneInfo(explanation.timezone)
    who = f"Pass {explanation.card.external_id}"
    if segment_name is None:
        head = f"{who} {'meets' if explanation.is_member else 'does not meet'} the criteria"
        changes = "stops meeting them" if explanation.is_member else "meets them"
    else:
        head = f"{who} is {'' if explanation.is_member else 'not '}in the segment {segment_name}"
        changes = "leaves the segment" if explanation.is_member else "enters the segment"
    if explanation.since_ms is not None:
        head += f" since {instant_text(explanation.since_ms, zone)}"
    return f"{head}, because {_reasons(explanation, zone, names)}{_outlook_text(explanation, changes, zone)}."


def _reasons(explanation: Explanation, zone: ZoneInfo, names: Mapping[str, str]) -> str:
    if explanation.listed is not None:
        return f"it is on the list of passes that {'always' if explanation.listed == INCLUDE else 'never'} belong to it"
    leaves = deciding_leaves(explanation.tree)
    texts = [_leaf_text(leaf, zone, names, negated=negated) for leaf, negated in leaves[:MAX_REASONS]]
    left = len(leaves) - len(texts)
    if left:
        texts.append(f"{left} more {'criterion agrees' if left == 1 else 'criteria agree'}")
    return " and ".join(texts)


def _outlook_text(explanation: Explanation, changes: str, zone: ZoneInfo) -> str:
    outlook = explanation.outlook
    if outlook.until_ms is not None:
        return f", and it {changes} on {instant_text(outlook.until_ms, zone)} if nothing happens"
    assert outlook.stable_until_ms is not None
    return f", and that stays so until at least {instant_text(outlook.stable_until_ms, zone)} if nothing happens"


def _leaf_text(part: Part, zone: ZoneInfo, names: Mapping[str, str], *, negated: bool) -> str:
    """Return the text of a leaf: what it measured, and what it asks for."""
    leaf = part.criteria
    match leaf:
        case EventCriterion():
            asked = _asked(leaf.operator, leaf.value, negated=negated)
            return f"{_event_text(leaf, part, zone)} (it takes {asked}{_unit(leaf)})"
        case SequenceCriterion():
            wanted = "not all of them" if negated else "all of them"
            return f"it took {part.measured} of {len(leaf.steps)} steps: {_steps_text(leaf)} (it takes {wanted})"
        case PassCriterion():
            # Texts that people wrote are shown as they are, also if they are instants.
            at = zone if leaf.kind is Kind.INSTANT else None
            asked = _asked(leaf.operator, leaf.value, negated=negated, zone=at)
            return f"{_measured_text(leaf.field, part.measured, at)} (it takes {asked})"
        case RelativeCriterion() | AnniversaryCriterion():
            asked = moment_text(leaf)
            article = "no" if negated else "an" if asked.startswith("instant") else "a"
            return f"{_measured_text(leaf.field, part.measured, zone)} (it takes {article} {asked})"
        case SegmentCriterion():
            name = names.get(leaf.segment_id, leaf.segment_id)
            return f"it is {'' if part.measured else 'not '}in the segment {name}"
        case ListCriterion():
            return "it is not on the list of passes that belong to it"
        case All() | AnyOf() | Not():
            raise TypeError(leaf)
    assert_never(leaf)


def _measured_text(field: str, value: object, zone: ZoneInfo | None) -> str:
    """Return what a field of the pass is. With a zone, an instant is written in the local time there."""
    return f"its {field_text(field)} {'has no value' if value is None else f'is {_value_text(value, zone)}'}"


def _event_text(leaf: EventCriterion, part: Part, zone: ZoneInfo) -> str:
    events, where = _events_text(leaf.filter), _window_text(leaf, zone)
    match leaf.metric:
        case Metric.COUNT:
            if leaf.periods is not None and leaf.periods.at_least is not None:
                return f"its {events} cover {streak_text(leaf.periods.unit, part.measured)}"
            return f"it has {_value_text(part.measured)} {_events_text(leaf.filter, part.measured == 1)}{where}"
        case Metric.SUM:
            unit = "" if leaf.filter.currency is None else f" {leaf.filter.currency}"
            comes = "comes" if leaf.summed_field == "amount" else "come"
            total = f"{_value_text(part.measured)}{unit}"
            return f"the {field_text(leaf.summed_field)} of its {events}{where} {comes} to {total}"
        case Metric.AVG | Metric.MIN | Metric.MAX:
            field = f"{WHICH[leaf.metric]} {field_text(leaf.summed_field)}"
            if part.measured is None:
                return f"none of its {events}{where} has a value of the {field_text(leaf.summed_field)}"
            unit = "" if leaf.filter.currency is None else f" {leaf.filter.currency}"
            return f"the {field} of its {events}{where} is {_value_text(part.measured)}{unit}"
        case Metric.COUNT_DISTINCT:
            counted = f"more than {MAX_DISTINCT}" if part.measured == MAX_LISTED_VALUES else _value_text(part.measured)
            values = "value" if part.measured == 1 else "values"
            return f"its {events}{where} have {counted} different {values} of the {field_text(leaf.summed_field)}"
        case Metric.DAYS_SINCE_LAST | Metric.DAYS_SINCE_FIRST:
            if part.measured is None:
                return f"it has no {events}"
            days = f"{_days_text(part.measured)} day{'' if part.measured == 1 else 's'}"
            if part.since_joined:
                return f"it has no {events} and joined {days} ago"
            which = "last" if leaf.metric is Metric.DAYS_SINCE_LAST else "first"
            return f"the {which} of its {events} was {days} ago"
    assert_never(leaf.metric)


def _steps_text(leaf: SequenceCriterion) -> str:
    steps = []
    for step in leaf.steps:
        days = step.within_days
        limit = "" if days is None else f" within {days} day{'' if days == 1 else 's'}"
        steps.append(f"{_events_text(step.filter, is_single=True)}{limit}")
    text = ", then ".join(steps)
    return text if leaf.within_ms is None else f"{text}, the last one{_rolling_text(leaf.within_ms)}"


def _events_text(f: EventFilter, is_single: bool = False) -> str:
    kinds = [*f.types, *(each.value.lower() for each in f.categories)]
    text = f"{_listed(kinds)} event" if kinds else "event"
    text = text if is_single else f"{text}s"
    if f.sources:
        text += f" from {_listed(f.sources)}"
    return f"{text} that {'meets' if is_single else 'meet'} its conditions" if f.metadata else text


def _window_text(leaf: EventCriterion, zone: ZoneInfo) -> str:
    if leaf.within_ms is not None:
        return _rolling_text(leaf.within_ms)
    if leaf.periods is not None:
        return window_text(leaf.periods)
    start_ms, end_ms = leaf.filter.from_ms, leaf.filter.to_ms
    text = "" if start_ms is None else f" from {instant_text(start_ms, zone)}"
    return text if end_ms is None else f"{text} before {instant_text(end_ms, zone)}"


def _rolling_text(within_ms: int) -> str:
    [(unit, number)] = within_dict(within_ms).items()
    return f" in the last {f'{number} {unit}' if number != 1 else unit.removesuffix('s')}"


def _days_text(days: object) -> str:
    """Return days with at most two decimal places, rounded down, so that they never seem to reach a threshold early."""
    return _value_text(Decimal(str(days)).quantize(Decimal("0.01"), ROUND_FLOOR))


def _unit(leaf: EventCriterion) -> str:
    return " days" if leaf.metric in (Metric.DAYS_SINCE_LAST, Metric.DAYS_SINCE_FIRST) else ""


def _asked(operator: Operator, value: object, *, negated: bool, zone: ZoneInfo | None = None) -> str:
    if negated and operator is Operator.CONTAINS:
        return f"no text that contains {_value_text(value)}"
    operator = OPPOSITES[operator] if negated else operator
    if operator in VALUELESS:
        return ASKED[operator]
    values = [_value_text(each, zone) for each in (value if isinstance(value, tuple) else (value,))]
    words = ASKED if zone is None else {**ASKED, **ASKED_OF_INSTANTS}
    return words[operator].format(_listed(values))


def _value_text(value: object, zone: ZoneInfo | None = None) -> str:
    """Return a value, cut to 60 characters. With a zone, an instant is written in the local time there."""
    if zone is not None and isinstance(value, str) and (at_ms := instant_of(value)) is not None:
        return instant_text(at_ms, zone)
    text = canonical(value) if isinstance(value, Decimal) else str(value)
    text = text.lower() if isinstance(value, bool) else text
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…"


def _listed(values: list[str] | tuple[str, ...]) -> str:
    """Return the first values as a list in words: "a", "a or b", "a, b, c or 2 others"."""
    shown = [_value_text(each) for each in values[:MAX_REASONS]]
    if left := len(values) - len(shown):
        shown.append(f"{left} other{'' if left == 1 else 's'}")
    return " or ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)
