"""A walk with removals ends where a walk over what is left ends."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.activities import DELETED, LEFT, UPDATED
from app.domain.events.events import EVENT_REMOVED, PASS_ERASED, Category, Event, Origin
from app.domain.events.points_expiry import PointsExpiry
from app.domain.events.tombstones import target_of, targets_of, tombstone_id
from app.domain.fold.advance import advance
from app.domain.passes.passes import Profile
from app.domain.segments.criteria import leaves
from app.domain.segments.evaluation import EvaluationContext, joined_ms, measured_value
from app.domain.values.instants import DAY_MS
from tests.domain.fold.test_advance import CRITERIA, START, World, count, defined, purchase, since

DEFINED = defined(
    *CRITERIA,
    {"event": {"types": ["purchase"], "metric": "SUM", "field": "points", "operator": "GTE", "value": 20}},
    {"pass": {"field": "pointsBalance", "operator": "GTE", "value": 15}},
    {"pass": {"field": "fields.level", "operator": "GTE", "value": 2}},
    since(20, metric="DAYS_SINCE_FIRST"),
)


def tombstone(target: str | None, at_ms: int) -> Event:
    kind = PASS_ERASED if target is None else EVENT_REMOVED
    made = purchase(0, at_ms)
    return replace(made, id=tombstone_id(target or "pass_1"), type=kind, amount=None, currency=None, removes=target)


class Removing(World):
    """A world in which tombstones are folded too: what they removed is gone once they are marked."""

    def fold(self, now_ms: int, limit: int | None = None) -> None:
        super().fold(now_ms, limit)
        gone = targets_of(e.id for e in self.counted)
        self.counted = [e for e in self.counted if e.id not in gone and target_of(e.id) is None]
        self.pending = [e for e in self.pending if e.id not in gone]


def an_event(i: int, kind: str, at_ms: int, recorded_ms: int, amount: int) -> Event:
    made = purchase(i, at_ms, Decimal(amount), recorded_ms, historical=kind == "import")
    match kind:
        case "refund":
            return replace(made, type="refund", amount=Decimal(amount) / 3, correction_of=f"event_{i - 1:05}")
        case "points":
            return replace(made, points=Decimal(amount), points_expiry=PointsExpiry(at_ms + amount * DAY_MS))
        case "spend":
            return replace(made, type="redemption", category=Category.ACTIVITY, points=Decimal(-amount) / 2)
        case "field":
            return replace(
                made, type="field_increment", category=Category.FIELD_CHANGE, amount=Decimal(1), field_name="level"
            )  # fmt: skip
    return made


operations = st.lists(
    st.tuples(
        st.sampled_from(["buy", "buy", "refund", "points", "spend", "field", "import", "remove", "remove"]),
        st.integers(0, 60),
        st.integers(0, 30),
        st.integers(1, 90),
        st.sampled_from(["all", "part", "stop"]),
    ),
    min_size=6,
    max_size=40,
)


@settings(max_examples=100, deadline=None)
@given(operations, st.sampled_from([0, 3, 100]))
def test_any_order_of_records_corrections_late_events_and_removals_ends_where_what_is_left_ends(
    script: list[tuple[str, int, int, int, str]], days: int
) -> None:
    world, now = Removing(DEFINED), START
    recorded: list[Event] = []
    removed: set[str] = set()
    for i, (kind, step, late, amount, worker) in enumerate(script):
        now += step * DAY_MS // 4
        if kind != "remove":
            event = an_event(i, kind, max(START, now - late * DAY_MS) if i % 3 else now, now, amount)
            recorded.append(event)
            world.pending.append(event)
        elif recorded:
            target = recorded[amount % len(recorded)].id
            if target not in removed:
                removed.add(target)
                world.pending.append(tombstone(target, now))
        if worker == "all":
            world.settle(now)
        elif worker == "part":
            world.fold(now, limit=2)
    end = now + days * DAY_MS
    world.settle(end, limit=3)
    anew = World(DEFINED)
    anew.pending = [event for event in recorded if event.id not in removed]
    anew.settle(end)
    assert derived(world, end) == derived(anew, end)
    assert [e.number for e in world.entries] == list(range(1, len(world.entries) + 1))
    told = {str(e.refs["removed"]) for e in world.entries if e.type == UPDATED and "removed" in e.refs}
    assert told <= removed


def derived(world: World, at_ms: int) -> dict[str, object]:
    """Everything that a pass derives from its events, as it is at an instant."""
    card = world.card
    frame = EvaluationContext(at_ms, card.measures, card.memberships, card, card.profile, card.points, joined_ms(card))
    return {
        "aggregates": dict(card.aggregates),
        "profile": card.profile,
        "points": (card.points, card.lots or None),
        "memberships": set(card.memberships),
        "values": [
            [measured_value(leaf, frame) for leaf in leaves(v.criteria)] for v in DEFINED.active(card.revision).versions
        ],
    }


@settings(max_examples=20, deadline=None)
@given(operations, st.integers(0, 29))
def test_an_erased_pass_leaves_every_segment_and_keeps_nothing(
    script: list[tuple[str, int, int, int, str]], when: int
) -> None:
    """Checklist 3.6: on deletion memberships are closed in the same unit."""
    world, now = Removing(DEFINED), START
    for i, (kind, step, late, amount, worker) in enumerate(script[:when]):
        now += step * DAY_MS // 4
        world.pending.append(an_event(i, kind, max(START, now - late * DAY_MS), now, amount))
        if worker == "all":
            world.settle(now)
    world.pending += [tombstone(None, now), purchase(999, now + DAY_MS // 1000)]
    while world.card.erased is None:
        world.fold(now + DAY_MS, limit=2)
    card = world.card
    assert (dict(card.aggregates), dict(card.measures), dict(card.memberships)) == ({}, {}, {})
    assert (card.points, card.lots, card.profile, card.initial_profile, card.next_due_ms) == (
        Decimal(0),
        None,
        Profile(),
        Profile(),
        None,
    )
    assert [e.number for e in world.entries] == list(range(1, len(world.entries) + 1))
    assert world.entries[-1].type == DELETED
    for n in range(len(DEFINED.active(card.revision).versions)):
        flips = world.flips(f"seg_{n}")
        assert [entered for _, entered in flips] == [True, False] * (len(flips) // 2)
    left = [e for e in world.entries if e.type == LEFT and e.cause == {"kind": "EVENT_REMOVED"}]
    assert [e.refs["segment"] for e in left] == list(card.erased.segments if card.erased else ())
    assert all(e.late and e.refs["after"] == () for e in left)


def test_what_is_removed_before_its_time_has_come_never_counts() -> None:
    world = World(defined(count(1)))
    ahead = purchase(1, START + 240_000, recorded_ms=START)
    done = advance(
        world.card, world.definitions, [ahead, tombstone(ahead.id, START + 1_000)], limit_ms=START + 2_000, recorded_ms=0
    )  # fmt: skip
    assert (done.entries, done.folded_ids) == ((), (tombstone_id(ahead.id),))
    assert done.card.aggregates == {}


def test_removals_of_one_instant_say_which_event_a_segment_misses() -> None:
    world = Removing(
        defined(count(2), {"event": {"types": ["visit"], "metric": "COUNT", "operator": "GTE", "value": 1}})
    )
    visit = replace(purchase(3, START + 3), type="visit", category=Category.ACTIVITY, origin=Origin("API"))
    world.pending = [purchase(1, START + 1), purchase(2, START + 2), visit]
    world.settle(START + 10)
    world.pending = [tombstone(visit.id, START + 20), tombstone("event_00002", START + 20)]
    world.settle(START + 30)
    told = [(e.type, e.at_ms, e.cause.get("event"), e.late) for e in world.entries[-4:]]
    at = START + 20
    assert told == [
        (UPDATED, at, "event_00002", True), (UPDATED, at, visit.id, True),
        (LEFT, at, "event_00002", True), (LEFT, at, visit.id, True),
    ]  # fmt: skip
    assert (world.entries[-2].refs["before"], world.entries[-2].refs["after"]) == ((2,), (1,))
