"""Parsers of a rule's effects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from app.domain.errors import Code, InvalidInput, Problem, Refused, refuse_if
from app.domain.events.event_types import parse_category
from app.domain.events.events import GIFT_SPENT, RECORDED_BY, TYPES, Category
from app.domain.events.points_expiry import MAX_DAYS
from app.domain.events.type_names import parse_type
from app.domain.values.currencies import parse_currency
from app.domain.values.decimals import parse_decimal
from app.domain.values.instants import parse_instant, to_ms
from app.domain.values.periods import PeriodUnit
from app.domain.values.text import parse_object, parse_text

from .effects import (
    ONE,
    AwardExpiry,
    AwardPoints,
    ChangeList,
    DeductPoints,
    Effect,
    EndOfPeriod,
    IssueReward,
    PointsPerAmount,
    RecordEvent,
    Rounding,
    SendMessage,
    UpdatePass,
)
from .message_templates import MessageTemplate, describe_fault, parse_template
from .reading import (
    Problems,
    parse_body,
    parse_choice,
    parse_integer,
    parse_member,
    parse_not_negative,
    parse_positive,
)
from .texts import Texts, iter_templates

MAX_EFFECTS = 10
"""Effects of one rule."""
MAX_DECIMALS = 6
DEFAULT_VALID_HOURS = 24
MAX_VALID_HOURS = 720
"""Hours after which a message is no longer sent, at most: 30 days."""
MAX_PERIODS = 100
"""Calendar periods after the present one, at whose end points expire."""
MAX_EFFECT_BYTES = 4_096
"""Size of the metadata or fields of one effect, as JSON. An event that a rule makes holds no more."""
EFFECTS = (
    "awardPoints", "deductPoints", "recordEvent", "updatePass", "addToSegment", "removeFromSegment", "issueReward",
    "sendMessage",
)  # fmt: skip
_EXPIRIES = ("expiresAt", "expiresAfterDays", "expiresAfterInactiveDays", "expiresAtEndOf")


def parse_effects(raw: object, *path: str, texts: Texts) -> tuple[Effect, ...]:
    """Return 1 to 10 effects. Raises Refused with the problems of all of them."""
    if not isinstance(raw, Sequence) or isinstance(raw, str) or not raw:
        raise InvalidInput(Code.REQUIRED, "Give at least one effect.", *path)
    if len(raw) > MAX_EFFECTS:
        raise InvalidInput(Code.TOO_MANY, f"Give at most {MAX_EFFECTS} effects; this rule has {len(raw)}.", *path)
    problems: list[Problem] = []
    effects: list[Effect] = []
    for index, item in enumerate(raw):
        try:
            effects.append(_parse_effect(item, texts, *path, str(index)))
        except Refused as refused:
            problems.extend(refused.problems)
    refuse_if(problems)
    return tuple(effects)


def _parse_effect(raw: object, texts: Texts, *path: str) -> Effect:
    kind, value = parse_choice(raw, *path, names=EFFECTS)
    path = (*path, kind)
    body, problems = parse_body(value, *path), Problems()
    effect: Effect
    match kind:
        case "awardPoints":
            effect = _parse_award(body, problems, path)
        case "deductPoints":
            points = problems.require(parse_positive, body, *path, "points", message="Give the points to take.")
            effect = DeductPoints(points or ONE, problems.read(parse_text, body.get("label"), *path, "label"))
        case "recordEvent":
            effect = _parse_record(body, texts, problems, path)
        case "updatePass":
            fields, metadata = (_parse_templates(body, name, texts, problems, path) for name in ("fields", "metadata"))
            if not fields and not metadata and not problems.found:
                problems.add(Code.REQUIRED, "Give at least one field or one value of the metadata.", *path)
            effect = UpdatePass(fields, metadata)
        case "issueReward":
            message = "Name the reward by its key."
            effect = IssueReward(problems.require(parse_text, body, *path, "rewardKey", message=message) or "")
        case "sendMessage":
            effect = _parse_message(body, texts, problems, path)
        case _:
            named = problems.require(parse_text, body, *path, "segmentId", message="Name the segment by its id.")
            effect = ChangeList(named or "", adds=kind == "addToSegment")
    refuse_if(problems.found)
    return effect


def _parse_award(body: Mapping[str, object], problems: Problems, path: tuple[str, ...]) -> AwardPoints:
    fixed = problems.read(parse_positive, body.get("points"), *path, "points")
    per_amount = problems.read(_parse_per_amount, body.get("perAmount"), *path, "perAmount")
    if (body.get("points") is None) == (body.get("perAmount") is None):
        problems.add(Code.REQUIRED, "Give exactly one of points and perAmount.", *path, "points")
    expiries = [name for name in _EXPIRIES if body.get(name) is not None]
    if len(expiries) > 1:
        problems.add(Code.INVALID, f"Give only one of {', '.join(_EXPIRIES)}.", *path, expiries[1])
    expires_at = problems.read(parse_instant, body.get("expiresAt"), *path, "expiresAt")
    after_days, after_inactive_days = (
        problems.read(parse_integer, body.get(name), *path, name, least=1, most=MAX_DAYS)
        for name in ("expiresAfterDays", "expiresAfterInactiveDays")
    )
    end_of = problems.read(_parse_end, body.get("expiresAtEndOf"), *path, "expiresAtEndOf")
    at_ms = None if expires_at is None else to_ms(expires_at)
    pending = problems.read(parse_integer, body.get("pendingDays"), *path, "pendingDays", least=0, most=MAX_DAYS)
    return AwardPoints(
        fixed=fixed,
        per_amount=per_amount,
        multiplier=problems.read(parse_positive, body.get("multiplier"), *path, "multiplier") or ONE,
        expiry=AwardExpiry(at_ms=at_ms, after_days=after_days, after_inactive_days=after_inactive_days, end_of=end_of)
        if expiries
        else None,
        pending_days=pending or 0,
        label=problems.read(parse_text, body.get("label"), *path, "label"),
    )


def _parse_per_amount(raw: object, *path: str) -> PointsPerAmount:
    body, problems = parse_body(raw, *path), Problems()
    points = problems.require(
        parse_positive, body, *path, "points", message="Give the points for each unit of the amount."
    )
    each = problems.require(
        parse_positive, body, *path, "each", message="Give the amount for which points are given, for example 1."
    )
    rounding = problems.read(parse_member, body.get("rounding"), *path, "rounding", members=Rounding)
    decimals = problems.read(parse_integer, body.get("decimals"), *path, "decimals", least=0, most=MAX_DECIMALS)
    refuse_if(problems.found)
    return PointsPerAmount(points or ONE, each or ONE, rounding=rounding or Rounding.DOWN, decimals=decimals or 0)


def _parse_end(raw: object, *path: str) -> EndOfPeriod:
    body, problems = parse_body(raw, *path), Problems()
    message = f"Give one of {', '.join(PeriodUnit)}."
    unit = problems.require(parse_member, body, *path, "unit", message=message, members=PeriodUnit)
    plus = problems.read(parse_integer, body.get("plus"), *path, "plus", least=0, most=MAX_PERIODS)
    refuse_if(problems.found)
    return EndOfPeriod(unit or PeriodUnit.DAY, plus or 0)


def _parse_record(body: Mapping[str, object], texts: Texts, problems: Problems, path: tuple[str, ...]) -> RecordEvent:
    event_type = problems.require(parse_type, body, *path, "type", message="Name the type of the event.")
    if event_type is not None:
        reason = _find_type_problem(event_type)
        if reason is not None:
            problems.add(Code.UNSUPPORTED, reason, *path, "type")
    amount = problems.read(parse_not_negative, body.get("amount"), *path, "amount")
    currency = problems.read(parse_currency, body.get("currency"), *path, "currency")
    if currency is not None and body.get("amount") is None:
        problems.add(Code.INVALID, "A currency needs an amount; give both, or none.", *path, "currency")
    return RecordEvent(
        event_type or "",
        amount=amount,
        currency=currency,
        points=problems.read(parse_decimal, body.get("points"), *path, "points"),
        metadata=_parse_templates(body, "metadata", texts, problems, path),
        category=problems.read(parse_category, body.get("category"), *path, "category") or Category.CUSTOM,
    )


def _parse_message(body: Mapping[str, object], texts: Texts, problems: Problems, path: tuple[str, ...]) -> SendMessage:
    key = problems.require(parse_text, body, *path, "channelKey", message="Name the channel by its key.")
    hours = problems.read(
        parse_integer, body.get("validForHours"), *path, "validForHours", least=1, most=MAX_VALID_HOURS
    )
    template = problems.read(parse_template, body, *path, texts=texts)
    return SendMessage(key or "", template or MessageTemplate(""), hours or DEFAULT_VALID_HOURS)


def _find_type_problem(event_type: str) -> str | None:
    """Return why a rule cannot record events of a type; None if it can."""
    if TYPES.get(event_type) is Category.FIELD_CHANGE:
        return "Events of this type change a field; use updatePass instead."
    if event_type == GIFT_SPENT:
        return "A rule cannot spend from a gift card, because nobody would see it declined; give another type."
    if event_type in RECORDED_BY:
        return f"Only the mutation {RECORDED_BY[event_type]} records this type; give another type."
    if event_type in _CORRECTING:
        return "Events of this type correct another event, which a rule cannot name; give another type."
    return None


_CORRECTING = frozenset({"checkout_update", "checkout_reject"})


def _parse_templates(
    body: Mapping[str, object], name: str, texts: Texts, problems: Problems, path: tuple[str, ...]
) -> Mapping[str, object]:
    """Return a JSON object whose texts are templates; an empty one for None."""
    parsed = problems.read(_parse_json, body.get(name), *path, name) or {}
    for template, place in iter_templates(parsed, *path, name):
        fault = texts.find_fault(template)
        if fault is not None:
            problems.add(Code.INVALID, describe_fault(fault), *place)
    return parsed


def _parse_json(raw: object, *path: str) -> dict[str, object]:
    return parse_object(raw, *path, max_bytes=MAX_EFFECT_BYTES, splits_keys=True)[0]
