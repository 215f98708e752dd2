"""Random criteria of every kind, each with its answer by plain arithmetic over all events that count."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from random import Random

from app.domain.events.events import CONSENT_GIVEN, CONSENT_REVOKED, MERGE_FINISHED, PASS_UPDATED, Event
from app.domain.values.instants import DAY_MS, to_ms
from tests.local_time_oracle import (
    ZONES,
    has_anniversary,
    local_date,
    midnight_ms,
    period_number,
    streak_length,
)

FROM = to_ms(datetime(2026, 2, 10, 7, tzinfo=UTC))
WORKSPACE_ZONE = "Europe/Berlin"
COMPARE: dict[str, Callable[[Decimal, Decimal], bool]] = {
    "GTE": lambda a, b: a >= b, "GT": lambda a, b: a > b, "EQ": lambda a, b: a == b,
    "LT": lambda a, b: a < b, "LTE": lambda a, b: a <= b,
}  # fmt: skip
INTERNAL = (CONSENT_GIVEN, CONSENT_REVOKED, PASS_UPDATED, MERGE_FINISHED)
ZONE_NAMES = (*ZONES, "Mars", "")
BIRTHDAYS = ("1990-03-29", "--02-28", "2024-02-29", "2026-03-08", "1985-04-30")


@dataclass(frozen=True)
class World:
    """What plain arithmetic knows of a pass at an instant: all events that count, and the local time of the criteria."""

    events: Sequence[Event]
    at_ms: int
    zone: str
    week_start: int

    def field(self, name: str) -> object:
        """Return the value that the latest change of a field gave it."""
        found = [e for e in self.events if e.type == "field_updated" and e.field_name == name]
        return max(found, key=lambda e: (e.occurred_ms, e.id)).new_value if found else None


Answer = Callable[[World], bool]
Question = tuple[dict[str, object], Answer]
Wanted = Callable[[Event], bool]


def choose_filter(random: Random) -> tuple[dict[str, object], Wanted]:
    """Return a filter of events, and which events it wants."""
    types = random.choice((["purchase"], ["purchase"], ["purchase", "refund"], ["visit"], ["custom", "redemption"], []))
    fields: dict[str, object] = {"types": types}
    # No filter counts internal events, of consents and of merges.
    tests: list[Wanted] = [lambda e: e.type in types if types else e.type not in INTERNAL]
    if random.random() < 0.25:
        fields["sources"] = ["shop"]
        tests.append(lambda e: e.source == "shop")
    if random.random() < 0.25:
        least = random.randint(2, 7)
        fields["metadata"] = [{"path": "n", "operator": "GTE", "value": least}]
        tests.append(lambda e: isinstance(e.metadata.get("n"), int) and e.metadata["n"] >= least)  # type: ignore[operator]
    return fields, lambda e: all(test(e) for test in tests)


def signed(event: Event) -> Decimal:
    """Return the amount of an event, negative for a refund."""
    return (event.amount or Decimal(0)) * (-1 if event.type == "refund" else 1)


def earned(event: Event) -> Decimal:
    """Return the points that an event gives. No event here corrects points."""
    return max(event.points, Decimal(0))


NUMBERS: dict[str, Callable[[Event], Decimal | None]] = {
    "amount": lambda e: e.amount,
    "points": lambda e: e.points or None,
    "points.earned": lambda e: earned(e) or None,
    "points.spent": lambda e: (earned(e) - e.points) or None,
    "metadata.n": lambda e: Decimal(str(e.metadata["n"])) if "n" in e.metadata else None,
}


def measure(metric: str, field: str, events: Sequence[Event]) -> Decimal | None:
    """Return a metric of events."""
    if metric == "COUNT":
        return Decimal(len(events))
    if metric == "COUNT_DISTINCT":
        found = {e.source for e in events} if field == "source" else {
            (type(each), each) for e in events for each in e.metadata.get("tags", ())  # type: ignore[attr-defined]
        }  # fmt: skip
        return Decimal(len(found))
    if metric == "SUM" and field == "amount":
        return sum(map(signed, events), Decimal(0))
    numbers = [number for number in map(NUMBERS[field], events) if number is not None]
    if metric == "SUM":
        return sum(numbers, Decimal(0))
    if not numbers:
        return None
    return {"AVG": sum(numbers, Decimal(0)) / len(numbers), "MIN": min(numbers), "MAX": max(numbers)}[metric]


def choose_measured(random: Random) -> Question:
    """Return a criterion on a metric, of all time or of a window."""
    fields, wants = choose_filter(random)
    kind = random.choice(("all", "within", "within", "calendar", "calendar", "between"))
    metric = random.choice(("COUNT", "SUM", "AVG", "MIN", "MAX", "COUNT_DISTINCT"))
    operator = random.choice(list(COMPARE))
    field = random.choice(("source", "metadata.tags") if metric == "COUNT_DISTINCT" else tuple(NUMBERS))
    value = random.randint(1, 4) if metric in ("COUNT", "COUNT_DISTINCT") else random.choice((1, 5, 8, 20, 40))
    body: dict[str, object] = {**fields, "metric": metric, "operator": operator, "value": value}
    if metric != "COUNT":
        body["field"] = field
    with_currency = metric not in ("COUNT", "COUNT_DISTINCT") and field == "amount"
    days, unit = random.choice((1, 3, 9, 30)), random.choice(("DAY", "WEEK", "MONTH", "QUARTER", "YEAR"))
    offset = -random.randrange(4)
    start, end = FROM + random.randint(-5, 30) * DAY_MS, FROM + random.randint(31, 80) * DAY_MS
    if kind == "within":
        body["within"] = {"days": days}
    elif kind == "calendar":
        body["calendar"] = {"unit": unit, "offset": offset}
    elif kind == "between":
        body["between"] = {"from": _text(start), "to": _text(end)}

    def answer(world: World) -> bool:
        found = [e for e in world.events if wants(e) and (not with_currency or e.currency == "USD")]
        if kind == "within":
            found = [e for e in found if e.occurred_ms > world.at_ms - days * DAY_MS]
        elif kind == "calendar":
            present = period_number(unit, local_date(world.zone, world.at_ms), world.week_start) + offset
            found = [
                e for e in found
                if period_number(unit, local_date(world.zone, e.occurred_ms), world.week_start) == present
            ]  # fmt: skip
        elif kind == "between":
            found = [e for e in found if start <= e.occurred_ms < end]
        measured = measure(metric, field, found)
        return measured is not None and COMPARE[operator](measured, Decimal(value))

    return {"event": body}, answer


def _text(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms // 1000, UTC).isoformat()


def choose_days_since(random: Random) -> Question:
    """Return a criterion on the days since the first or the last event."""
    fields, wants = choose_filter(random)
    metric, operator, days = (
        random.choice(("DAYS_SINCE_LAST", "DAYS_SINCE_FIRST")), random.choice(("GTE", "LT")), random.choice((1, 7, 30)),
    )  # fmt: skip

    def answer(world: World) -> bool:
        found = [e.occurred_ms for e in world.events if wants(e)]
        if not found:
            return False
        since = max(found) if metric == "DAYS_SINCE_LAST" else min(found)
        return (world.at_ms - since >= days * DAY_MS) == (operator == "GTE")

    body = {**fields, "metric": metric, "operator": operator, "value": days, "never": "FAILS"}
    return {"event": body}, answer


def choose_streak(random: Random) -> Question:
    """Return a criterion on units in a row."""
    fields, wants = choose_filter(random)
    unit, least = random.choice((("DAY", 1), ("DAY", 2), ("DAY", 3), ("WEEK", 2), ("WEEK", 3), ("MONTH", 2)))

    def answer(world: World) -> bool:
        instants = [e.occurred_ms for e in world.events if wants(e)]
        return streak_length(world.zone, unit, instants, world.at_ms, world.week_start) >= least

    return {"event": {**fields, "consecutive": {"unit": unit, "atLeast": least}}}, answer


def choose_sequence(random: Random) -> Question:
    """Return a sequence of two to four steps."""
    chosen = [choose_filter(random) for _ in range(random.choice((2, 2, 3, 4)))]
    gaps = [None, *(random.choice((None, 1, 3, 10)) for _ in chosen[1:])]
    within = random.choice((None, 2, 9))
    steps = [
        {"event": fields, **({} if gap is None else {"withinDays": gap})}
        for (fields, _), gap in zip(chosen, gaps, strict=True)
    ]

    def answer(world: World) -> bool:
        events = sorted(world.events, key=lambda e: (e.occurred_ms, e.step, e.id))
        reached = [i for i, e in enumerate(events) if chosen[0][1](e)]
        for (_, wants), gap in zip(chosen[1:], gaps[1:], strict=True):
            reached = [
                i for i, e in enumerate(events)
                if wants(e) and any(
                    j < i and (gap is None or e.occurred_ms - events[j].occurred_ms <= gap * DAY_MS) for j in reached
                )
            ]  # fmt: skip
        return any(within is None or events[i].occurred_ms > world.at_ms - within * DAY_MS for i in reached)

    return {"sequence": {"steps": steps, **({} if within is None else {"within": {"days": within}})}}, answer


def choose_on_pass(random: Random) -> Question:
    """Return a criterion on the pass."""
    match random.choice(("anniversary", "anniversary", "relative", "consent", "balance", "level", "kind")):
        case "anniversary":
            return choose_anniversary(random)
        case "relative":
            return choose_relative(random)
        case "consent":
            return {"pass": {"field": "consent.email", "operator": "EQ", "value": True}}, has_consent
        case "balance":
            least = random.choice((1, 10, 25))
            body = {"field": "pointsBalance", "operator": "GTE", "value": least}
            return {"pass": body}, lambda world: sum(e.points for e in world.events) >= least
        case "level":
            listed = {"field": "fields.level", "operator": "IN", "value": ["a", "b"]}
            return {"pass": listed}, lambda world: world.field("level") in ("a", "b")
    return {"pass": {"field": "kind", "operator": "IN", "value": ["LOYALTY_CARD"]}}, lambda world: True


def has_consent(world: World) -> bool:
    """Return whether the latest event about the consent gave it."""
    found = [e for e in world.events if e.type in (CONSENT_GIVEN, CONSENT_REVOKED)]
    return bool(found) and max(found, key=lambda e: (e.occurred_ms, e.id)).type == CONSENT_GIVEN


def choose_anniversary(random: Random) -> Question:
    """Return a criterion on anniversaries of a birthday."""
    unit, nth, days = random.choice(("YEAR", "MONTH")), random.choice((None, None, 1, 2)), random.choice((1, 3, 20))

    def answer(world: World) -> bool:
        text = world.field("birthday")
        if text is None:
            return False
        year = None if str(text).startswith("--") else int(str(text)[:4])
        origin = (year, int(str(text)[-5:-3]), int(str(text)[-2:]))
        return has_anniversary(local_date(world.zone, world.at_ms), origin, unit, days, nth)

    body = {"field": "fields.birthday", "unit": unit, "forDays": days, **({} if nth is None else {"nth": nth})}
    return {"pass": {"anniversary": body}}, answer


def choose_relative(random: Random) -> Question:
    """Return a criterion on the time since a local date."""
    operator, days = random.choice(("WITHIN_LAST", "BEFORE", "AFTER")), random.choice((1, 20, 35))

    def answer(world: World) -> bool:
        text = world.field("birthday")
        if text is None or str(text).startswith("--"):
            return False
        since = world.at_ms - midnight_ms(world.zone, date.fromisoformat(str(text)))
        is_before = since >= days * DAY_MS
        return is_before if operator == "BEFORE" else not is_before and (operator == "AFTER" or since >= 0)

    return {"pass": {"field": "fields.birthday", "operator": operator, "value": {"days": days}}}, answer


LEAVES = (
    choose_measured, choose_measured, choose_measured, choose_days_since, choose_streak, choose_streak,
    choose_sequence, choose_sequence, choose_on_pass,
)  # fmt: skip


def choose_question(random: Random, depth: int = 2) -> Question:
    """Return criteria, and their answer."""
    kind = random.choice(("leaf", "leaf", "leaf", "all", "any", "not")) if depth else "leaf"
    if kind == "leaf":
        return random.choice(LEAVES)(random)
    if kind == "not":
        criteria, answer = choose_question(random, depth - 1)
        return {"not": criteria}, lambda world: not answer(world)
    parts = [choose_question(random, depth - 1) for _ in range(2)]
    decide = all if kind == "all" else any
    return {kind: [criteria for criteria, _ in parts]}, lambda world: decide(answer(world) for _, answer in parts)
