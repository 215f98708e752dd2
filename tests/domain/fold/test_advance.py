"""The walk, compared with an oracle that answers each question from the whole history."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.activities import ENTERED, LEFT, Entry
from app.domain.definitions import Definitions
from app.domain.events.decided import with_decision
from app.domain.events.events import TOMBSTONES, Category, Event, Origin
from app.domain.events.ordering import without_waiting
from app.domain.fold.advance import Advanced, advance
from app.domain.fold.prefetch import Family, build_page, find_prefetch
from app.domain.passes.passes import Pass, Profile
from app.domain.rules.texts import Texts
from app.domain.segments.parsing import parse_criteria
from app.domain.segments.segments import Version
from app.domain.state.windows import MAX_EXPIRING, Window
from app.domain.values.instants import DAY_MS, from_ms
from tests import oracle

START = 1_000 * DAY_MS
MAX_REPEATS = 5


def purchase_event(
    i: int, at_ms: int, amount: Decimal = Decimal(10), recorded_ms: int | None = None, historical: bool = False
) -> Event:
    return Event(
        f"event_{i:05}",
        "pass_1",
        Category.TRANSACTION,
        type="purchase",
        amount=amount,
        currency="USD",
        points=Decimal(0),
        source="api",
        external_id=None,
        metadata={},
        occurred_at=from_ms(at_ms),
        recorded_at=from_ms(at_ms if recorded_ms is None else recorded_ms),
        origin=Origin("API"),
        historical=historical,
    )


def new_pass(created_ms: int = START, rev: int = 0) -> Pass:
    at = from_ms(created_ms)
    return Pass(
        "pass_1",
        "ws_1",
        "x",
        initial_profile=Profile(),
        profile=Profile(),
        installed_at=None,
        created_at=at,
        updated_at=at,
        evaluated_until_ms=created_ms - 1,
        revision=rev,
    )


def definitions_of(*criteria: dict[str, object], at_ms: int = START - 1, notify: str = "SILENT") -> Definitions:
    return Definitions(
        Version(
            f"seg_{i}",
            i + 1,
            1,
            criteria=parse_criteria(c, "USD"),
            timezone="UTC",
            archived=False,
            notify=notify,
            at=from_ms(at_ms),
        )
        for i, c in enumerate(criteria)
    )


def count_criteria(n: int, operator: str = "GTE", **more: object) -> dict[str, object]:
    return {"event": {"types": ["purchase"], "metric": "COUNT", "operator": operator, "value": n, **more}}


def spent_criteria(n: int, **more: object) -> dict[str, object]:
    return {"event": {"types": ["purchase"], "metric": "SUM", "operator": "GTE", "value": n, **more}}


def days_since_criteria(days: int, operator: str = "GTE", **more: object) -> dict[str, object]:
    return {"event": {"types": ["purchase"], "metric": "DAYS_SINCE_LAST", "operator": operator, "value": days, **more}}


class PassSimulation:
    """A pass and its events. The reads of a fold are answered from the whole list of events."""

    def __init__(self, definitions: Definitions, card: Pass | None = None) -> None:
        self.definitions = definitions
        self.card = card or new_pass()
        self.counted: list[Event] = []
        self.pending: list[Event] = []
        self.entries: list[Entry] = []
        self.texts: Texts | None = None

    def fold(self, now_ms: int, limit: int | None = None) -> None:
        """Fold the pending events, or the first `limit` of them, once."""
        ordered = sorted(self.pending, key=lambda e: (e.occurred_at, e.id))
        ready = without_waiting(ordered, ())
        batch = ready if limit is None else ready[:limit]
        wanted = find_prefetch(self.card, self.definitions, batch, now_ms)
        pages = {
            key: build_page(self.card, measure, after, self.counted) for key, (measure, after) in wanted.windows.items()
        }
        has_history, roots = wanted.history, set(wanted.families)
        for _ in range(MAX_REPEATS):
            done = advance(
                self.card, self.definitions, batch, limit_ms=now_ms, recorded_ms=now_ms,
                has_more=len(batch) < len(ordered), history=self.counted if has_history else None, pages=pages,
                families={root: self.read_family(root) for root in roots},
                texts=self.texts,
            )  # fmt: skip
            if isinstance(done, Advanced):
                break
            has_history, roots = has_history or done.history, roots | done.families
        assert isinstance(done, Advanced), "the walk lacks something that was read"
        self.card = done.card
        self.entries += done.entries
        removed = {e.removes for e in self.pending if e.id in done.folded_ids}
        taken = [e for e in self.pending if e.id in done.folded_ids and e.type not in TOMBSTONES]
        folded = [e for each in taken if (e := with_decision(each, done.decisions.get(each.id))) is not None]
        made = [entry.made for entry in done.entries if entry.made is not None]
        self.counted = [e for e in (*self.counted, *folded, *made) if e.id not in removed]
        self.pending = [e for e in self.pending if e.id not in done.folded_ids and e.id not in removed]

    def read_family(self, root: str) -> Family:
        """Return the members of a family that count."""
        return Family([event for event in self.counted if event.family == root])

    def fold_until(self, now_ms: int, limit: int | None = None) -> None:
        """Fold until nothing is pending and nothing is due at `now_ms`."""
        for _ in range(2000):
            self.fold(now_ms, limit)
            due = self.card.next_due_ms
            if not self.pending and (due is None or due > now_ms) and self.card.revision == self.definitions.revision:
                return
        raise AssertionError("the walk does not end")

    def transitions(self, segment: str) -> list[tuple[int, bool]]:
        """Return (instant, entered) of each transition of the segment."""
        return [(e.at_ms, e.type == ENTERED) for e in self.entries if e.refs.get("segment") == segment]


CRITERIA: list[dict[str, object]] = [
    count_criteria(1, within={"days": 30}),
    days_since_criteria(60),
    spent_criteria(200, within={"days": 90}),
    count_criteria(5),
    spent_criteria(500),
    count_criteria(0, "EQ"),
    count_criteria(3, within={"hours": 48}),
    days_since_criteria(30, "LT"),
    {"all": [count_criteria(2), {"not": count_criteria(3, within={"days": 10})}]},
    {"segment": {"id": "seg_3", "member": False}},
]
ORACLE_CRITERIA: list[tuple[oracle.Criteria, list[int]]] = [
    (oracle.bought_within(30), [30]), (oracle.no_purchase_for(60), [60]), (oracle.spent_within(Decimal(200), 90), [90]),
    (oracle.at_least(5), []), (lambda es, t, j: sum(e.amount for e in es) >= 500, []), (lambda es, t, j: not es, []),
    (oracle.at_least(3, 2), [2]), (oracle.bought_within(30), [30]),
    (lambda es, t, j: len(es) >= 2 and not oracle.at_least(3, 10)(es, t, j), [10]),
    (lambda es, t, j: len(es) < 5, []),
]  # fmt: skip

schedules = st.lists(
    st.tuples(st.integers(0, 40 * 4), st.integers(1, 120), st.sampled_from(["all", "part", "stop"])), max_size=40
)


@settings(max_examples=150, deadline=None)
@given(schedules)
def test_each_transition_has_the_oracles_instant_whenever_the_worker_ran(
    schedule: list[tuple[int, int, str]],
) -> None:
    simulation, now = PassSimulation(definitions_of(*CRITERIA)), START
    occurred: list[oracle.OracleEvent] = []
    for i, (step, amount, worker) in enumerate(schedule):
        now += step * DAY_MS // 4
        simulation.pending.append(purchase_event(i, now, Decimal(amount)))
        occurred.append(oracle.OracleEvent(now, Decimal(amount)))
        if worker == "all":
            simulation.fold_until(now)
        elif worker == "part":
            simulation.fold(now, limit=2)
    end = now + 100 * DAY_MS
    simulation.fold_until(end, limit=3)
    for i, (criteria, days) in enumerate(ORACLE_CRITERIA):
        if any(a.at_ms == b.at_ms for a, b in pairwise(occurred)):
            # A second event of one instant may come after the instant was evaluated. It is late then, and the oracle
            # does not know when events arrive.
            continue
        expected = oracle.list_transitions(occurred, START, end, criteria, days)
        assert simulation.transitions(f"seg_{i}") == expected, CRITERIA[i]


@settings(max_examples=60, deadline=None)
@given(schedules, st.integers(0, 3))
def test_any_order_and_any_split_give_the_same_aggregates_and_memberships(
    schedule: list[tuple[int, int, str]], cut: int
) -> None:
    events = [
        purchase_event(i, START + s * DAY_MS // 4, Decimal(a), START + 50 * DAY_MS)
        for i, (s, a, _) in enumerate(schedule)
    ]
    end = START + 300 * DAY_MS
    once, split = PassSimulation(definitions_of(*CRITERIA)), PassSimulation(definitions_of(*CRITERIA))
    once.pending = list(events)
    once.fold_until(end)
    for event in reversed(events):
        split.pending.append(event)
        if cut:
            split.fold_until(START + 50 * DAY_MS, limit=cut)
    split.fold_until(end)
    assert once.card.aggregates == split.card.aggregates
    assert set(once.card.memberships) == set(split.card.memberships)


@settings(max_examples=20, deadline=None)
@given(st.integers(101, 400), st.integers(1, 5), st.integers(0, 3))
def test_window_with_more_events_than_it_lists_is_left_at_the_exact_instants(
    n: int, per_instant: int, extra: int
) -> None:
    criteria = [count_criteria(150, within={"days": 2}), spent_criteria(1500, within={"days": 2})]
    simulation = PassSimulation(definitions_of(*criteria))
    events = [purchase_event(i, START + (i // per_instant) * 60_000 + 1) for i in range(n)]
    occurred = [oracle.OracleEvent(e.occurred_ms, Decimal(10)) for e in events]
    for i, event in enumerate(events):
        simulation.pending.append(event)
        last = i + 1 == n or events[i + 1].occurred_ms != event.occurred_ms
        if last and i % (extra + 1) == 0:
            simulation.fold_until(event.occurred_ms)
    end = START + 4 * DAY_MS
    simulation.fold_until(end)
    expected = oracle.list_transitions(occurred, START, end, oracle.at_least(150, 2), [2])
    assert simulation.transitions("seg_0") == expected
    assert simulation.transitions("seg_1") == expected
    for state in simulation.card.measures.values():
        assert isinstance(state, Window)
        assert len(state.instants) <= 2 * MAX_EXPIRING


def test_new_segment_is_filled_silently_and_an_edit_can_be_published() -> None:
    simulation = PassSimulation(Definitions())
    for i in range(6):
        simulation.pending.append(purchase_event(i, START + i * DAY_MS))
    simulation.fold_until(START + 10 * DAY_MS)
    defined_ms = START + 11 * DAY_MS
    first = Version(
        "seg_0",
        1,
        1,
        criteria=parse_criteria(count_criteria(2, within={"days": 8}), "USD"),
        timezone="UTC",
        archived=False,
        notify="SILENT",
        at=from_ms(defined_ms),
    )
    simulation.definitions = Definitions([first])
    simulation.fold_until(defined_ms + 1)
    [entry] = [e for e in simulation.entries if "segment" in e.refs]
    assert (entry.type, entry.at_ms, entry.silent) == (ENTERED, defined_ms, True)
    assert entry.cause == {"kind": "BACKFILL", "version": 1}
    assert entry.refs["after"] == (2,)
    edited_ms = defined_ms + 2
    second = Version(
        "seg_0",
        2,
        2,
        criteria=parse_criteria(count_criteria(7), "USD"),
        timezone="UTC",
        archived=False,
        notify="EMIT",
        at=from_ms(edited_ms),
    )
    simulation.definitions = Definitions([first, second])
    simulation.fold_until(edited_ms)
    entry = entries_of(simulation)[-1]
    assert (entry.type, entry.at_ms, entry.silent) == (LEFT, edited_ms, False)
    assert entry.cause["kind"] == "DEFINITION_CHANGED"
    assert (entry.refs["before"], entry.refs["after"]) == ((2,), (6,))


def test_transition_has_its_cause_and_the_values_before_and_after() -> None:
    simulation = PassSimulation(definitions_of(count_criteria(5), days_since_criteria(60)))
    for i in range(5):
        simulation.pending.append(purchase_event(i, START + i * DAY_MS + 1))
    simulation.fold_until(START + 100 * DAY_MS)
    entered, later = [e for e in simulation.entries if "segment" in e.refs]
    assert entered.cause == {"kind": "EVENT", "event": "event_00004"}
    assert (entered.refs["before"], entered.refs["after"]) == ((4,), (5,))
    assert later.cause == {"kind": "TIME"}
    assert later.at_ms == START + 4 * DAY_MS + 1 + 60 * DAY_MS
    assert (later.refs["before"], later.refs["after"]) == ((59.99999998,), (60,))


def test_exit_by_archiving_has_the_values_that_still_hold() -> None:
    simulation = PassSimulation(definitions_of(count_criteria(2)))
    simulation.pending += [purchase_event(i, START + i * DAY_MS) for i in range(3)]
    simulation.fold_until(START + 5 * DAY_MS)
    [version] = simulation.definitions.versions
    assert isinstance(version, Version)
    archived = replace(version, revision=2, version=2, archived=True, at=from_ms(START + 6 * DAY_MS))
    simulation.definitions = Definitions([version, archived])
    simulation.fold_until(START + 7 * DAY_MS)
    left = [entry for entry in simulation.entries if entry.type == LEFT]
    assert [(entry.refs["before"], entry.refs["after"]) for entry in left] == [((3,), (3,))]


def test_imported_history_emits_no_past_transitions() -> None:
    simulation = PassSimulation(definitions_of(count_criteria(1, within={"days": 30}), count_criteria(2)))
    now = START + 200 * DAY_MS
    simulation.fold_until(now)
    simulation.entries.clear()
    simulation.pending = [purchase_event(i, START + i * DAY_MS, recorded_ms=now, historical=True) for i in range(3)]
    simulation.fold_until(now)
    [entry] = [e for e in simulation.entries if "segment" in e.refs]
    assert (entry.type, entry.at_ms, entry.refs["segment"], entry.historical, entry.late) == (
        ENTERED,
        now,
        "seg_1",
        True,
        True,
    )


def test_each_operator_changes_the_membership_at_its_own_millisecond() -> None:
    simulation = PassSimulation(
        definitions_of(
            days_since_criteria(2, "GTE"),
            days_since_criteria(2, "GT"),
            days_since_criteria(2, "LT"),
            days_since_criteria(2, "LTE"),
            days_since_criteria(2, "EQ"),
        )
    )
    simulation.pending = [purchase_event(0, START)]
    simulation.fold_until(START + 10 * DAY_MS)
    at = START + 2 * DAY_MS
    assert simulation.transitions("seg_0") == [(at, True)]
    assert simulation.transitions("seg_1") == [(at + 1, True)]
    assert simulation.transitions("seg_2") == [(START, True), (at, False)]
    assert simulation.transitions("seg_3") == [(START, True), (at + 1, False)]
    assert simulation.transitions("seg_4") == [(at, True), (at + DAY_MS, False)]


def test_pass_without_events_counts_days_from_its_creation_or_as_never_says() -> None:
    simulation = PassSimulation(
        definitions_of(
            days_since_criteria(60),
            days_since_criteria(60, never="MATCHES"),
            days_since_criteria(60, never="FAILS"),
            days_since_criteria(60, "LT"),
        )
    )
    simulation.fold_until(START + 100 * DAY_MS)
    assert simulation.transitions("seg_0") == [(START + 60 * DAY_MS, True)]
    assert simulation.transitions("seg_1") == [(START, True)]
    assert simulation.transitions("seg_2") == simulation.transitions("seg_3") == []


def entries_of(simulation: PassSimulation, kinds: Sequence[str] = (ENTERED, LEFT)) -> list[Entry]:
    return [entry for entry in simulation.entries if entry.type in kinds]


def test_activities_of_a_pass_are_numbered_without_a_gap() -> None:
    simulation = PassSimulation(definitions_of(*CRITERIA))
    simulation.pending = [purchase_event(i, START + i * 20 * DAY_MS) for i in range(8)]
    simulation.fold_until(START + 400 * DAY_MS, limit=3)
    assert [e.number for e in simulation.entries] == list(range(1, len(simulation.entries) + 1))
    assert entries_of(simulation)
