"""Calendar windows and streaks in five zones over two years, DST days included, against plain `zoneinfo` arithmetic.

WH1-11: a criterion covers a calendar month, to the millisecond. WH2-29: weeks begin on the day that the workspace says.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from random import Random

import pytest

from app.domain.activities import ENTERED, LEFT
from app.domain.definitions import Definitions
from app.domain.events.events import Category, Event
from app.domain.passes.passes import Profile
from app.domain.segments.criteria import EventCriterion
from app.domain.segments.parsing import parse_criteria
from app.domain.segments.segments import Version
from app.domain.segments.workspace_versions import WorkspaceVersion
from app.domain.state.measures import build_measure
from app.domain.values.instants import DAY_MS, HOUR_MS, from_ms, to_ms
from tests.local_time_oracle import (
    ZONES,
    Sale,
    has_anniversary,
    local_date,
    measure_in_windows,
    midnight_ms,
    midnights,
    streak_length,
)

from .criteria_programs import COMPARE
from .rule_walks import removal
from .test_advance import PassSimulation, count_criteria, definitions_of, new_pass, purchase_event

FROM = to_ms(datetime(2025, 1, 15, 12, tzinfo=UTC))
TO = to_ms(datetime(2027, 1, 15, 12, tzinfo=UTC))
SATURDAY = 5
Question = tuple[dict[str, object], Callable[[str, Sequence[Sale], Sequence[int]], list[bool]]]
"""A criterion, and its answers by the oracle at instants."""
SOURCES = ("api", "shop", "web", "till")


def window(unit: str, offset: int, value: int, metric: str = "COUNT", operator: str = "GTE") -> Question:
    """Return a criterion on a calendar window, and its answers."""
    criteria = count_criteria(value, operator, metric=metric, calendar={"unit": unit, "offset": offset})
    if metric == "COUNT_DISTINCT":
        criteria = count_criteria(
            value, operator, metric=metric, calendar={"unit": unit, "offset": offset}, field="source"
        )

    def answers(zone: str, sales: Sequence[Sale], instants: Sequence[int]) -> list[bool]:
        measured = measure_in_windows(
            zone, unit, offset, metric=metric, sales=sales, instants=instants, week_start=SATURDAY
        )
        return [found is not None and COMPARE[operator](found, Decimal(value)) for found in measured]

    return criteria, answers


def streak(unit: str, at_least: int) -> Question:
    """Return a criterion on a streak, and its answers."""
    criteria: dict[str, object] = {"event": {"types": ["purchase"], "consecutive": {"unit": unit, "atLeast": at_least}}}

    def answers(zone: str, sales: Sequence[Sale], instants: Sequence[int]) -> list[bool]:
        bought = [sale.at_ms for sale in sales]
        return [streak_length(zone, unit, bought, at_ms, SATURDAY) >= at_least for at_ms in instants]

    return criteria, answers


QUESTIONS: tuple[Question, ...] = (
    window("DAY", 0, 1), window("DAY", -1, 1), window("DAY", -12, 1), window("WEEK", 0, 2), window("WEEK", -1, 2),
    window("MONTH", 0, 3), window("MONTH", -1, 3), window("MONTH", -3, 4), window("QUARTER", 0, 9),
    window("QUARTER", -1, 9), window("YEAR", 0, 25), window("YEAR", -1, 25),
    window("DAY", 0, 5, "AVG", "LT"), window("WEEK", -1, 5, "AVG"), window("MONTH", -12, 5, "AVG", "GT"),
    window("DAY", -1, 2, "MIN", "LTE"), window("MONTH", 0, 3, "MIN"), window("QUARTER", -2, 1, "MIN", "EQ"),
    window("DAY", -12, 8, "MAX"), window("WEEK", 0, 9, "MAX", "LT"), window("YEAR", -1, 9, "MAX"),
    window("DAY", 0, 2, "COUNT_DISTINCT"), window("MONTH", -1, 3, "COUNT_DISTINCT", "LTE"),
    window("QUARTER", 0, 4, "COUNT_DISTINCT", "EQ"), window("WEEK", -3, 20, "SUM"), window("MONTH", -2, 60, "SUM", "LT"),
    streak("DAY", 1), streak("DAY", 3), streak("WEEK", 2), streak("WEEK", 4), streak("MONTH", 2), streak("MONTH", 6),
)  # fmt: skip


def definitions_in(zone: str) -> Definitions:
    """Return a segment for each question, in a workspace whose weeks begin on Saturday."""
    at = from_ms(FROM - 1)
    settings = WorkspaceVersion(1, 1, at, timezone=zone, week_start=SATURDAY, tzdata="")
    segments = (
        Version(
            f"seg_{index}", index + 2, 1, criteria=parse_criteria(criteria, "USD"), timezone="UTC", archived=False,
            notify="SILENT", at=at, inherits_zone=True,
        )
        for index, (criteria, _) in enumerate(QUESTIONS)
    )  # fmt: skip
    return Definitions([settings, *segments])


def buy(i: int, at_ms: int, recorded_ms: int | None = None) -> Event:
    """Return a purchase whose amount and source follow from its number. Every eighth one has no amount."""
    event = purchase_event(i, at_ms, Decimal(i * 7 % 9 + 1), recorded_ms=recorded_ms)
    event = replace(event, source=SOURCES[i * 5 % 7 % 4])
    return replace(event, amount=None, currency=None) if i % 8 == 3 else event


def sales_of(events: Sequence[Event]) -> list[Sale]:
    """Return the purchases as the oracle knows them."""
    return [Sale(each.occurred_ms, each.amount, each.source) for each in events if each.type == "purchase"]


def draw_events(zone: str, random: Random) -> list[int]:
    """Return instants of events: at any time, in bursts, and within an hour of local midnights."""
    edges = list(midnights(zone, FROM, TO))
    events = [random.randrange(FROM, TO) for _ in range(20)]
    for _ in range(6):
        start = random.randrange(len(edges) - 40)
        events += [at + random.randrange(DAY_MS) for at in edges[start : start + random.randrange(2, 30)]]
    events += [random.choice(edges) + random.choice((-HOUR_MS, -1, 0, 1, HOUR_MS)) for _ in range(20)]
    return sorted({at for at in events if FROM < at < TO})


@pytest.mark.parametrize("zone", ZONES)
def test_memberships_by_calendar_change_at_the_instants_of_the_oracle(zone: str) -> None:
    events = draw_events(zone, Random(zone))
    simulation = PassSimulation(definitions_in(zone), new_pass(FROM))
    for i, at_ms in enumerate(events):
        simulation.pending.append(buy(i, at_ms))
        if i % 7 == 0:
            simulation.fold(at_ms)
    simulation.fold(TO)
    instants = sorted({FROM, *events, *midnights(zone, FROM, TO)})
    for index, (criteria, answers) in enumerate(QUESTIONS):
        found = answers(zone, sales_of(simulation.counted), instants)
        expected = _changes(list(zip(instants, found, strict=True)))
        assert expected, criteria
        assert simulation.transitions(f"seg_{index}") == expected, criteria


@pytest.mark.parametrize("zone", ZONES)
def test_late_and_removed_events_count_in_their_period(zone: str) -> None:
    random = Random(f"late {zone}")
    simulation = PassSimulation(definitions_in(zone), new_pass(FROM))
    events = [
        (at_ms, at_ms + random.choice((0, 0, HOUR_MS, 3 * DAY_MS, 40 * DAY_MS))) for at_ms in draw_events(zone, random)
    ]
    recorded = sorted((recorded_ms, at_ms, i) for i, (at_ms, recorded_ms) in enumerate(events) if recorded_ms < TO)
    for recorded_ms, at_ms, i in recorded:
        simulation.pending.append(buy(i, at_ms, recorded_ms))
        is_removal = bool(simulation.counted) and random.random() < 0.1
        if is_removal:
            target = random.choice(simulation.counted)
            simulation.pending.append(removal(target, recorded_ms))
        simulation.fold(recorded_ms)
        if is_removal or i % 4 == 0:
            _check(simulation, zone, recorded_ms)
    simulation.fold(TO)
    _check(simulation, zone, TO)


def _check(simulation: PassSimulation, zone: str, at_ms: int) -> None:
    """Compare the memberships with the oracle, and the measures with those built anew."""
    card, sales = simulation.card, sales_of(simulation.counted)
    assert not simulation.pending
    members = {f"seg_{index}" for index, (_, answers) in enumerate(QUESTIONS) if answers(zone, sales, [at_ms])[0]}
    assert card.memberships.keys() == members
    active = simulation.definitions.active_for(card.revision, card.profile)
    assert card.measures.keys() <= active.measure_keys
    for measure in active.measures:
        assert card.measures.get(measure.key) == build_measure(measure, simulation.counted, card.evaluated_until_ms)


FIELDS: dict[str, object] = {
    "birthday": "1990-05-03", "leap": "2000-02-29", "any_leap": "--02-29", "end": "2024-12-31", "future": "2026-04-30",
    "at": "2024-08-31T22:30:00Z", "wrong": "yesterday", "two": ["--03-30", "1999-11-01"],
}  # fmt: skip
ORIGINS: dict[str, list[tuple[int | None, int, int]]] = {
    "birthday": [(1990, 5, 3)], "leap": [(2000, 2, 29)], "any_leap": [(None, 2, 29)], "end": [(2024, 12, 31)],
    "future": [(2026, 4, 30)], "wrong": [], "two": [(None, 3, 30), (1999, 11, 1)],
}  # fmt: skip
ANNIVERSARIES = [
    (name, unit, nth, for_days)
    for name in (*ORIGINS, "at")
    for unit, nth, for_days in (
        ("YEAR", None, 1),
        ("YEAR", 2, 7),
        ("MONTH", None, 3),
        ("MONTH", 4, 1),
        ("MONTH", None, 27),
    )
]
RELATIVE: list[tuple[str, str, int, Callable[[int, int], bool]]] = [
    ("createdAt", "WITHIN_LAST", 30, lambda value, now: now - 30 * DAY_MS < value <= now),
    ("createdAt", "BEFORE", 90, lambda value, now: value <= now - 90 * DAY_MS),
    ("createdAt", "AFTER", 5, lambda value, now: value > now - 5 * DAY_MS),
    ("fields.future", "BEFORE", -7, lambda value, now: value <= now + 7 * DAY_MS),
    ("fields.future", "WITHIN_LAST", 3, lambda value, now: now - 3 * DAY_MS < value <= now),
]


@pytest.mark.parametrize("zone", ZONES)
def test_anniversaries_and_relative_instants_change_at_the_instants_of_the_oracle(zone: str) -> None:
    """WH1-15: birthdays, 29 February and the 31st included, and dates that lie ahead."""
    at = from_ms(FROM - 1)
    trees: list[dict[str, object]] = [
        {"pass": {"anniversary": {"field": f"fields.{name}", "unit": unit, "nth": nth, "forDays": for_days}}}
        for name, unit, nth, for_days in ANNIVERSARIES
    ]
    trees += [
        {"pass": {"field": field, "operator": operator, "value": {"days": days}}}
        for field, operator, days, _ in RELATIVE
    ]
    definitions = Definitions(
        Version(
            f"seg_{index}", index + 1, 1, criteria=parse_criteria(tree, "USD"), timezone=zone, archived=False,
            notify="SILENT", at=at,
        )
        for index, tree in enumerate(trees)
    )  # fmt: skip
    profile = Profile(fields=FIELDS)
    simulation = PassSimulation(definitions, replace(new_pass(FROM), profile=profile, initial_profile=profile))
    simulation.fold_until(TO)

    at_day = local_date(zone, to_ms(datetime(2024, 8, 31, 22, 30, tzinfo=UTC)))
    origins: dict[str, list[tuple[int | None, int, int]]] = {**ORIGINS, "at": [(at_day.year, at_day.month, at_day.day)]}
    days = sorted({FROM, *midnights(zone, FROM, TO)})
    for index, (name, unit, nth, for_days) in enumerate(ANNIVERSARIES):
        answers = [
            (at_ms, any(has_anniversary(local_date(zone, at_ms), each, unit, for_days, nth) for each in origins[name]))
            for at_ms in days
        ]
        assert simulation.transitions(f"seg_{index}") == _changes(answers), trees[index]
    moments = {"createdAt": FROM, "fields.future": midnight_ms(zone, date(2026, 4, 30))}
    for index, (field, _, count, holds) in enumerate(RELATIVE, len(ANNIVERSARIES)):
        edges = sorted({FROM, moments[field], moments[field] + count * DAY_MS})
        answers = [(at_ms, holds(moments[field], at_ms)) for at_ms in edges if FROM <= at_ms <= TO]
        assert simulation.transitions(f"seg_{index}") == _changes(answers), trees[index]


def _changes(answers: Sequence[tuple[int, bool]]) -> list[tuple[int, bool]]:
    """Return the instants at which the answer changes, from no on."""
    before = [False, *(answer for _, answer in answers)]
    return [(at_ms, answer) for (at_ms, answer), last in zip(answers, before, strict=False) if answer != last]


def test_change_of_the_zone_of_a_workspace_moves_passes_at_its_instant() -> None:
    """Definitions that inherit the zone follow it. Their measures are built anew from the history."""
    simulation = PassSimulation(definitions_in("Europe/Berlin"), new_pass(FROM))
    # 23:30 on 31 January in Berlin is 17:30 in New York, and 04:00 on 1 February in Kolkata.
    at_ms = to_ms(datetime(2025, 1, 31, 22, 30, tzinfo=UTC))
    simulation.pending += [purchase_event(i, at_ms + i) for i in range(3)]
    now_ms = to_ms(datetime(2025, 2, 10, tzinfo=UTC))
    simulation.fold(now_ms)
    this_month, last_month = (
        f"seg_{[criteria for criteria, _ in QUESTIONS].index(window('MONTH', offset, 3)[0])}" for offset in (0, -1)
    )
    assert last_month in simulation.card.memberships
    assert this_month not in simulation.card.memberships
    last = simulation.definitions.revision
    settings = WorkspaceVersion(last + 1, 2, from_ms(now_ms + 5), timezone="Asia/Kolkata", week_start=0, tzdata="")
    simulation.definitions = simulation.definitions.extended([settings])
    simulation.fold(now_ms + 10)
    assert this_month in simulation.card.memberships
    assert last_month not in simulation.card.memberships
    [entered] = [e for e in simulation.entries if e.refs.get("segment") == this_month and e.at_ms == now_ms + 5]
    assert (entered.type, entered.silent, entered.cause["kind"]) == (ENTERED, True, "DEFINITION_CHANGED")
    newer = replace(settings, revision=last + 2, version=3, at=from_ms(now_ms + 20), tzdata="2099.1")
    simulation.definitions = simulation.definitions.extended([newer])
    simulation.fold(now_ms + 30)
    assert this_month in simulation.card.memberships
    for measure in simulation.definitions.active(simulation.card.revision).measures:
        built = build_measure(measure, simulation.counted, simulation.card.evaluated_until_ms)
        assert simulation.card.measures.get(measure.key) == built


def test_pass_follows_the_zone_that_its_field_names() -> None:
    """The measures are built anew when the field changes. A text that is no zone falls back to that of the workspace."""
    random = Random("zones of a pass")
    plain = definitions_in("Europe/Berlin")
    definitions = Definitions(
        replace(each, zone_field="fields.timezone") if isinstance(each, Version) else each for each in plain.versions
    )
    simulation = PassSimulation(definitions, new_pass(FROM))
    changes = sorted(random.sample(range(FROM, TO, HOUR_MS), 12))
    names = ["Asia/Kolkata", "America/New_York", "Mars", "", "Australia/Lord_Howe", "Africa/Casablanca"] * 2
    zones = dict(zip(changes, names, strict=True))
    events = draw_events("Europe/Berlin", random)
    zone = "Europe/Berlin"
    for i, at_ms in enumerate(sorted({*events, *changes})):
        event = buy(i, at_ms)
        if at_ms in zones:
            zone = zones[at_ms] if zones[at_ms] in ZONES else "Europe/Berlin"
            event = replace(
                event, type="field_updated", category=Category.FIELD_CHANGE, field_name="timezone",
                new_value=zones[at_ms], amount=None, currency=None,
            )  # fmt: skip
        simulation.pending.append(event)
        if i % 5 == 0 or at_ms in zones:
            simulation.fold_until(at_ms)
            _check(simulation, zone, at_ms)
    simulation.fold_until(TO)
    _check(simulation, zone, TO)


@pytest.mark.parametrize("historical", [False, True])
def test_event_that_moves_a_pass_to_another_zone_is_the_cause_of_what_changes_by_it(historical: bool) -> None:
    """And not time alone: rules are asked about what time changes, and not about what an import changes."""
    criteria = (count_criteria(1, operator, calendar={"unit": "DAY", "offset": 0}) for operator in ("GTE", "LT"))
    definitions = Definitions(
        replace(version, zone_field="fields.timezone")
        for version in definitions_of(*criteria, at_ms=FROM - 1).versions
        if isinstance(version, Version)
    )
    simulation = PassSimulation(definitions, new_pass(FROM))
    bought = purchase_event(1, FROM + HOUR_MS)
    # 12:00 UTC is 21:00 in Tokyo, and 16:00 UTC is 01:00 on the next day there.
    moved = replace(
        purchase_event(2, FROM + 4 * HOUR_MS, historical=historical), type="field_updated",
        category=Category.FIELD_CHANGE, field_name="timezone", new_value="Asia/Tokyo", amount=None, currency=None,
    )  # fmt: skip
    for event in (bought, moved):
        simulation.pending.append(event)
        simulation.fold_until(event.recorded_ms)
    found = [
        (e.type, e.refs["segment"], e.cause, e.refs["before"], e.refs["after"], e.historical)
        for e in simulation.entries
        if e.at_ms == FROM + 4 * HOUR_MS and "segment" in e.refs
    ]
    cause = {"kind": "EVENT", "event": moved.id}
    assert found == [
        (LEFT, "seg_0", cause, (1,), (0,), historical),
        (ENTERED, "seg_1", cause, (1,), (0,), historical),
    ]


def test_definition_with_a_zone_of_its_own_keeps_it() -> None:
    definitions = definitions_in("Europe/Berlin")
    inheriting = definitions.versions[1]
    assert isinstance(inheriting, Version)
    own = replace(inheriting, timezone="Asia/Tokyo", inherits_zone=False)
    [leaf] = Definitions([definitions.versions[0], own]).latest_active.event_criteria
    assert isinstance(leaf, EventCriterion)
    assert leaf.periods is not None
    assert leaf.periods.local.zone == "Asia/Tokyo"
