"""Choice of what serves a plan: the sealed months, days and hours that are used, and the hours whose events are read."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from .levels import Level
from .plans import Head, Period, PeriodPlan


@dataclass(frozen=True, slots=True)
class Choice:
    """What serves a plan.

    - `contents`: periods whose contents are used.
    - `absent`: periods without a head, in which no event ever counted. Nothing is read for them.
    - `dirty`: hours that are dirty, so that their events are read.
    """

    contents: Mapping[Period, Head]
    absent: frozenset[Period]
    dirty: tuple[Period, ...]

    @property
    def heads(self) -> dict[Period, Head]:
        """The heads on which the choice rests: those of the contents, and empty ones for periods without a head."""
        return {**self.contents, **dict.fromkeys(self.absent, Head())}


@dataclass(frozen=True, slots=True)
class Expansion:
    """Choice of one level: what it uses of its periods, and the periods of the next shorter level to look at."""

    contents: Mapping[Period, Head]
    absent: frozenset[Period]
    inside: tuple[Period, ...]


def choose(
    plan: PeriodPlan, level: Level, periods: Collection[Period], heads: Mapping[Period, Head], dirty: Iterable[Period]
) -> Expansion:
    """Choose among periods of one level: months or days. `heads` has the heads of those that have one.

    `dirty` has the dirty periods of the shorter levels. A period is used if its head is clean and nothing in it is dirty.
    """
    unsound = {each.around(level) for each in dirty}
    shorter = Level.DAY if level is Level.MONTH else Level.HOUR
    contents: dict[Period, Head] = {}
    absent: set[Period] = set()
    inside: list[Period] = []
    for period in periods:
        head = heads.get(period)
        if head is None and period not in unsound:
            absent.add(period)
        elif head is None or not plan.can_use(head) or period in unsound:
            inside += plan.parts(period, shorter)
        elif level is Level.DAY:
            contents[period] = head
        else:
            coarse = plan.coarse_days(period)
            inside += coarse
            if len(coarse) < len(plan.parts(period, Level.DAY)):
                contents[period] = head
    return Expansion(contents, frozenset(absent), tuple(inside))


def choose_hours(
    plan: PeriodPlan, hours: Collection[Period], heads: Mapping[Period, Head], dirty: Collection[Period]
) -> Choice:
    """Choose among hours. A head that turned dirty after the dirty hours were listed makes the hour dirty, too.

    So does a content without the dimension of the plan: the events of the hour are read.
    """
    unsound = set(dirty)
    contents, absent, to_read = {}, set(), []
    for hour in hours:
        head = heads.get(hour)
        if hour in unsound or (head is not None and not plan.can_use(head)):
            to_read.append(hour)
        elif head is None:
            absent.add(hour)
        else:
            contents[hour] = head
    return Choice(contents, frozenset(absent), tuple(to_read))
