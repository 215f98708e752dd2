"""What the business of a run does: it records, defines, edits and archives, and repeats whatever was not answered."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from random import Random
from zlib import crc32

from app.clock import FixedClock
from app.commands.context import Context
from app.commands.events.record import record_events
from app.commands.passes.merges import merge_passes
from app.commands.passes.removals import erase_pass, remove_events
from app.commands.segments import archive_segment, create_segment, update_segment
from app.domain.errors import Code, Conflict, InvalidInput, NotFound, Unavailable
from app.domain.events.events import EventInput
from app.domain.ids import event_id
from app.domain.values.instants import to_ms
from tests import oracle
from tests.business import bought_within, nothing_for, purchases, spent

START = datetime(2026, 1, 1, tzinfo=UTC)
QUARTER = timedelta(hours=6)
PASSES = ("ann", "bob", "cyd")
CRITERIA: Mapping[str, tuple[dict[str, object], oracle.Verdict, list[int]]] = {
    "recent": (bought_within(30), oracle.bought_within(30), [30]),
    "away": (nothing_for(60), oracle.nothing_for(60), [60]),
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


def points(identity: str, at: datetime) -> dict[str, object]:
    """What an event gives or takes: most of it with an end, which may lie before the event if that comes late."""
    number = crc32(identity.encode())
    given = number % 7 * 10 - 20
    if given <= 0 or number % 5 == 0:
        return {"points": given}
    if number % 5 < 3:
        return {"points": given, "points_expire_at": at + timedelta(days=number % 90 + 1, milliseconds=number % 1000)}
    return {"points": given, "points_expire_after_days": number % 40 + 1}


class Script:
    """The steps of one run, each safe to repeat, and what is known of what they did."""

    def __init__(self, random: Random, clock: FixedClock, *, late: bool, merging: bool = False) -> None:
        self.sent: dict[str, list[str]] = {}
        self.happened: dict[str, tuple[int, Decimal]] = {}
        self.targets: dict[str, str] = {}
        self.gone: dict[str, int] = {}
        self.segments: dict[str, str] = {}
        self.meant: dict[tuple[str, int], str] = {}
        self._random = random
        self._clock = clock
        self._late = late
        self._merging = merging
        self.steps = self._written()

    async def play(self, ctx: Context) -> None:
        """Goes through what is left of the steps; one without an answer is repeated."""
        while self.steps:
            try:
                await self.steps[0](ctx)
            except Unavailable:
                continue
            del self.steps[0]

    def _written(self) -> list[Step]:
        names = list(CRITERIA)
        self._random.shuffle(names)
        steps = [self.defined(name) for name in names[:3]]
        later = names[3:]
        now = START
        for batch in range(self._random.randrange(6, 10)):
            now += QUARTER * self._random.choice((1, 1, 4, 40, 100))
            steps.append(self.recorded(str(batch), now, self._random.sample(PASSES, self._random.randrange(1, 4))))
            chance = self._random.random()
            if chance < 0.45:
                # A definition has an instant of its own: whether it or an event came first is nobody's to say.
                now += timedelta(milliseconds=self._random.randrange(1, 500))
                steps.append(self.moved(now))
            if chance < 0.3 and later:
                steps.append(self.defined(later.pop()))
            elif chance < 0.4:
                steps.append(self.edited(self._random.choice(names[:3]), self._random.choice(names)))
            elif chance < 0.45:
                steps.append(self.archived(self._random.choice(names[:3])))
            if self._random.random() < 0.3:
                now += timedelta(milliseconds=self._random.randrange(1, 500))
                steps.append(self.removed(now, self._random.randrange(1, 4)))
            if self._random.random() < 0.06:
                now += timedelta(milliseconds=self._random.randrange(1, 500))
                steps.append(self.erased(now, self._random.choice(PASSES)))
            if self._merging and self._random.random() < 0.25:
                now += timedelta(milliseconds=self._random.randrange(1, 500))
                steps.append(self.merged(now, *self._random.sample(PASSES, 2)))
        steps.append(self.moved(now + timedelta(days=self._random.choice((1, 45, 200)))))
        return steps

    def recorded(self, batch: str, at: datetime, names: list[str]) -> Step:
        """A purchase of each pass, recorded shortly before it happens, some of it twice over; then it is that instant."""
        before = timedelta(milliseconds=self._random.choice((1, 1_000, 200_000)))
        inputs = [
            EventInput(
                "purchase",
                pass_external_id=name,
                amount=Decimal(self._random.choice((1, 60, 150))),
                occurred_at=at - self._belated(),
                external_id=f"{batch} {name}",
                **points(f"{batch} {name}", at),
            )
            for name in names
        ]
        again = [item for item in inputs if self._random.random() < 0.2]

        async def step(ctx: Context) -> None:
            self._clock.set(max(await self._clock.now(), at - before))
            outcome = await record_events(ctx, [*inputs, *again], create_missing_passes=True)
            # A repeat may come when what was recorded first was erased with its pass.
            refused = {problem.code for item in outcome.results for problem in item.problems}
            assert refused <= {Code.EVENT_REMOVED}, refused
            events = [item.event for item in outcome.results if item.event is not None]
            self.sent[batch] = [event_id(ctx.workspace.id, "api", f"{batch} {name}") for name in names]
            self.happened |= {event.id: (event.occurred_ms, event.amount or Decimal(0)) for event in events}
            self.targets |= {event.id: event.pass_id for event in events}
            self._clock.set(at)

        return step

    def _belated(self) -> timedelta:
        late = self._late and self._random.random() < 0.4
        return timedelta(days=self._random.randrange(1, 50)) if late else timedelta(0)

    def removed(self, at: datetime, count: int) -> Step:
        """Some events of whatever there are by then are removed."""
        seed = self._random.random()

        async def step(ctx: Context) -> None:
            self._clock.set(max(await self._clock.now(), at))
            left = [target for target in self.targets if self.gone.get(target, to_ms(at)) == to_ms(at)]
            chosen = Random(seed).sample(left, min(count, len(left)))
            self.gone |= dict.fromkeys(chosen, to_ms(at))
            await remove_events(ctx, [(self.targets[target], target) for target in chosen])

        return step

    def erased(self, at: datetime, name: str) -> Step:
        """A customer wants to be forgotten."""

        async def step(ctx: Context) -> None:
            self._clock.set(max(await self._clock.now(), at))
            try:
                await erase_pass(ctx, external_id=name)
            except (NotFound, Conflict):
                return

        return step

    def merged(self, at: datetime, survivor: str, other: str) -> Step:
        """Two customers turn out to be one."""

        async def step(ctx: Context) -> None:
            self._clock.set(max(await self._clock.now(), at))
            ids = await ctx.workspace.passes.ids_of([survivor, other])
            with contextlib.suppress(NotFound, Conflict, InvalidInput):
                await merge_passes(ctx, ids.get(survivor, "nobody"), ids.get(other, "nobody"))

        return step

    def moved(self, at: datetime) -> Step:
        """Only time passes."""

        async def step(ctx: Context) -> None:
            self._clock.set(at)

        return step

    def defined(self, name: str) -> Step:
        """A new segment."""

        async def step(ctx: Context) -> None:
            try:
                self.segments[name] = (await create_segment(ctx, name, name, CRITERIA[name][0])).id
            except Conflict:
                # The answer to the first call was lost.
                there = await ctx.workspace.segments.by_key(name)
                assert there is not None
                self.segments[name] = there.id
            self.meant[self.segments[name], 1] = name

        return step

    def edited(self, name: str, like: str) -> Step:
        """A segment gets other criteria, unless it is archived."""

        async def step(ctx: Context) -> None:
            try:
                edited = await update_segment(ctx, self.segments[name], criteria=CRITERIA[like][0], notify="EMIT")
            except Conflict:
                return
            self.meant[edited.id, edited.version] = like

        return step

    def archived(self, name: str) -> Step:
        """A segment is no more."""

        async def step(ctx: Context) -> None:
            await archive_segment(ctx, self.segments[name], notify="EMIT")

        return step
