"""Tiers in the walk, compared with an oracle that decides at every instant from the whole history."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import NamedTuple
from zoneinfo import ZoneInfo

from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.activities import LOYALTY_UPDATED, TIER_CHANGES, TIER_LEFT, Entry
from app.domain.definitions import Definitions
from app.domain.events.events import Event
from app.domain.passes.passes import PassTier
from app.domain.rules.rules import OnCorrection
from app.domain.segments.parsing import parse_criteria
from app.domain.segments.segments import EMIT, Version
from app.domain.tiers.programs import Downgrade, Tier, TierPeriod, TierProgramVersion
from app.domain.values.instants import DAY_MS, from_ms, parse_instant, to_ms
from app.domain.values.periods import PeriodUnit
from tests import oracle
from tests.domain.fold.test_advance import PassSimulation, new_pass, purchase_event

START = to_ms(parse_instant("2025-01-15T09:30:00Z"))
BERLIN = "Europe/Berlin"


class Level(NamedTuple):
    """Tier as the oracle sees it: what must be spent within so many days to reach and to keep it."""

    key: str
    reach: int
    reach_days: int
    keep: int | None = None
    keep_days: int = 0


class Change(NamedTuple):
    """Change of a tier: the instant, the change, the keys before and after, and the end of the period."""

    at_ms: int
    change: str
    before: str | None
    after: str | None
    until_ms: int | None


LEVELS = (Level("silver", 100, 60), Level("gold", 300, 90, keep=200, keep_days=90), Level("black", 600, 90, 500, 365))


def spent(amount: int, days: int) -> dict[str, object]:
    return {
        "event": {"types": ["purchase"], "metric": "SUM", "operator": "GTE", "value": amount, "within": {"days": days}}
    }


def program_of(
    period: TierPeriod,
    downgrade: Downgrade = Downgrade.TO_QUALIFIED,
    *,
    levels: Sequence[Level] = LEVELS,
    on_correction: OnCorrection = OnCorrection.KEEP,
    number: int = 1,
    at_ms: int = START - 1,
) -> TierProgramVersion:
    tiers = tuple(
        Tier(
            each.key,
            each.key.title(),
            parse_criteria(spent(each.reach, each.reach_days), "USD"),
            None if each.keep is None else parse_criteria(spent(each.keep, each.keep_days), "USD"),
        )
        for each in levels
    )
    return TierProgramVersion(
        number,
        number,
        from_ms(at_ms),
        tiers=tiers,
        period=period,
        downgrade=downgrade,
        on_correction=on_correction,
        timezone=BERLIN,
        notify=EMIT,
    )


def changes_of(entries: Sequence[Entry]) -> list[Change]:
    """Return the changes of tiers that the walk reported."""
    return [
        Change(
            entry.at_ms,
            str(entry.refs["change"]),
            entry.refs.get("tierBefore"),  # type: ignore[arg-type]
            entry.refs.get("tier"),  # type: ignore[arg-type]
            entry.refs.get("until"),  # type: ignore[arg-type]
        )
        for entry in entries
        if entry.type in TIER_CHANGES.values()
    ]


def naive_end(period: TierPeriod, at_ms: int, plus: int) -> int | None:
    """Return the end of a period by arithmetic with local dates; the clocks of Berlin never change at midnight."""
    zone = ZoneInfo(BERLIN)
    day = from_ms(at_ms).astimezone(zone).date()
    if period.days is not None:
        end = day + timedelta(days=period.days)
    elif period.unit is None:
        return None
    elif period.unit is PeriodUnit.DAY:
        end = day + timedelta(days=1 + plus)
    elif period.unit is PeriodUnit.WEEK:
        end = day + timedelta(days=7 - day.weekday() + 7 * plus)
    else:
        months = {PeriodUnit.MONTH: 1, PeriodUnit.QUARTER: 3, PeriodUnit.YEAR: 12}[period.unit]
        first = (day.year * 12 + day.month - 1) // months * months + months * (1 + plus)
        end = day.replace(year=first // 12, month=first % 12 + 1, day=1)
    return to_ms(datetime(end.year, end.month, end.day, tzinfo=zone))


def expected_changes(
    program: TierProgramVersion,
    events: Sequence[oracle.OracleEvent],
    end_ms: int,
    levels: Sequence[Level] = LEVELS,
) -> list[Change]:
    """Return the changes of an on-time history, deciding at each instant from all events up to it."""
    days = {each for level in levels for each in (level.reach_days, level.keep_days)}
    edges = {each.at_ms + count * DAY_MS for each in events for count in days}
    instants = sorted({*(each.at_ms for each in events), *edges})
    found: list[Change] = []
    tier: str | None = None
    until_ms: int | None = None

    def holds(level: Level, at_ms: int, *, keeps: bool) -> bool:
        amount, days = (level.reach, level.reach_days)
        if keeps and level.keep is not None:
            amount, days = level.keep, level.keep_days
        total = sum((e.amount for e in events if e.at_ms <= at_ms < e.at_ms + days * DAY_MS), Decimal(0))
        return total >= amount

    def rank(key: str | None) -> int:
        return -1 if key is None else [level.key for level in levels].index(key)

    def move(at_ms: int, change: str, after: str | None, plus: int) -> None:
        nonlocal tier, until_ms
        until_ms = None if after is None else naive_end(program.period, at_ms, plus)
        found.append(Change(at_ms, change, tier, after, until_ms))
        tier = after

    while instants:
        at_ms = instants.pop(0)
        while until_ms is not None and until_ms <= at_ms and until_ms <= end_ms:
            ended = until_ms
            if holds(levels[rank(tier)], ended - 1, keeps=True):
                move(ended, "PROLONGED", tier, 0)
            else:
                lower = [level for level in levels[: rank(tier)] if holds(level, ended - 1, keeps=True)]
                if program.downgrade is Downgrade.ONE_DOWN:
                    lower = list(levels[: rank(tier)])
                move(ended, "DOWNGRADED" if lower else "LEFT", lower[-1].key if lower else None, 0)
            instants = sorted({*instants, ended, at_ms})
            at_ms = instants.pop(0)
        if at_ms > end_ms:
            break
        reached = [level for level in levels[rank(tier) + 1 :] if holds(level, at_ms, keeps=False)]
        if reached:
            move(at_ms, "JOINED" if tier is None else "UPGRADED", reached[-1].key, program.period.plus)
        if not instants and until_ms is not None and until_ms <= end_ms:
            instants = [until_ms]
    return found


periods = st.sampled_from(
    [
        TierPeriod(),
        TierPeriod(days=30),
        TierPeriod(days=1),
        *(TierPeriod(unit=unit, plus=plus) for unit in PeriodUnit for plus in (0, 1) if unit is not PeriodUnit.DAY),
    ]
)
histories = st.lists(
    st.tuples(st.integers(1, 60 * 24), st.sampled_from([20, 60, 100, 250, 400])), min_size=1, max_size=14
)
"""Hours since the purchase before, and the amount."""


def walk(program: TierProgramVersion, events: Sequence[Event], end_ms: int, folds: Sequence[int]) -> PassSimulation:
    """Walk a pass: at each event, or at each number of events in `folds` with the rest at the end."""
    simulation = PassSimulation(Definitions([program]), new_pass(START))
    cuts = iter(folds)
    waiting = next(cuts, len(events))
    for event in events:
        simulation.pending.append(event)
        waiting -= 1
        if waiting <= 0:
            simulation.fold_until(event.occurred_ms)
            waiting = next(cuts, len(events))
    simulation.fold_until(end_ms)
    return simulation


@settings(max_examples=150, deadline=None)
@given(histories, periods, st.sampled_from(Downgrade), st.lists(st.integers(1, 4), max_size=5))
def test_tier_changes_are_those_of_the_oracle_whether_the_worker_ran_or_was_stopped(
    history: list[tuple[int, int]], period: TierPeriod, downgrade: Downgrade, folds: list[int]
) -> None:
    program = program_of(period, downgrade)
    at_ms, events = START, []
    for i, (hours, amount) in enumerate(history):
        at_ms += hours * 3_600_000
        events.append(purchase_event(i, at_ms, Decimal(amount)))
    end_ms = at_ms + 500 * DAY_MS
    expected = expected_changes(
        program, [oracle.OracleEvent(e.occurred_ms, e.amount or Decimal(0)) for e in events], end_ms
    )
    for regime in ([1] * len(events), folds, ()):
        simulation = walk(program, events, end_ms, regime)
        assert changes_of(simulation.entries) == expected
        last = expected[-1] if expected else None
        tier = simulation.card.tier
        assert (None if tier is None else (tier.key, tier.until_ms)) == (
            None if last is None or last.after is None else (last.after, last.until_ms)
        )
        updated = [entry for entry in simulation.entries if entry.type == LOYALTY_UPDATED]
        assert [entry.at_ms for entry in updated] == [change.at_ms for change in expected]


def refund(i: int, at_ms: int, amount: int, original: Event) -> Event:
    return replace(
        purchase_event(i, at_ms, Decimal(amount)),
        type="refund",
        correction_of=original.id,
        corrected_order=(original.occurred_ms, 0),
    )


def spent_net(amount: int) -> Callable[[TierProgramVersion], TierProgramVersion]:
    """Return a change of a program: its tiers are reached with what purchases come to, less refunds."""

    def change(program: TierProgramVersion) -> TierProgramVersion:
        net = {"event": {"categories": ["TRANSACTION"], "metric": "SUM", "operator": "GTE", "value": amount}}
        low = {**net, "event": {**net["event"], "value": amount // 2}}
        tiers = (Tier("low", "Low", parse_criteria(low, "USD")), Tier("high", "High", parse_criteria(net, "USD")))
        return replace(program, tiers=tiers)

    return change


def test_correction_takes_the_tier_away_at_its_instant_only_with_reverse() -> None:
    buy = purchase_event(1, START + DAY_MS, Decimal(100))
    back = refund(2, START + 2 * DAY_MS, 40, buy)
    year = TierPeriod(unit=PeriodUnit.YEAR)
    for on_correction, expected in ((OnCorrection.KEEP, "high"), (OnCorrection.REVERSE, "low")):
        program = spent_net(100)(program_of(year, on_correction=on_correction))
        simulation = walk(program, [buy, back], START + 3 * DAY_MS, [1, 1])
        assert simulation.card.tier_key == expected
    [*_, fallen, _] = simulation.entries
    assert (fallen.at_ms, fallen.cause) == (back.occurred_ms, {"kind": "EVENT", "event": back.id})
    assert fallen.refs["change"] == "DOWNGRADED"


def test_late_purchase_upgrades_at_the_instant_at_which_it_counts() -> None:
    program = program_of(TierPeriod(days=30))
    simulation = walk(program, [purchase_event(0, START + 9 * DAY_MS, Decimal(5))], START + 9 * DAY_MS, ())
    late = purchase_event(1, START + DAY_MS, Decimal(100), recorded_ms=START + 10 * DAY_MS)
    simulation.pending.append(late)
    simulation.fold_until(START + 10 * DAY_MS)
    [joined, _] = [entry for entry in simulation.entries if entry.type.startswith("customer.loyalty")]
    assert (joined.at_ms, joined.late, joined.refs["values"]) == (
        START + 10 * DAY_MS,
        True,
        (Decimal(105),),
    )


def test_segment_that_names_the_tier_follows_it_at_the_same_instant() -> None:
    named = Version(
        "seg_gold", 2, 1, criteria=parse_criteria({"pass": {"field": "tier", "value": "gold"}}, "USD"),
        timezone="UTC", archived=False, notify=EMIT, at=from_ms(START - 1),
    )  # fmt: skip
    program = program_of(TierPeriod(unit=PeriodUnit.MONTH, plus=0))
    simulation = PassSimulation(Definitions([program, named]), new_pass(START))
    simulation.pending.append(purchase_event(1, START + DAY_MS, Decimal(300)))
    simulation.fold_until(START + 300 * DAY_MS)
    changes = changes_of(simulation.entries)
    gold = [(each.at_ms, each.after == "gold") for each in changes if "gold" in (each.before, each.after)]
    kept = [each for each in gold if each[1]]
    assert simulation.transitions("seg_gold") == [kept[0], gold[-1]]
    [*_, left] = [entry for entry in simulation.entries if entry.type.endswith("segment.left")]
    assert left.cause == {"kind": "TIME"}


def test_new_program_keeps_a_tier_that_it_has_and_replaces_one_that_is_gone() -> None:
    month = TierPeriod(unit=PeriodUnit.MONTH)
    first = program_of(month)
    buy = purchase_event(1, START + DAY_MS, Decimal(300))
    later = START + 5 * DAY_MS
    simulation = walk(first, [buy], later - 1, [1])
    assert simulation.card.tier_key == "gold"
    kept = replace(program_of(month, number=2, at_ms=later), notify="SILENT")
    simulation.definitions = Definitions([first, kept])
    simulation.fold_until(later)
    assert simulation.card.tier == PassTier("gold", buy.occurred_ms, naive_end(month, buy.occurred_ms, 1))
    without_gold = [level for level in LEVELS if level.key != "gold"]
    gone = program_of(month, levels=without_gold, number=3, at_ms=later + 1)
    simulation.definitions = Definitions([first, kept, gone])
    simulation.fold_until(later + 1)
    [*_, down, _] = simulation.entries
    assert (down.refs["tierBefore"], down.refs["tier"], down.cause["kind"]) == ("gold", "silver", "DEFINITION_CHANGED")
    ended = replace(gone, revision=4, version=4, at=from_ms(later + 2), tiers=(), notify="SILENT")
    simulation.definitions = Definitions([first, kept, gone, ended])
    simulation.fold_until(later + 2)
    assert simulation.card.tier is None
    [*_, left, _] = simulation.entries
    assert (left.type, left.silent) == (TIER_LEFT, True)


def test_another_period_sets_the_end_anew_and_reports_only_that() -> None:
    first = program_of(TierPeriod())
    later = START + 5 * DAY_MS
    simulation = walk(first, [purchase_event(1, START + DAY_MS, Decimal(300))], later - 1, [1])
    assert simulation.card.next_due_ms is not None
    month = TierPeriod(unit=PeriodUnit.MONTH)
    simulation.definitions = Definitions([first, program_of(month, number=2, at_ms=later)])
    before = len(simulation.entries)
    simulation.fold_until(later)
    [updated] = simulation.entries[before:]
    assert (updated.type, updated.refs["until"]) == (LOYALTY_UPDATED, naive_end(month, later, 1))
