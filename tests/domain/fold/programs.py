"""Random programs for walks: rules of every kind, tiers, lists, checkouts, corrections, removals and merges.

A seed decides the definitions, the events, and when the worker runs. What the walk leaves is compared with plain
arithmetic over the events that count, and with the walk of a worker that ran at other times.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from decimal import Decimal
from random import Random

from app.domain.definitions import Definitions, DefinitionVersion
from app.domain.events.events import (
    CHECKOUT,
    CHECKOUT_REJECT,
    CHECKOUT_UPDATE,
    LIST_ADDED,
    LIST_REMOVED,
    MERGE_FINISHED,
    Category,
    Event,
    Move,
    Origin,
)
from app.domain.events.own_events import own_event
from app.domain.events.points_expiry import PointsExpiry
from app.domain.fold.prefetch import Family
from app.domain.passes.lists import EXCLUDE, INCLUDE, list_metadata
from app.domain.passes.merges import profile_for_survivor
from app.domain.rules.effects import (
    AwardExpiry,
    AwardPoints,
    ChangeList,
    DeductPoints,
    Effect,
    EndOfPeriod,
    PointsPerAmount,
    RecordEvent,
    Rounding,
    UpdatePass,
)
from app.domain.rules.rules import Nth, OnCorrection, OnHistorical, PerPassLimit, RuleStatus, RuleVersion, When
from app.domain.rules.triggers import (
    BalanceTrigger,
    EventTrigger,
    SegmentTrigger,
    TierChange,
    TierTrigger,
    Trigger,
)
from app.domain.segments.parsing import parse_criteria
from app.domain.tiers.programs import Downgrade, Tier, TierPeriod, TierProgramVersion
from app.domain.values.instants import DAY_MS, from_ms
from app.domain.values.periods import PeriodUnit

from .rule_walks import RuleSimulation, defined, removal, rule, segment
from .test_advance import START, count_criteria, new_pass, purchase_event, spent_criteria

HOUR_MS = DAY_MS // 24
SEGMENTS: tuple[DefinitionVersion, ...] = (
    segment("recent", count_criteria(2, within={"days": 12})),
    segment("rich", {"pass": {"field": "pointsBalance", "operator": "GTE", "value": 60}}),
    segment("vip", count_criteria(30)),
    segment("both", {"all": [{"segment": {"id": "seg_vip"}}, {"segment": {"id": "seg_recent"}}]}),
)


@dataclass(frozen=True)
class Program:
    """Definitions, by the instants of their versions."""

    versions: tuple[DefinitionVersion, ...]

    def at(self, now_ms: int) -> Definitions:
        """Return the definitions that exist at an instant."""
        return defined(*(each for each in self.versions if each.at.timestamp() * 1000 <= now_ms))


def choose_expiry(random: Random) -> AwardExpiry | None:
    """Return when an award expires."""
    return random.choice([
        None, None, None,
        AwardExpiry(after_days=random.choice((1, 5, 20))),
        AwardExpiry(after_inactive_days=random.choice((3, 9))),
        AwardExpiry(at_ms=START + random.choice((10, 30, 60)) * DAY_MS),
        AwardExpiry(end_of=EndOfPeriod(random.choice((PeriodUnit.MONTH, PeriodUnit.WEEK)), random.randrange(2))),
    ])  # fmt: skip


def choose_award(random: Random) -> AwardPoints:
    """Return an award of one of all forms."""
    pending = random.choice((0, 0, 0, 2, 6))
    multiplier = random.choice((Decimal(1), Decimal("1.5"), Decimal("0.3"), Decimal(3)))
    if random.random() < 0.4:
        points = Decimal(random.choice(("1", "7", "2.5", "20")))
        return AwardPoints(points, multiplier=multiplier, expiry=choose_expiry(random), pending_days=pending)
    per = PointsPerAmount(
        Decimal(random.choice(("1", "2", "0.5"))), Decimal(random.choice(("1", "3", "10", "0.7"))),
        random.choice(list(Rounding)), random.choice((0, 0, 2)),
    )  # fmt: skip
    return AwardPoints(None, per, multiplier=multiplier, expiry=choose_expiry(random), pending_days=pending)


def choose_effect(random: Random) -> Effect:
    """Return an effect of one of all kinds."""
    kind = random.choice(("award", "award", "award", "deduct", "record", "amount", "update", "add", "drop"))
    match kind:
        case "award":
            return choose_award(random)
        case "deduct":
            return DeductPoints(Decimal(random.choice((1, 3, 9))))
        case "record":
            return RecordEvent("milestone", points=random.choice((None, Decimal(2), Decimal(-2))))
        case "amount":
            return RecordEvent("bonus", amount=Decimal(5), currency="USD", category=Category.TRANSACTION)
        case "update":
            return UpdatePass(fields={"level": random.choice(("a", "b"))})
    return ChangeList(random.choice(("seg_vip", "seg_recent")), adds=kind == "add")


def choose_trigger(random: Random) -> Trigger:
    """Return a trigger of one of all kinds."""
    kind = random.choice(("buy", "buy", "buy", "made", "refund", "entered", "left", "tier", "balance", "earned"))
    match kind:
        case "buy":
            bounds = random.choice(
                (None, None, None, (Decimal(20), None), (None, Decimal(40)), (Decimal(5), Decimal(60)))
            )
            low, high = bounds or (None, None)
            types = random.choice((("purchase",), ("purchase", CHECKOUT), (CHECKOUT,)))
            return EventTrigger(types, currency="USD", amount_min=low, amount_max=high)
        case "made":
            return EventTrigger((random.choice(("milestone", "point_add", "point_sub", "list_added", "bonus")),))
        case "refund":
            return EventTrigger((random.choice(("refund", CHECKOUT_UPDATE, CHECKOUT_REJECT, "visit")),))
        case "entered" | "left":
            return SegmentTrigger(random.choice(("seg_recent", "seg_rich", "seg_vip", "seg_both")), kind == "entered")
        case "tier":
            return TierTrigger(tuple(random.sample(list(TierChange), 3)), random.choice((None, None, "gold", "silver")))
        case "balance":
            return BalanceTrigger(Decimal(random.choice((10, 50, 100))))
    return BalanceTrigger(Decimal(random.choice((20, 90))), is_earned_total=True)


def choose_rule(random: Random, key: str, version: int, at_ms: int, trigger: Trigger) -> RuleVersion:
    """Return a version of a rule."""
    limit = random.choice((None, None, None, None, PerPassLimit(2), PerPassLimit(1, within_ms=3 * DAY_MS),
                           PerPassLimit(2, calendar=PeriodUnit.WEEK)))  # fmt: skip
    fields: dict[str, object] = {
        "priority": random.choice((0, 0, 5)),
        "group": random.choice((None, None, None, None, "g")),
        "per_pass": limit,
        "on_correction": random.choice((OnCorrection.REVERSE, OnCorrection.REVERSE, OnCorrection.KEEP)),
        "historical": random.choice(list(OnHistorical)),
        "when": random.choice((None, None, None, None, None, When((0, 1, 2, 3, 4)), When((), 22 * 60, 9 * 60))),
        "timezone": random.choice(("UTC", "Europe/Berlin")),
        "control_percent": random.choice((0, 0, 0, 0, 0, 0, 50)),
        "conditions": random.choice(
            (None, None, None, None, None, parse_criteria(spent_criteria(30, within={"days": 9}), "USD"))
        ),
    }
    if isinstance(trigger, EventTrigger) and random.random() < 0.3:
        fields["nth"] = random.choice((Nth(every=2), Nth(every=3), Nth(equals=2)))
    effects = [choose_effect(random) for _ in range(random.randint(1, 3))]
    made = rule(key, *effects, trigger=trigger, version=version, at_ms=at_ms, **fields)  # type: ignore[arg-type]
    return made if random.random() > 0.1 or version == 1 else replace(made, status=RuleStatus.PAUSED)


def choose_program(random: Random, days: int) -> Program:
    """Return definitions, some of which begin or change during so many days."""
    reach = [spent_criteria(n, within={"days": 20}) for n in (60, 150)]
    tiers = tuple(
        Tier(key, key, parse_criteria(each, "USD")) for key, each in zip(("silver", "gold"), reach, strict=True)
    )
    versions: list[DefinitionVersion] = [*SEGMENTS]
    if random.random() < 0.7:
        versions.append(
            TierProgramVersion(
                1, 1, from_ms(START - 2), tiers,
                random.choice((TierPeriod(days=15), TierPeriod(unit=PeriodUnit.MONTH), TierPeriod())),
                random.choice(list(Downgrade)), random.choice(list(OnCorrection)), notify="EMIT",
            )
        )  # fmt: skip
    for number in range(random.randint(2, 9)):
        trigger = choose_trigger(random)
        key = f"r{number}"
        first = START - 2 if random.random() < 0.8 else START + random.randrange(days) * DAY_MS + 17
        versions.append(replace(choose_rule(random, key, 1, first, trigger), first_at=from_ms(first)))
        for version in range(2, random.choice((2, 2, 3, 4))):
            trigger = trigger if random.random() < 0.7 else choose_trigger(random)
            at_ms = first + version * DAY_MS * random.randint(1, 9) + 5
            versions.append(replace(choose_rule(random, key, version, at_ms, trigger), first_at=from_ms(first)))
            first = at_ms
    return Program(tuple(sorted(versions, key=lambda each: each.at)))


KINDS = (
    "buy", "buy", "buy", "buy", "refund", "refund", "refund", "spend", "grant", "move", "import", "remove", "remove",
    "field", "checkout", "checkout", "update", "update", "reject", "list", "visit", "install", "buy again",
)  # fmt: skip
EXACT_KINDS = tuple(kind for kind in KINDS if kind not in ("import",))


@dataclass
class Story:
    """Events that a business records, one after the other. With `exact`, none is late or imported."""

    random: Random
    exact: bool
    prefix: str = "e"

    def __post_init__(self) -> None:
        self.live: list[Event] = []
        self._number = 0

    def tell(self, now_ms: int) -> Event | None:
        """Return the next event; None if there is nothing that it could be about."""
        random = self.random
        kind = random.choice(EXACT_KINDS if self.exact else KINDS)
        late = 0 if self.exact or random.random() < 0.7 else random.randrange(1, 8) * DAY_MS
        self._number += 1
        blank = purchase_event(self._number, max(START, now_ms - late), Decimal(random.randint(1, 9000)) / 100, now_ms)
        blank = replace(blank, id=f"event_{random.getrandbits(32):08x}_{self.prefix}{self._number}")
        event = self._shape(kind, blank, now_ms)
        if event is not None and event.type != "event_removed":
            self.live.append(event)
        return event

    def _pick(self, *types: str) -> Event | None:
        found = [each for each in self.live if each.type in types]
        return self.random.choice(found[-4:]) if found else None

    def _corrects(self, event: Event, original: Event, **fields: object) -> Event:
        at = max(event.occurred_at, original.occurred_at) if self.exact else event.occurred_at
        correction = replace(event, occurred_at=at, correction_of=original.id, root=original.family)
        return replace(correction, corrected_order=original.depth_order, **fields)  # type: ignore[arg-type]

    def _shape(self, kind: str, blank: Event, now_ms: int) -> Event | None:
        random = self.random
        plain = replace(blank, amount=None, currency=None, category=Category.ACTIVITY)
        match kind:
            case "buy":
                return blank
            case "buy again":
                return replace(blank, currency="EUR")
            case "import":
                return replace(blank, historical=True)
            case "checkout":
                return replace(blank, type=CHECKOUT)
            case "refund":
                bought = self._pick("purchase", CHECKOUT, "refund")
                if bought is None or bought.amount is None:
                    return None
                share = random.choice((Decimal(1), Decimal("0.5"), Decimal("0.25")))
                kind = "charge" if bought.type == "refund" else "refund"
                return self._corrects(blank, bought, type=kind, amount=bought.amount * share, currency=bought.currency)
            case "update" | "reject":
                checkout = self._pick(CHECKOUT)
                if checkout is None:
                    return None
                kind, amount = (CHECKOUT_UPDATE, blank.amount) if kind == "update" else (CHECKOUT_REJECT, Decimal(0))
                return self._corrects(
                    blank, checkout, type=kind, amount=amount, currency=checkout.currency, category=Category.ACTIVITY
                )
            case "spend":
                return replace(plain, type="redemption", points=Decimal(-random.randint(1, 30)))
            case "grant":
                days = random.choice((None, 2, 15))
                end = None if days is None else PointsExpiry(blank.occurred_ms + days * DAY_MS)
                return replace(plain, type="custom", points=Decimal(random.randint(1, 20)), points_expiry=end)
            case "move":
                grant = self._pick("custom")
                end = PointsExpiry(now_ms + random.choice((3, 30)) * DAY_MS)
                return None if grant is None else self._corrects(plain, grant, type="visit", points_expiry=end)
            case "visit":
                return replace(plain, type="visit")
            case "install":
                return replace(plain, type=random.choice(("pass_installed", "pass_uninstalled")))
            case "field":
                return replace(
                    plain, type="field_updated", field_name="level", new_value="c", category=Category.FIELD_CHANGE
                )
            case "list":
                adds, name = random.choice((LIST_ADDED, LIST_ADDED, LIST_REMOVED)), random.choice((INCLUDE, EXCLUDE))
                return replace(plain, type=adds, category=Category.CUSTOM, metadata=list_metadata("seg_vip", name))
        target = self._pick(*{each.type for each in self.live})
        if target is None:
            return None
        self.live.remove(target)
        return removal(target, now_ms)


class ProgramSimulation(RuleSimulation):
    """A pass under a program. `elsewhere` are the events that counted on a merged pass and have not moved yet."""

    def __init__(self, program: Program, pass_id: str = "pass_1") -> None:
        super().__init__(program.at(START), replace(new_pass(), id=pass_id))
        self.program = program
        self.elsewhere: list[Event] = []

    def read_family(self, root: str) -> Family:
        """Return the members of a family that count, and those that counted on the merged pass and do not count here yet."""
        elsewhere = [event for event in self.elsewhere if event.family == root]
        moving = [event for event in self.pending if event.family == root and event.move is not None]
        return replace(super().read_family(root), is_split=bool(elsewhere), coming=[*elsewhere, *moving])

    def run(self, now_ms: int, limit: int | None = None) -> None:
        """Let the worker run at an instant, until nothing is left to do."""
        self.definitions = self.program.at(now_ms)
        self.fold_until(now_ms, limit)

    def begin_merge(self, alias: ProgramSimulation, at_ms: int) -> None:
        """Become the survivor of a merge: the events of the merged pass lie elsewhere, and its profile comes."""
        self.elsewhere = sorted(alias.counted, key=lambda event: (event.occurred_ms, event.id))
        profile = profile_for_survivor(replace(alias.card, alias_of="pass_1"), from_ms(at_ms))
        self.pending += [] if profile is None else [profile]

    def move_events(self, random: Random) -> Iterator[None]:
        """Let the events of the merged pass come in parts. Yields after each part."""
        while self.elsewhere:
            size = random.randint(1, 9)
            self.pending += map(moved, self.elsewhere[:size])
            del self.elsewhere[:size]
            yield

    def end_merge(self, at_ms: int) -> None:
        """Record that all events of the merged pass have come."""
        end = own_event("mf:pass_2", "pass_1", MERGE_FINISHED, at=from_ms(at_ms), origin=Origin("INTERNAL"))
        self.pending.append(end)


def moved(event: Event) -> Event:
    """Return an event that counted on a merged pass, as the merge moves it to the survivor."""
    return replace(event, move=Move("pass_2", 1, was_published=True))


def play(
    seed: int, *, exact: bool, eager: bool, program: Program | None = None, pass_id: str = "pass_1"
) -> tuple[ProgramSimulation, Story, int]:
    """Return a simulation after a random story, the story, and the last instant.

    `exact`: nothing is late or imported. `eager`: the worker runs after each instant.
    """
    random = Random(f"{pass_id} {seed}")
    days = random.choice((10, 40))
    simulation = ProgramSimulation(program or choose_program(random, days), pass_id)
    worker = Random(seed)
    story, now, recorded = Story(random, exact, pass_id), START, 0
    count, gap = random.randint(4, 28), random.choice((HOUR_MS, 8 * HOUR_MS, DAY_MS, 3 * DAY_MS))
    while recorded < count:
        now += random.randint(1, 4) * gap + random.choice((0, 1, 17))
        for _ in range(random.choice((1, 1, 1, 2, 5))):
            event = story.tell(now)
            recorded += 1
            if event is not None:
                simulation.pending.append(event)
        chance = worker.random()
        if eager or chance < 0.3:
            simulation.run(now)
        elif chance < 0.45 and not exact:
            simulation.definitions = simulation.program.at(now)
            simulation.fold(now, limit=worker.randint(1, 3))
    end = now + random.choice((1, 50)) * DAY_MS
    simulation.run(end)
    return simulation, story, end


def play_merge(seed: int) -> ProgramSimulation:
    """Return the survivor of a merge. While the events of the merged pass move, more is recorded on the survivor."""
    survivor, story, first_end = play(seed, exact=False, eager=False)
    alias, other, second_end = play(seed, exact=False, eager=False, program=survivor.program, pass_id="pass_2")
    random, now = Random(seed), max(first_end, second_end) + 1
    survivor.run(now)
    survivor.begin_merge(alias, now)
    # Corrections of events that have not moved yet come to the survivor.
    story.live += other.live
    for _ in survivor.move_events(random):
        if random.random() < 0.5:
            survivor.run(now)
        if random.random() < 0.4:
            now += HOUR_MS
            _tell(survivor, story, now)
    now += 1
    survivor.end_merge(now)
    if random.random() < 0.7:
        survivor.run(now)
    for _ in range(random.randrange(8)):
        now += random.choice((1, HOUR_MS, 9 * DAY_MS))
        _tell(survivor, story, now)
        if random.random() < 0.5:
            survivor.run(now)
    survivor.run(now + 60 * DAY_MS)
    return survivor


def _tell(survivor: ProgramSimulation, story: Story, now_ms: int) -> None:
    event = story.tell(now_ms)
    on_alias = {each.id for each in survivor.elsewhere}
    # The tombstone of an event that has not moved yet is recorded on the merged pass: see the scenes of the model.
    if event is not None and event.removes not in on_alias:
        survivor.pending.append(event)
