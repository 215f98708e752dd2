"""The steps of one run: the business records, defines, edits, archives and removes, and repeats unanswered calls."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from random import Random
from zlib import crc32

from app.clock import FixedClock
from app.commands.context import Context
from app.commands.events.outcomes import BatchOutcome
from app.commands.events.record import record_events
from app.commands.passes.lists import change_list
from app.commands.passes.merges import merge_passes
from app.commands.passes.removals import erase_pass, remove_events
from app.commands.rules.retries import retry_rule_firings
from app.commands.segments import archive_segment, create_segment, update_segment
from app.domain.errors import Code, Conflict, InvalidInput, NotFound, Unavailable
from app.domain.events.events import Event, EventInput
from app.domain.ids import event_id
from app.domain.passes.lists import INCLUDE
from app.domain.rules.statistics import FiringQuery, failed_effects
from app.domain.values.instants import from_ms, to_ms
from app.store.mongo.paging import PageRequest
from tests import oracle
from tests.business import bought_within, no_purchase_for, purchases, spent

from . import guarded, rules

START = datetime(2026, 1, 1, tzinfo=UTC)
MAX_WAITS = 100
QUARTER_DAY = timedelta(hours=6)
MILLISECOND = timedelta(milliseconds=1)
PASSES = ("ann", "bob", "cyd")
CRITERIA: Mapping[str, tuple[dict[str, object], oracle.Criteria, list[int]]] = {
    "recent": (bought_within(30), oracle.bought_within(30), [30]),
    "away": (no_purchase_for(60), oracle.no_purchase_for(60), [60]),
    "spender": (spent(200, days=90), oracle.spent_within(Decimal(200), 90), [90]),
    "regular": (purchases(3), oracle.at_least(3), []),
    "busy": (
        {"event": {"types": ["purchase"], "metric": "COUNT", "operator": "GTE", "value": 4, "within": {"days": 20}}},
        oracle.at_least(4, 20),
        [20],
    ),
    "new": ({"not": purchases(2)}, lambda events, t, joined: len(events) < 2, []),
}

Step = Callable[[Context], Awaitable[None]]


def choose_points(identity: str, at: datetime) -> dict[str, object]:
    """Return the points that an event adds or spends, which the text decides.

    Most points that it adds expire. They may expire before the event occurs if the event comes late.
    """
    number = crc32(identity.encode())
    given = number % 7 * 10 - 20
    if given <= 0 or number % 5 == 0:
        return {"points": given}
    if number % 5 < 3:
        return {"points": given, "points_expire_at": at + timedelta(days=number % 90 + 1, milliseconds=number % 1000)}
    return {"points": given, "points_expire_after_days": number % 40 + 1}


def choose_correction(original: oracle.OraclePoints) -> dict[str, object]:
    """Return how points are corrected, which the id of the event decides: a new end, or fewer points."""
    number = crc32(original.id.encode())
    if number % 3 == 0:
        return {"points": -original.points}
    if number % 3 == 1:
        return {"points_expire_after_days": number % 60 + 1}
    return {"points_expire_at": from_ms(original.at_ms) + timedelta(days=number % 120 + 60)}


class Script:
    """The remaining steps of one run, each safe to repeat, and what they did.

    `sent` gives event ids by batch, `occurred` instant (ms) and amount by purchase, and `pass_ids` the pass by event.
    `points` gives each event as the oracle of points sees it. `maybe_sent` are rejected events that may be stored on erased
    passes. `removed_at_ms` gives the instant of the removal by event, `segments` the id by name, and `criteria_names` the
    name in CRITERIA by segment and version.
    """

    def __init__(
        self,
        random: Random,
        clock: FixedClock,
        *,
        late: bool,
        merging: bool = False,
        rules: bool = False,
        guarded: bool = False,
    ) -> None:
        self.sent: dict[str, list[str]] = {}
        self.occurred: dict[str, tuple[int, Decimal]] = {}
        self.pass_ids: dict[str, str] = {}
        self.points: dict[str, oracle.OraclePoints] = {}
        self.maybe_sent: set[str] = set()
        self.removed_at_ms: dict[str, int] = {}
        self.segments: dict[str, str] = {}
        self.criteria_names: dict[tuple[str, int], str] = {}
        self._random = random
        self._clock = clock
        self._late = late
        self._merging = merging
        self.has_rules = rules
        self.has_guards = guarded
        self.guarded: set[str] = set()
        self.rule_ids: dict[str, str] = {}
        self._rule_version = 1
        self.steps = self._write_steps()

    async def play(self, ctx: Context) -> None:
        """Play the remaining steps; repeat each until it is answered."""
        while self.steps:
            try:
                await self.steps[0](ctx)
            except Unavailable:
                continue
            del self.steps[0]

    def _write_steps(self) -> list[Step]:
        names = list(CRITERIA)
        self._random.shuffle(names)
        steps = [self.define_step(name) for name in names[:3]]
        if self.has_rules:
            steps.append(self.rules_step())
        later = names[3:]
        now = START
        for batch in range(self._random.randrange(6, 10)):
            now += QUARTER_DAY * self._random.choice((1, 1, 4, 40, 100))
            buyers = self._random.sample(PASSES, self._random.randrange(1, 4))
            steps.append(self.record_step(str(batch), now, buyers))
            if self.has_rules:
                now = self._add_rule_steps(steps, str(batch), buyers, now)
            elif self.has_guards:
                now = self._add_guarded_steps(steps, str(batch), buyers, now)
            elif self._random.random() < 0.4:
                steps.append(self.correct_step(str(batch), buyers[:2]))
            chance = self._random.random()
            if chance < 0.45:
                # A definition has an instant of its own, so an event must not occur at the same instant.
                now += timedelta(milliseconds=self._random.randrange(1, 500))
                steps.append(self.clock_step(now))
            if chance < 0.3 and later:
                steps.append(self.define_step(later.pop()))
            elif chance < 0.4:
                steps.append(self.edit_step(self._random.choice(names[:3]), self._random.choice(names)))
            elif chance < 0.45:
                steps.append(self.archive_step(self._random.choice(names[:3])))
            if self._random.random() < 0.3:
                now += timedelta(milliseconds=self._random.randrange(1, 500))
                steps.append(self.remove_step(now, self._random.randrange(1, 4)))
            if self._random.random() < 0.06:
                now += timedelta(milliseconds=self._random.randrange(1, 500))
                steps.append(self.erase_step(now, self._random.choice(PASSES)))
            if self._merging and self._random.random() < 0.25:
                now += timedelta(milliseconds=self._random.randrange(1, 500))
                steps.append(self.merge_step(now, *self._random.sample(PASSES, 2)))
        steps.append(self.clock_step(now + timedelta(days=self._random.choice((1, 45, 200)))))
        return steps

    def _add_rule_steps(self, steps: list[Step], batch: str, buyers: list[str], now: datetime) -> datetime:
        """Add refunds, and sometimes a new version of a rule, and return the instant of the last step."""
        if self._random.random() < 0.6:
            now += rules.delay_of_refund(self._random.randrange(1, 3))
            steps.append(self.refund_step(batch, now, buyers[:2]))
        if self._random.random() < 0.2 and self._rule_version < len(rules.PER_VERSION):
            self._rule_version += 1
            now += timedelta(milliseconds=3)
            steps += [self.clock_step(now), self.edit_rule_step(self._rule_version)]
        if self._random.random() < 0.3:
            now += timedelta(milliseconds=3)
            steps += [
                self.clock_step(now),
                self.list_step(self._random.choice(PASSES), adds=self._random.random() < 0.7),
            ]
        if self._random.random() < 0.3:
            # What was mended is in force before the retry counts.
            now += timedelta(milliseconds=3)
            steps += [self.clock_step(now), self.mend_step()]
            now += timedelta(milliseconds=3)
            steps += [self.clock_step(now), self.retry_step()]
        return now

    def _add_guarded_steps(self, steps: list[Step], batch: str, buyers: list[str], now: datetime) -> datetime:
        """Add deductions, their corrections and refunds, and return the instant of the last step."""
        deductions = guarded.choose_deductions(self._random, batch, buyers, now)
        steps.append(self.deduct_step(batch, now, deductions))
        now += (len(deductions) - 1) * MILLISECOND
        if self._random.random() < 0.4:
            now += timedelta(milliseconds=self._random.randrange(1, 3))
            steps.append(self.give_back_step(batch, now, deductions))
        for part in range(self._random.randrange(3)):
            now += timedelta(milliseconds=self._random.randrange(1, 3))
            steps.append(self.refund_step(batch, now, buyers[:2], part=f" {part}"))
        if self._random.random() < 0.1:
            now += timedelta(milliseconds=self._random.randrange(1, 3))
            steps += [self.clock_step(now), self.define_deducting_step()]
        return now

    def deduct_step(self, batch: str, at: datetime, inputs: list[EventInput]) -> Step:
        """Record guarded deductions, each at an instant of its own: a worker may decide one before the next is stored."""

        async def step(ctx: Context) -> None:
            for number, each in enumerate(inputs):
                self._clock.set(max(await self._clock.now(), at + number * MILLISECOND))
                self._note_corrections(ctx, f"{batch} taken {number}", [each], await record_events(ctx, [each]))
                self.guarded |= set(self.sent[f"{batch} taken {number}"])

        return step

    def give_back_step(self, batch: str, at: datetime, deductions: list[EventInput]) -> Step:
        """Correct deductions, so that the pass has their points again."""

        async def step(ctx: Context) -> None:
            self._clock.set(max(await self._clock.now(), at))
            inputs = [
                EventInput(
                    "custom", pass_external_id=each.pass_external_id, points=-int(str(each.points)),
                    external_id=f"{each.external_id} back",
                    correction_of=event_id(ctx.workspace.id, "api", str(each.external_id)),
                )
                for each in deductions
            ]  # fmt: skip
            self._note_corrections(ctx, f"{batch} back", inputs, await record_events(ctx, inputs))

        return step

    def define_deducting_step(self) -> Step:
        """Create a segment whose measure is built from the history."""

        async def step(ctx: Context) -> None:
            with contextlib.suppress(Conflict):
                await create_segment(ctx, "deducting", "deducting", guarded.DEDUCTING)

        return step

    def rules_step(self) -> Step:
        """Create the rules."""

        async def step(ctx: Context) -> None:
            self.rule_ids = await rules.define_rules(ctx)
            self._clock.set(await self._clock.now() + timedelta(milliseconds=1))

        return step

    def list_step(self, name: str, *, adds: bool) -> Step:
        """Put a pass on the list by hand, or take it off."""

        async def step(ctx: Context) -> None:
            await change_list(ctx, self.rule_ids["list"], [], [name], INCLUDE, adds=adds)

        return step

    def mend_step(self) -> Step:
        """Let the effect of the rule "noted" succeed from now on."""

        async def step(ctx: Context) -> None:
            await rules.mend_noted(ctx)

        return step

    def retry_step(self) -> Step:
        """Retry all failed firings of the rule "noted", some of them twice. Wait a while until one is published."""
        waits = iter(range(MAX_WAITS))

        async def step(ctx: Context) -> None:
            query = FiringQuery(rule_id=self.rule_ids["noted"])
            found = (await ctx.workspace.firings.page(query, PageRequest(1_000))).items
            failed = [each.id for each in found if failed_effects(each)]
            if not failed and next(waits, None) is not None:
                raise Unavailable("no firing has failed yet")
            for _ in range(2 if failed else 0):
                await retry_rule_firings(ctx, ids=failed[:1_000], rule_id=None)

        return step

    def edit_rule_step(self, version: int) -> Step:
        """Give the rule "points" its next version."""

        async def step(ctx: Context) -> None:
            await rules.edit_points(ctx, version)

        return step

    def refund_step(
        self, batch: str, at: datetime, names: list[str], part: str = "", *, divisors: Sequence[int] = (1, 1, 2, 4)
    ) -> Step:
        """Refund a part of what these passes bought in the batch, as soon as they have; with guards, also what is left.

        The part is the amount of the purchase divided by one of the divisors, chosen at random.
        """
        parts = {name: self._random.choice(divisors) for name in names}
        rests = {name for name in names if self.has_guards and self._random.random() < 0.3}
        delays = {name: self._choose_delay() for name in names}

        async def step(ctx: Context) -> None:
            self._clock.set(max(await self._clock.now(), at))
            inputs = []
            for name in names:
                bought = event_id(ctx.workspace.id, "api", f"{batch} {name}")
                if bought in self.occurred:
                    occurred_ms, amount = self.occurred[bought]
                    refunded_at = max(at - delays[name], from_ms(occurred_ms))
                    inputs.append(
                        EventInput(
                            "refund", pass_external_id=name, amount=None if name in rests else amount / parts[name],
                            occurred_at=refunded_at, external_id=f"{batch} {name} refunded{part}", correction_of=bought,
                        )
                    )  # fmt: skip
            if inputs:
                outcome = await record_events(ctx, inputs)
                self._note_corrections(ctx, f"{batch} refunded{part}", inputs, outcome)

        return step

    def record_step(self, batch: str, at: datetime, names: list[str]) -> Step:
        """Record a purchase for each pass shortly before it occurs, some twice, then set the clock to `at`."""
        before = timedelta(milliseconds=self._random.choice((1, 1_000, 200_000)))
        inputs = [
            EventInput(
                "purchase",
                pass_external_id=name,
                amount=Decimal(self._random.choice((1, 60, 150))),
                occurred_at=at - self._choose_delay(),
                external_id=f"{batch} {name}",
                **self._points_of_purchase(f"{batch} {name}", at),
            )
            for name in names
        ]
        repeated = [item for item in inputs if self._random.random() < 0.2]

        async def step(ctx: Context) -> None:
            self._clock.set(max(await self._clock.now(), at - before))
            outcome = await record_events(ctx, [*inputs, *repeated], create_missing_passes=True)
            # A repeated item may follow the erasure of the pass on which the item was recorded first.
            codes = {problem.code for item in outcome.results for problem in item.problems}
            assert codes <= {Code.EVENT_REMOVED}, codes
            events = [item.event for item in outcome.results if item.event is not None]
            self.sent[batch] = [event_id(ctx.workspace.id, "api", f"{batch} {name}") for name in names]
            self.occurred |= {event.id: (event.occurred_ms, event.amount or Decimal(0)) for event in events}
            self._note_points(events)
            self._clock.set(at)

        return step

    def _points_of_purchase(self, identity: str, at: datetime) -> dict[str, object]:
        if self.has_rules:
            return {}
        return guarded.earned_points(identity) if self.has_guards else choose_points(identity, at)

    def correct_step(self, batch: str, names: list[str]) -> Step:
        """Correct the points that these passes got in the batch: move their end, or take them back.

        The correction is dated as what it corrects. In a run with late events it may be dated long before.
        """
        delays = {name: self._choose_delay() for name in names}

        async def step(ctx: Context) -> None:
            inputs = [
                EventInput(
                    "custom",
                    pass_external_id=name,
                    occurred_at=from_ms(original.at_ms) - delays[name],
                    external_id=f"{batch} {name} corrected",
                    correction_of=original.id,
                    **choose_correction(original),
                )
                for name in names
                if (original := self.points.get(event_id(ctx.workspace.id, "api", f"{batch} {name}"))) is not None
                and original.points > 0
            ]
            if not inputs:
                return
            self._note_corrections(ctx, f"{batch} corrected", inputs, await record_events(ctx, inputs))

        return step

    def _note_corrections(self, ctx: Context, batch: str, inputs: list[EventInput], outcome: BatchOutcome) -> None:
        # The corrected event may be removed or declined, or its pass may be erased.
        codes = {problem.code for item in outcome.results for problem in item.problems}
        assert codes <= {Code.EVENT_REMOVED, Code.UNKNOWN, Code.NOT_COUNTED}, codes
        events = [item.event for item in outcome.results if item.event is not None]
        self.sent[batch] = [event.id for event in events]
        # The reply of an earlier call may have been lost, and the pass may be erased since.
        rejected_ids = {event_id(ctx.workspace.id, "api", str(each.external_id)) for each in inputs}
        self.maybe_sent |= rejected_ids - {event.id for event in events}
        self._note_points(events)

    def _note_points(self, events: Iterable[Event]) -> None:
        self.pass_ids |= {event.id: event.pass_id for event in events}
        for event in events:
            end = event.points_expiry
            self.points[event.id] = oracle.OraclePoints(
                event.id,
                event.occurred_ms,
                event.points,
                ends_at_ms=None if end is None else end.at_ms,
                idle_days=None if end is None else end.after_days,
                corrects=event.correction_of,
            )

    def _choose_delay(self) -> timedelta:
        is_late = self._late and self._random.random() < 0.4
        return timedelta(days=self._random.randrange(1, 50)) if is_late else timedelta(0)

    def remove_step(self, at: datetime, count: int, among: Collection[str] | None = None) -> Step:
        """Remove some of the events recorded until then, or some of those with these ids, chosen at random."""
        seed = self._random.random()

        async def step(ctx: Context) -> None:
            self._clock.set(max(await self._clock.now(), at))
            sent = self.pass_ids if among is None else among
            left = [each for each in sent if self.removed_at_ms.get(each, to_ms(at)) == to_ms(at)]
            chosen = Random(seed).sample(left, min(count, len(left)))
            self.removed_at_ms |= dict.fromkeys(chosen, to_ms(at))
            await remove_events(ctx, [(self.pass_ids[each], each) for each in chosen])

        return step

    def erase_step(self, at: datetime, name: str) -> Step:
        """Erase a pass, if it exists and is not merged."""

        async def step(ctx: Context) -> None:
            self._clock.set(max(await self._clock.now(), at))
            try:
                await erase_pass(ctx, external_id=name)
            except (NotFound, Conflict):
                return

        return step

    def merge_step(self, at: datetime, survivor: str, other: str) -> Step:
        """Merge the pass `other` into the pass `survivor`, if both exist and the merge is allowed."""

        async def step(ctx: Context) -> None:
            self._clock.set(max(await self._clock.now(), at))
            ids = await ctx.workspace.passes.ids_of([survivor, other])
            with contextlib.suppress(NotFound, Conflict, InvalidInput):
                await merge_passes(ctx, ids.get(survivor, "nobody"), ids.get(other, "nobody"))

        return step

    def clock_step(self, at: datetime) -> Step:
        """Set the clock."""

        async def step(ctx: Context) -> None:
            self._clock.set(at)

        return step

    def define_step(self, name: str) -> Step:
        """Create a segment."""

        async def step(ctx: Context) -> None:
            try:
                self.segments[name] = (await create_segment(ctx, name, name, CRITERIA[name][0])).id
            except Conflict:
                # The first call created the segment, and its reply was lost.
                existing = await ctx.workspace.segments.by_key(name)
                assert existing is not None
                self.segments[name] = existing.id
            self.criteria_names[self.segments[name], 1] = name

        return step

    def edit_step(self, name: str, like: str) -> Step:
        """Give a segment the criteria of another name, unless the segment is archived."""

        async def step(ctx: Context) -> None:
            try:
                edited = await update_segment(ctx, self.segments[name], criteria=CRITERIA[like][0], notify="EMIT")
            except Conflict:
                return
            self.criteria_names[edited.id, edited.version] = like

        return step

    def archive_step(self, name: str) -> Step:
        """Archive a segment."""

        async def step(ctx: Context) -> None:
            await archive_segment(ctx, self.segments[name], notify="EMIT")

        return step
