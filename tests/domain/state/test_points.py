"""Points, compared with an oracle that keeps every grant in one list: order and grouping of events do not matter.

This file tests the pure part of A1-11 and A1-12: only the end of points changes, and only by an event of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.activities import POINTS_EXPIRED
from app.domain.errors import Code, Refused
from app.domain.events.events import PASS_UPDATED, Category, Event, EventInput, Origin
from app.domain.events.ordering import complete_orders
from app.domain.events.points_expiry import PointsExpiry
from app.domain.events.validation import ValidationRules, fingerprint, validate_event
from app.domain.state.accounts import rebuild_account
from app.domain.state.aggregates import fold_events
from app.domain.state.lots import ExpiredLot, Lot, find_expiries
from app.domain.state.points import PointsAccount, moves_expiry
from app.domain.state.points_in_order import needs_history
from app.domain.values.instants import DAY_MS, from_ms
from tests.domain.fold.test_advance import PassSimulation, definitions_of, new_pass
from tests.oracle import OraclePoints, PointsState, points_until

START = 20_000 * DAY_MS


RICH = definitions_of(
    {"pass": {"field": "pointsBalance", "operator": "GTE", "value": 10}}, at_ms=START - 1, notify="EMIT"
)


def event(
    name: str, day: int, points: int | str = 0, end: PointsExpiry | None = None, corrects: str | None = None,
    kind: str = "visit",
) -> Event:  # fmt: skip
    at = from_ms(START + day * DAY_MS)
    return Event(
        name,
        "pass_1",
        Category.ACTIVITY,
        type=kind,
        amount=None,
        currency=None,
        points=Decimal(points),
        source="api",
        external_id=None,
        metadata={},
        occurred_at=at,
        recorded_at=at,
        origin=Origin("API"),
        correction_of=corrects,
        points_expiry=end,
    )


def on(day: int) -> PointsExpiry:
    return PointsExpiry(at_ms=START + day * DAY_MS)


def idle(days: int) -> PointsExpiry:
    return PointsExpiry(after_days=days)


def expected_until(events: Iterable[Event], day: int) -> PointsState:
    """Return the result of the oracle at the beginning of a day."""
    seen = [
        OraclePoints(
            each.id,
            each.occurred_ms,
            each.points,
            ends_at_ms=None if each.points_expiry is None else each.points_expiry.at_ms,
            idle_days=None if each.points_expiry is None else each.points_expiry.after_days,
            corrects=each.correction_of,
            is_activity=each.type != PASS_UPDATED,
        )
        for each in events
    ]
    return points_until(seen, START + day * DAY_MS)


def balance_and_lots(account: PointsAccount) -> tuple[Decimal, dict[str, Decimal]]:
    return account.balance, {name: lot.remaining for name, lot in (account.lots or {}).items()}


def expiries_of(lots: Iterable[ExpiredLot]) -> list[tuple[str, Decimal, int]]:
    return [(lot.event_id, lot.points, lot.at_ms) for lot in lots]


@st.composite
def histories(draw: st.DrawFn) -> list[Event]:
    found: list[Event] = []
    for i in range(draw(st.integers(0, 14))):
        name, day = f"e{draw(st.integers(0, 99)):02}_{i}", draw(st.integers(0, 30))
        kind = draw(st.sampled_from(["earn", "earn", "lot", "lot", "lot", "spend", "spend", "visit", "moved", "own"]))
        ends = on(day + draw(st.integers(0, 15))) if draw(st.booleans()) else idle(draw(st.integers(1, 9)))
        points = draw(st.sampled_from(["1", "10", "2.50", "0.000001", "40"]))
        match kind:
            case "earn":
                found.append(event(name, day, points))
            case "lot":
                found.append(event(name, day, points, ends))
            case "spend":
                found.append(event(name, day, f"-{points}"))
            case "visit":
                found.append(event(name, day))
            case "own":
                found.append(event(name, day, kind=PASS_UPDATED))
            case _:
                # A correction may be dated at, before or after what it corrects, and its id may sort first.
                if not found:
                    continue
                target = draw(st.sampled_from(found))
                moved = on(draw(st.integers(0, 45))) if draw(st.booleans()) else idle(draw(st.integers(1, 9)))
                given = draw(st.sampled_from(["0", "0", points, f"-{points}"]))
                end = moved if given == "0" else None
                found.append(replace(event(name, day, given, end, target.id), root=target.family))
    return found


def without_early_corrections(events: Sequence[Event]) -> list[Event]:
    """Return the events without corrections that are dated before their original, and their own corrections."""
    kept: dict[str, Event] = {}
    for each in events:
        original = next((e for e in events if e.id == each.correction_of), None)
        if original is None or (original.id in kept and original.occurred_ms <= each.occurred_ms):
            kept[each.id] = each
    return complete_orders(kept.values())


@settings(max_examples=150, deadline=None)
@given(histories(), st.integers(30, 60))
def test_balance_lots_and_expiries_equal_the_oracle_at_any_instant(events: list[Event], until: int) -> None:
    account, expired = rebuild_account([*events, *events[:3]], START + until * DAY_MS)
    expected = expected_until(events, until)
    assert balance_and_lots(account) == (expected.balance, expected.left)
    assert expiries_of(expired) == expected.expired
    assert account.balance >= sum(expected.left.values(), Decimal(0)) or not expected.left


@settings(max_examples=100, deadline=None)
@given(histories().map(complete_orders), st.data())
def test_any_order_and_any_split_of_events_gives_the_rebuilt_account(events: list[Event], data: st.DataObject) -> None:
    """A1-12: grants, spending and corrections come early or late, in parts, and as history or not."""
    simulation = PassSimulation(RICH, new_pass(START))
    # A correction is recorded after its original.
    drawn, remaining = data.draw(st.permutations(events)), list[Event]()
    while drawn:
        ready = next(e for e in drawn if e.correction_of not in {each.id for each in drawn})
        drawn.remove(ready)
        remaining.append(ready)
    day = 0
    while remaining:
        batch, remaining = remaining[: (size := data.draw(st.integers(1, 5)))], remaining[size:]
        day = max([day, *((e.occurred_ms - START) // DAY_MS for e in batch)]) + data.draw(st.integers(0, 3))
        recorded_at, historical = from_ms(START + day * DAY_MS), data.draw(st.booleans())
        simulation.pending += [replace(e, recorded_at=recorded_at, historical=historical) for e in batch]
        simulation.fold_until(START + day * DAY_MS, data.draw(st.none() | st.integers(1, 3)))
    simulation.fold_until(START + 90 * DAY_MS)
    account, _ = rebuild_account(events, START + 90 * DAY_MS)
    assert (simulation.card.points, simulation.card.lots) == (account.balance, account.lots)
    assert ("seg_0" in simulation.card.memberships) == (account.balance >= 10)


@settings(max_examples=60, deadline=None)
@given(histories().map(without_early_corrections), st.booleans())
def test_expiries_and_transitions_have_exact_instants_when_no_event_is_late(events: list[Event], at_once: bool) -> None:
    """The worker may be down for any time. The walk reads no history, unless an end is moved."""
    simulation = PassSimulation(RICH, new_pass(START))
    for day in range(31):
        due = [e for e in events if e.occurred_ms == START + day * DAY_MS]
        # A correction of an event that the generator does not know may follow a later event.
        reads = [e for e in due if moves_expiry(e) or (e.correction_of is not None and e.corrected_order is None)]
        assert reads or not needs_history(simulation.card.lots, {}, due, simulation.card.evaluated_until_ms)
        simulation.pending += due
        if not at_once:
            simulation.fold_until(START + day * DAY_MS)
    simulation.fold_until(START + 90 * DAY_MS)
    published = [(e.refs["event"], e.refs["points"], e.at_ms) for e in simulation.entries if e.type == POINTS_EXPIRED]
    assert published == expected_until(events, 90).expired
    rich = [expected_until(events, day).balance >= 10 for day in range(91)]
    days = [day for day in range(91) if rich[day] != (day > 0 and rich[day - 1])]
    assert simulation.transitions("seg_0") == [(START + day * DAY_MS, rich[day]) for day in days]


def state_on(events: Sequence[Event], day: int) -> object:
    return balance_and_lots(rebuild_account(events, START + day * DAY_MS)[0])


def test_points_that_expire_soonest_are_spent_first_then_older_then_endless_ones() -> None:
    """A1-11: an event with negative points spends."""
    earned = [
        event("kept", 0, 5), event("late", 1, 10, on(20)), event("soon", 2, 10, on(10)), event("idle", 3, 10, idle(5)),
        event("twin", 4, 10, on(10)),
    ]  # fmt: skip
    assert state_on([*earned, event("x1", 5, -15)], 5) == (30, {"idle": 5, "twin": 10, "late": 10})
    assert state_on([*earned, event("x1", 5, -15), event("x2", 6, -8)], 6) == (22, {"idle": 5, "twin": 2, "late": 10})
    assert state_on([*earned, event("x1", 5, -42)], 5) == (3, {})
    assert state_on([*earned, event("x1", 5, -42), event("x2", 6, -10), event("y", 7, 12, on(30))], 8) == (5, {"y": 5})


def test_points_expire_exactly_at_their_end() -> None:
    lot = [event("lot", 0, 10, on(10))]
    assert [rebuild_account(lot, START + 10 * DAY_MS + ms)[0].balance for ms in (-1, 0)] == [10, 0]
    rolling = [event("lot", 0, 10, idle(10)), event("own", 5, kind=PASS_UPDATED)]
    assert [rebuild_account(rolling, START + 10 * DAY_MS + ms)[0].balance for ms in (-1, 0)] == [10, 0]
    assert state_on([*rolling, event("visit", 9)], 18) == (10, {"lot": 10})
    assert state_on([*rolling, event("visit", 10)], 18) == (0, {})
    assert state_on([event("over", 5, 10, on(5))], 5) == (0, {})


def test_end_of_points_is_moved_by_an_event_while_points_are_left() -> None:
    """A1-12: the end is a new date, or follows the last action. The grant itself is immutable."""
    lot = event("lot", 0, 10, on(10))
    assert state_on([lot, event("moved", 5, 0, on(20), "lot")], 15) == (10, {"lot": 10})
    assert state_on([lot, event("moved", 10, 0, on(20), "lot")], 15) == (0, {})
    assert state_on([lot, event("at once", 5, 0, on(1), "lot")], 5) == (0, {})
    assert state_on([lot, event("moved", 5, 0, idle(30), "lot"), event("visit", 9)], 38) == (10, {"lot": 10})
    endless = [event("kept", 0, 10), event("other", 1, 10), event("spent", 2, -4)]
    moved, _ = rebuild_account([*endless, event("moved", 3, 0, on(9), "kept")], START + 3 * DAY_MS)
    assert (moved.balance, moved.lots) == (Decimal(16), {"kept": Lot(Decimal(6), START, on(9))})
    assert state_on([*endless, event("moved", 3, 0, on(9), "kept")], 9) == (10, {})


def test_walk_of_a_slow_worker_counts_a_grant_twice_without_an_error() -> None:
    """Another worker counted the grant meanwhile, so the history has it, too. The result of the walk is rejected."""
    grant, spent = event("grant", 5, 10, on(9)), event("spent", 7, -10)
    account, _ = rebuild_account([grant], START + 5 * DAY_MS)
    for each in (grant, spent):
        account.count(each)
    assert account.expire_lots(START + 20 * DAY_MS) == []
    assert account.lots == {}


def test_coming_expiries_are_summed_by_instant() -> None:
    events = [event("a", 0, 5, on(9)), event("b", 1, "2.5", on(9)), event("c", 2, 7, idle(4)), event("d", 2, 1)]
    account, _ = rebuild_account(events, START + 3 * DAY_MS)
    expiries = find_expiries(account.lots, fold_events({}, events))
    assert expiries == [(START + 6 * DAY_MS, 7), (START + 9 * DAY_MS, Decimal("7.5"))]
    assert find_expiries(None, {}) == []


RULES = ValidationRules(from_ms(START), "USD")


@pytest.mark.parametrize(
    ("sent", "path", "code"),
    [
        ({"points_expire_at": "2030-01-01T00:00:00Z"}, "pointsExpireAt", Code.INVALID),
        ({"points": -5, "points_expire_after_days": 5}, "pointsExpireAfterDays", Code.INVALID),
        (
            {"points": -5, "points_expire_at": "2030-01-01T00:00:00Z", "correction_of": "e"},
            "pointsExpireAt", Code.INVALID,
        ),
        ({"points": 5, "points_expire_at": "soon"}, "pointsExpireAt", Code.INVALID),
        ({"points": "lots", "points_expire_after_days": 5}, "points", Code.INVALID),
        ({"points": 5, "points_expire_after_days": 0}, "pointsExpireAfterDays", Code.OUT_OF_RANGE),
        ({"points": 5, "points_expire_after_days": 3651}, "pointsExpireAfterDays", Code.OUT_OF_RANGE),
        ({"points": 5, "points_expire_after_days": "many"}, "pointsExpireAfterDays", Code.INVALID),
        ({"points": 5, "points_expire_after_days": True}, "pointsExpireAfterDays", Code.INVALID),
        (
            {"points": 5, "points_expire_after_days": 5, "points_expire_at": "2030-01-01T00:00:00Z"},
            "pointsExpireAfterDays", Code.INVALID,
        ),
        (
            {"points": 5, "points_expire_at": "2020-01-01T00:00:00Z", "occurred_at": "2020-01-01T00:00:00Z"},
            "pointsExpireAt", Code.OUT_OF_RANGE,
        ),
    ],
)  # fmt: skip
def test_invalid_end_of_points_is_rejected_with_its_path(sent: dict[str, object], path: str, code: Code) -> None:
    with pytest.raises(Refused) as refused:
        validate_event(EventInput("custom", pass_id="p", **sent), RULES)
    assert [(p.field, p.code) for p in refused.value.problems] == [((path,), code)]


def test_end_of_points_belongs_to_the_fingerprint_and_leaves_older_ones_unchanged() -> None:
    def fingerprint_of(**sent: object) -> str:
        return fingerprint(b"key", validate_event(EventInput("custom", pass_id="p", **sent), RULES), "p").hex()

    assert fingerprint_of(points=5, external_id="1") == "3cff36d2e5674c4029bac4a2205d5744"
    spelt = [fingerprint_of(points=5, points_expire_at=f"2030-01-01T0{h}:00:00+0{h}:00") for h in (0, 1)]
    days = [fingerprint_of(points=5, points_expire_after_days=n) for n in (5, "5")]
    assert len({fingerprint_of(points=5), *spelt, *days, fingerprint_of(points=5, points_expire_after_days=6)}) == 4
