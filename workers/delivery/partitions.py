"""The lanes of one endpoint while it is delivered to: what was read of the log for each, and where the log is read next.

One reader feeds all of them. A lane that is full, because its first message fails or takes its time, is passed over; when
it has room again, the log is read once more from where it stopped.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from app.domain.activities import Activity
from app.domain.webhooks.messages import Message, message_of
from app.domain.webhooks.partitions import Head, lane_of

READ_AT_ONCE = 250
DEEP = 250
DEEP_BYTES = 65_536
"""So 16 lanes hold a megabyte, and the hundred endpoints that a worker delivers to at once no more than it can spare."""
SHALLOW = 64
"""A lane with fewer messages than that is fed before it runs dry."""


@dataclass(frozen=True, slots=True)
class Parcel:
    """A message on its way, and what it is about."""

    pos: int
    activity_id: str
    type: str
    recorded_at: datetime
    message: Message


@dataclass
class Lane:
    """One lane. `waiting` is everything of it that is shown to the endpoint from `next` to `read`, the next first."""

    next: int
    read: int
    head: Head | None = None
    sending: bool = False
    waiting: deque[Parcel] = field(default_factory=deque)
    size: int = 0

    @property
    def full(self) -> bool:
        """Whether it takes no more for now."""
        return len(self.waiting) >= DEEP or self.size >= DEEP_BYTES

    @property
    def hungry(self) -> bool:
        """Whether it could soon have nothing to send."""
        return len(self.waiting) < SHALLOW and self.size < DEEP_BYTES // 4

    def starts(self, now_ms: int) -> bool:
        """Whether its first message may be sent."""
        return bool(self.waiting) and not self.sending and (self.head is None or self.head.at_ms <= now_ms)

    def take(self, parcel: Parcel) -> None:
        """Puts a message behind the others."""
        self.waiting.append(parcel)
        self.size += len(parcel.message.body)

    def passed(self) -> None:
        """Goes on behind its first message."""
        self.size -= len(self.waiting.popleft().message.body)
        self.moved()

    def moved(self) -> None:
        """Notes where it stands now. What failed is forgotten with its message, which a new filter may not show."""
        before, self.next = self.next, self.waiting[0].pos if self.waiting else self.read
        if self.next != before:
            self.head = None


class Lanes:
    """All lanes of one endpoint."""

    def __init__(self, positions: Sequence[int], heads: Mapping[int, Head]) -> None:
        self.all = [Lane(pos, pos, heads.get(number)) for number, pos in enumerate(positions)]

    @property
    def next(self) -> tuple[int, ...]:
        """Where each of them stands."""
        return tuple(lane.next for lane in self.all)

    @property
    def heads(self) -> dict[int, Head]:
        """The heads that failed, by the number of their lane."""
        return {number: lane.head for number, lane in enumerate(self.all) if lane.head is not None}

    def forget(self) -> None:
        """Drops what was read, for it to be read by another filter; what is being sent stays the first of its lane."""
        for lane in self.all:
            kept = [lane.waiting[0]] if lane.sending else []
            lane.waiting, lane.size = deque(kept), sum(len(each.message.body) for each in kept)
            lane.read = kept[0].pos + 1 if kept else lane.next

    def wanted(self) -> int | None:
        """From which position the log is to be read next; None while no lane is hungry."""
        return min((lane.read for lane in self.all if lane.hungry), default=None)

    def feed(
        self,
        start: int,
        activities: Iterable[Activity],
        end: int,
        shown: Callable[[Activity], bool],
        names: Mapping[str, str],
    ) -> None:
        """Gives the lanes what was read of the log from `start` up to before `end`; `names` are passes' external ids."""
        # A lane that stopped before what was read has a gap there: it waits for its turn.
        fed = {number for number, lane in enumerate(self.all) if lane.read >= start and not lane.full}
        for activity in activities:
            number = lane_of(activity.pass_id)
            lane = self.all[number]
            if number not in fed or activity.pos < lane.read or not shown(activity):
                continue
            if lane.full:
                fed.discard(number)
                lane.read = activity.pos
                continue
            message = message_of(activity, names.get(activity.pass_id))
            lane.take(Parcel(activity.pos, activity.id, activity.type, activity.recorded_at, message))
        for number in fed:
            lane = self.all[number]
            lane.read = max(lane.read, end)
        for lane in self.all:
            lane.moved()
