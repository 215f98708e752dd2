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
from app.domain.webhooks.messages import Message, render_message
from app.domain.webhooks.partitions import BlockedHead, partition_of

LOG_BATCH_SIZE = 250
MAX_QUEUED_MESSAGES = 250
MAX_QUEUED_BYTES = 65_536
"""So 16 lanes hold a megabyte, and the hundred endpoints that a worker delivers to at once no more than it can spare."""
REFILL_BELOW_MESSAGES = 64
"""A lane with fewer messages than that is fed before it runs dry."""


@dataclass(frozen=True, slots=True)
class QueuedMessage:
    """A message on its way, and what it is about."""

    position: int
    activity_id: str
    type: str
    recorded_at: datetime
    message: Message


@dataclass
class Partition:
    """One lane. `waiting` is everything of it that is shown to the endpoint from `next` to `read`, the next first."""

    next: int
    read: int
    head: BlockedHead | None = None
    is_sending: bool = False
    messages: deque[QueuedMessage] = field(default_factory=deque)
    queued_bytes: int = 0

    @property
    def is_full(self) -> bool:
        """Whether it takes no more for now."""
        return len(self.messages) >= MAX_QUEUED_MESSAGES or self.queued_bytes >= MAX_QUEUED_BYTES

    @property
    def needs_messages(self) -> bool:
        """Whether it could soon have nothing to send."""
        return len(self.messages) < REFILL_BELOW_MESSAGES and self.queued_bytes < MAX_QUEUED_BYTES // 4

    def can_send(self, now_ms: int) -> bool:
        """Whether its first message may be sent."""
        return bool(self.messages) and not self.is_sending and (self.head is None or self.head.retry_at_ms <= now_ms)

    def append(self, parcel: QueuedMessage) -> None:
        """Puts a message behind the others."""
        self.messages.append(parcel)
        self.queued_bytes += len(parcel.message.body)

    def advance(self) -> None:
        """Goes on behind its first message."""
        self.queued_bytes -= len(self.messages.popleft().message.body)
        self.update_position()

    def update_position(self) -> None:
        """Notes where it stands now. What failed is forgotten with its message, which a new filter may not show."""
        before, self.next = self.next, self.messages[0].position if self.messages else self.read
        if self.next != before:
            self.head = None


class Partitions:
    """All lanes of one endpoint."""

    def __init__(self, positions: Sequence[int], heads: Mapping[int, BlockedHead]) -> None:
        self.all = [Partition(pos, pos, heads.get(number)) for number, pos in enumerate(positions)]

    @property
    def positions(self) -> tuple[int, ...]:
        """Where each of them stands."""
        return tuple(lane.next for lane in self.all)

    @property
    def heads(self) -> dict[int, BlockedHead]:
        """The heads that failed, by the number of their lane."""
        return {number: lane.head for number, lane in enumerate(self.all) if lane.head is not None}

    def drop_messages(self) -> None:
        """Drops what was read, for it to be read by another filter; what is being sent stays the first of its lane."""
        for lane in self.all:
            kept = [lane.messages[0]] if lane.is_sending else []
            lane.messages, lane.queued_bytes = deque(kept), sum(len(each.message.body) for each in kept)
            lane.read = kept[0].position + 1 if kept else lane.next

    def next_to_read(self) -> int | None:
        """From which position the log is to be read next; None while no lane is hungry."""
        return min((lane.read for lane in self.all if lane.needs_messages), default=None)

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
        fed = {number for number, lane in enumerate(self.all) if lane.read >= start and not lane.is_full}
        for activity in activities:
            number = partition_of(activity.pass_id)
            lane = self.all[number]
            if number not in fed or activity.position < lane.read or not shown(activity):
                continue
            if lane.is_full:
                fed.discard(number)
                lane.read = activity.position
                continue
            message = render_message(activity, names.get(activity.pass_id))
            lane.append(QueuedMessage(activity.position, activity.id, activity.type, activity.recorded_at, message))
        for number in fed:
            lane = self.all[number]
            lane.read = max(lane.read, end)
        for lane in self.all:
            lane.update_position()
