"""Random stories for random criteria: late events, corrections, removals, merges, and changes of zones, played on a pass."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from random import Random

from app.domain.definitions import Definitions
from app.domain.events.events import CONSENT_GIVEN, CONSENT_REVOKED, Category, Event
from app.domain.segments.parsing import parse_criteria
from app.domain.segments.segments import Version
from app.domain.segments.workspace_versions import WorkspaceVersion
from app.domain.state.extremes import Extremes
from app.domain.state.measures import build_measure
from app.domain.state.windows import Window
from app.domain.values.instants import DAY_MS, HOUR_MS, from_ms
from tests.local_time_oracle import ZONES, local_date, midnight_ms, midnights

from .criteria_programs import BIRTHDAYS, FROM, ZONE_NAMES, Question, World, choose_question
from .programs import Program, ProgramSimulation
from .rule_walks import refund, removal
from .test_advance import new_pass, purchase_event

OWN, INHERITED, OF_FIELD = "own", "inherited", "of a field"
"""How criteria get their zone."""
OWN_ZONE = "America/New_York"
SEGMENTS = 10
"""Segments of a story. A story of one proves that its own next instant is right: others let the walk visit more instants."""
KINDS = (
    "buy", "buy", "buy", "euro", "refund", "refund", "visit", "visit", "grant", "spend", "zone", "birthday", "level",
    "consent", "remove", "remove", "import",
)  # fmt: skip


@dataclass
class Asked:
    """Segments of a program, each as its criteria, their answer, and how they get their zone.

    `settings` are the versions of the workspace's settings, oldest first.
    """

    questions: Sequence[tuple[Question, str]]
    definitions: Definitions
    settings: list[WorkspaceVersion] = field(default_factory=list)

    def answers(self, events: Sequence[Event], at_ms: int) -> list[bool]:
        """Return by plain arithmetic which segments a pass with these events is in."""
        present = [each for each in self.settings if each.at_ms <= at_ms][-1]
        named = World(events, at_ms, "", 0).field("timezone")
        zones = {OWN: OWN_ZONE, INHERITED: present.timezone}
        zones[OF_FIELD] = str(named) if named in ZONES else present.timezone
        return [
            answer(World(events, at_ms, zones[of_zone], present.week_start))
            for (_, answer), of_zone in self.questions
        ]  # fmt: skip

    def change_settings(self, random: Random, at_ms: int) -> None:
        """Let the workspace have another zone and start of weeks from an instant on."""
        last = self.settings[-1]
        self.settings.append(
            replace(
                last, revision=self.definitions.revision + 1, version=last.version + 1, at=from_ms(at_ms),
                timezone=random.choice(ZONES), week_start=random.randrange(7),
            )
        )  # fmt: skip
        self.definitions = self.definitions.extended(self.settings[-1:])


def choose_asked(random: Random, count: int = SEGMENTS) -> Asked:
    """Return random segments."""
    at = from_ms(FROM - 1)
    questions = [(choose_question(random), random.choice((OWN, INHERITED, OF_FIELD))) for _ in range(count)]
    versions = [
        Version(
            f"seg_{index}", index + 2, 1, criteria=parse_criteria(criteria, "USD"), timezone=OWN_ZONE, archived=False,
            notify="SILENT", at=at, inherits_zone=of_zone != OWN,
            zone_field="fields.timezone" if of_zone == OF_FIELD else None,
        )
        for index, ((criteria, _), of_zone) in enumerate(questions)
    ]  # fmt: skip
    settings = WorkspaceVersion(1, 1, at, timezone="Europe/Berlin", week_start=5, tzdata="")
    return Asked(questions, Definitions([settings, *versions]), [settings])


@dataclass
class CriteriaStory:
    """Events that a business records, one after the other. With `exact`, none is late, removed or imported."""

    random: Random
    exact: bool
    prefix: str = "e"
    live: list[Event] = field(default_factory=list)
    number: int = 0

    def tell(self, now_ms: int, on_alias: Iterable[str] = ()) -> Event:
        """Return the next event. It removes none `on_alias`, which are those that a merge has not moved yet."""
        random = self.random
        self.number += 1
        blank = self._blank(now_ms)
        plain = replace(blank, amount=None, currency=None, category=Category.ACTIVITY)
        kind, event = random.choice(KINDS), blank
        bought = [each for each in self.live[-8:] if each.type == "purchase"]
        targets = [each for each in self.live if each.id not in on_alias]
        if kind == "refund" and bought:
            original = random.choice(bought)
            at = max(blank.occurred_ms, original.occurred_ms) if self.exact else blank.occurred_ms
            made = refund(self.number, at, random.randint(1, 4), original, recorded_ms=now_ms)
            event = replace(
                made, id=blank.id, source=blank.source, metadata=blank.metadata, currency=original.currency
            )  # fmt: skip
        elif kind == "euro":
            event = replace(blank, currency="EUR")
        elif kind == "visit":
            event = replace(plain, type="visit")
        elif kind == "grant":
            event = replace(plain, type="custom", points=Decimal(random.randint(1, 20)))
        elif kind == "spend":
            event = replace(plain, type="redemption", points=Decimal(-random.randint(1, 9)))
        elif kind in ("zone", "birthday", "level"):
            values = {"zone": ZONE_NAMES, "birthday": BIRTHDAYS, "level": ("a", "b", "c")}[kind]
            event = replace(
                plain, type="field_updated", category=Category.FIELD_CHANGE,
                field_name="timezone" if kind == "zone" else kind, new_value=random.choice(values),
            )  # fmt: skip
        elif kind == "consent":
            said = random.choice((CONSENT_GIVEN, CONSENT_REVOKED))
            event = replace(plain, type=said, metadata={"consent": "email", "channel": "email"})
        elif kind == "remove" and targets and not self.exact:
            target = random.choice(targets)
            self.live.remove(target)
            return removal(target, now_ms)
        elif kind == "import" and not self.exact:
            event = replace(blank, historical=True)
        self.live.append(event)
        return event

    def _blank(self, now_ms: int) -> Event:
        random = self.random
        at = now_ms
        if not self.exact and random.random() < 0.35:
            at = max(FROM, now_ms - random.randrange(1, 12 * DAY_MS))
            if random.random() < 0.3:
                at = min(now_ms, max(FROM, _near_midnight(random, at)))
        event = replace(
            purchase_event(self.number, at, Decimal(random.randint(1, 9)), recorded_ms=now_ms),
            id=f"event_{random.getrandbits(32):08x}_{self.prefix}{self.number}",
            source=random.choice(("api", "shop", "web")),
        )
        if random.random() < 0.7:
            n = random.randint(1, 9)
            event = replace(event, metadata={"n": n, "tags": [n % 4, str(n % 3), n > 4]})
        return event


def _near_midnight(random: Random, at_ms: int) -> int:
    zone = random.choice(ZONES)
    return midnight_ms(zone, local_date(zone, at_ms)) + random.choice((-1, 0, 1))


def begin(asked: Asked, pass_id: str = "pass_1") -> ProgramSimulation:
    """Return a new pass for a story."""
    simulation = ProgramSimulation(Program(asked.definitions.versions), pass_id)
    simulation.card = replace(new_pass(FROM), id=pass_id)
    simulation.definitions = asked.definitions
    simulation.fold_until(FROM)
    return simulation


def play(
    seed: int, *, asked: Asked | None = None, prefix: str = "e", count: int = SEGMENTS
) -> tuple[ProgramSimulation, CriteriaStory, Asked, int]:
    """Play a story event by event, and compare at each instant. Return the pass, the story and the last instant."""
    random = Random(f"{prefix} {seed}")
    changes_settings = asked is None
    asked = asked or choose_asked(random, count)
    simulation = begin(asked, "pass_1" if prefix == "e" else "pass_2")
    story, now = CriteriaStory(random, exact=False, prefix=prefix), FROM
    check_now(simulation, asked)
    gap = random.choice((HOUR_MS, 8 * HOUR_MS, DAY_MS, 3 * DAY_MS))
    for _ in range(random.randint(4, 22)):
        before, now = now, now + random.randint(1, 4) * gap + random.choice((0, 1, 17))
        if random.random() < 0.3:
            now = max(before + 1, _near_midnight(random, now))
        simulation.fold_until(now - 1)
        check_while_time_passes(simulation, asked, (before + 1, now - 1), random)
        if changes_settings and random.random() < 0.1:
            asked.change_settings(random, now)
            simulation.definitions = asked.definitions
        simulation.pending += [story.tell(now) for _ in range(random.choice((1, 1, 1, 2, 3)))]
        simulation.fold_until(now, limit=random.choice((None, None, 1, 2)))
        check_now(simulation, asked)
    end = now + random.choice((1, 20, 120)) * DAY_MS
    simulation.fold_until(end)
    check_while_time_passes(simulation, asked, (now + 1, end), random)
    return simulation, story, asked, end


def play_merge(seed: int) -> None:
    """Play two stories, merge their passes, and record more meanwhile and afterwards. Compare each time."""
    asked = choose_asked(Random(f"merge {seed}"))
    survivor, story, _, first_end = play(seed, asked=asked)
    alias, other, _, second_end = play(seed, asked=asked, prefix="f")
    random, now = Random(seed), max(first_end, second_end) + 1
    survivor.fold_until(now)
    survivor.begin_merge(alias, now)
    story.live += other.live
    for _ in survivor.move_events(random):
        if random.random() < 0.5:
            survivor.fold_until(now)
            check_now(survivor, asked, has_merged=True)
        if random.random() < 0.4:
            now += HOUR_MS
            survivor.pending.append(story.tell(now, {event.id for event in survivor.elsewhere}))
    now += 1
    survivor.end_merge(now)
    for _ in range(6):
        survivor.fold_until(now)
        check_now(survivor, asked, has_merged=True)
        now += random.choice((1, HOUR_MS, 9 * DAY_MS))
        survivor.pending.append(story.tell(now))


def play_exact(seed: int, *, eager: bool) -> ProgramSimulation:
    """Return a pass after a story in which all events are on time. `eager`: the worker runs after each instant."""
    random, worker = Random(f"exact {seed}"), Random(seed)
    asked = choose_asked(random)
    simulation = begin(asked)
    story, now = CriteriaStory(random, exact=True), FROM
    gap = random.choice((HOUR_MS, 8 * HOUR_MS, DAY_MS, 3 * DAY_MS))
    for _ in range(random.randint(4, 25)):
        now += random.randint(1, 4) * gap + random.choice((0, 1, 17))
        simulation.pending += [story.tell(now) for _ in range(random.choice((1, 1, 1, 2, 3)))]
        if eager or worker.random() < 0.2:
            simulation.fold_until(now)
    simulation.fold_until(now + 60 * DAY_MS)
    check_now(simulation, asked)
    return simulation


def check_while_time_passes(
    simulation: ProgramSimulation, asked: Asked, span_ms: tuple[int, int], random: Random
) -> None:
    """Compare memberships in a span without events: around each change, and at other instants."""
    low, high = span_ms
    moves = [simulation.transitions(f"seg_{index}") for index in range(len(asked.questions))]
    edges = [at for zone in ("Europe/Berlin", OWN_ZONE) for at in midnights(zone, low, min(high, low + 40 * DAY_MS))]
    ends = [event.occurred_ms + days * DAY_MS for event in simulation.counted for days in (1, 2, 3, 7, 9, 30)]
    ends = [at for at in ends if low <= at <= high]
    instants = {low, high, *(at + shift for each in moves for at, _ in each for shift in (-1, 0))}
    instants |= {*random.sample(edges, min(4, len(edges))), *random.sample(ends, min(8, len(ends)))}
    for at_ms in sorted(at for at in instants if low <= at <= high):
        expected = asked.answers(simulation.counted, at_ms)
        for index, each in enumerate(moves):
            found = [is_member for at, is_member in each if at <= at_ms][-1:] == [True]
            assert found == expected[index], (at_ms, asked.questions[index])


def check_now(simulation: ProgramSimulation, asked: Asked, *, has_merged: bool = False) -> None:
    """Compare memberships with plain arithmetic, and measures with a rebuild.

    After a merge, the profile comes from both passes, so only criteria on events alone are compared.
    """
    card = simulation.card
    expected = asked.answers(simulation.counted, card.evaluated_until_ms)
    for index, ((criteria, _), of_zone) in enumerate(asked.questions):
        if not (has_merged and (of_zone == OF_FIELD or "'pass'" in repr(criteria))):
            assert (f"seg_{index}" in card.memberships) == expected[index], (card.evaluated_until_ms, criteria, of_zone)
    active = simulation.definitions.active_for(card.revision, card.profile)
    assert card.measures.keys() <= active.measure_keys
    for measure in active.measures:
        state = card.measures.get(measure.key)
        built = build_measure(measure, simulation.counted, card.evaluated_until_ms)
        if isinstance(built, Window | Extremes):
            # How many events a list names depends on when they came.
            assert isinstance(state, Window | Extremes)
            assert built.value == state.value, measure
        else:
            assert built == state, measure
