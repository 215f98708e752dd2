"""Queues of the partitions of one reader in memory: the work read from the activity log, and where to read next.

A webhook endpoint and the stage `react` are readers of the log. Each reads the log once for all its queues. A queue
becomes full while its first item fails or is slow. The reader skips the items of a full queue, and reads them again
from the log when the queue has room.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from app.domain.activities import Activity
from app.domain.webhooks.partitions import BlockedHead, partition_of

LOG_BATCH_SIZE = 250
"""Activities that one read of the log returns."""
MAX_QUEUED_MESSAGES = 250
MAX_QUEUED_BYTES = 65_536
"""The size at which a queue is full: 16 queues hold about 1 MB, and the 100 endpoints of a worker about 100 MB."""
REFILL_BELOW_MESSAGES = 64
"""Messages below which the log is read on for a queue, before the queue is empty."""


class Queued(Protocol):
    """What a reader does about one activity, such as a message to send. `size_bytes` is its size in memory."""

    @property
    def position(self) -> int:
        """The position of the activity in the log."""

    @property
    def size_bytes(self) -> int:
        """The size in memory, about."""


Q = TypeVar("Q", bound=Queued)


@dataclass
class Partition(Generic[Q]):
    """The queue of one partition.

    `messages` are the items from `position` up to before `next_read` that the reader does something about, in order.
    `head` describes the failed attempts of the first one, if there are any. `next_read` is the position in the log from
    which to read on for this partition.
    """

    position: int
    next_read: int
    head: BlockedHead | None = None
    is_sending: bool = False
    messages: deque[Q] = field(default_factory=deque)
    queued_bytes: int = 0

    @property
    def is_full(self) -> bool:
        """Whether the queue accepts no more messages for now."""
        return len(self.messages) >= MAX_QUEUED_MESSAGES or self.queued_bytes >= MAX_QUEUED_BYTES

    @property
    def needs_messages(self) -> bool:
        """Whether the queue may soon be empty."""
        return len(self.messages) < REFILL_BELOW_MESSAGES and self.queued_bytes < MAX_QUEUED_BYTES // 4

    def can_send(self, now_ms: int) -> bool:
        """Return whether the first message may be sent now."""
        return bool(self.messages) and not self.is_sending and (self.head is None or self.head.retry_at_ms <= now_ms)

    def append(self, queued: Q) -> None:
        """Add a message at the end of the queue."""
        self.messages.append(queued)
        self.queued_bytes += queued.size_bytes

    def advance(self) -> None:
        """Remove the first message, which is delivered or deferred."""
        self.queued_bytes -= self.messages.popleft().size_bytes
        self.update_position()

    def update_position(self) -> None:
        """Set the position to that of the first message, or to `next_read` if the queue is empty.

        If the position changes, the failed attempts are dropped: they belong to a message that is not first any more.
        That message was sent or deferred, or a new filter hides it.
        """
        before, self.position = self.position, self.messages[0].position if self.messages else self.next_read
        if self.position != before:
            self.head = None


class Partitions(Generic[Q]):
    """The queues of all partitions of one reader."""

    def __init__(self, positions: Sequence[int], heads: Mapping[int, BlockedHead]) -> None:
        self.all: list[Partition[Q]] = [
            Partition(position, position, heads.get(number)) for number, position in enumerate(positions)
        ]

    @property
    def positions(self) -> tuple[int, ...]:
        """The positions of the partitions, by number."""
        return tuple(partition.position for partition in self.all)

    @property
    def heads(self) -> dict[int, BlockedHead]:
        """The failed attempts of first messages, by the number of their partition."""
        return {number: partition.head for number, partition in enumerate(self.all) if partition.head is not None}

    def drop_messages(self) -> None:
        """Drop the messages, so that they are read again with another filter. A message that is being sent stays."""
        for partition in self.all:
            kept = [partition.messages[0]] if partition.is_sending else []
            partition.messages, partition.queued_bytes = deque(kept), sum(each.size_bytes for each in kept)
            partition.next_read = kept[0].position + 1 if kept else partition.position

    def find_next_read(self) -> int | None:
        """Return the position from which to read the log next, or None if no queue needs messages."""
        return min((partition.next_read for partition in self.all if partition.needs_messages), default=None)

    def feed(
        self, start: int, activities: Iterable[Activity], end: int, item_of: Callable[[Activity], Q | None]
    ) -> None:
        """Add what the reader does about the activities from `start` up to before `end` to the queues.

        `item_of` returns the item of an activity, or None if there is nothing to do. A queue that becomes full stops at
        the first activity that has no room.
        """
        # Leave out partitions whose next_read lies before start: they would miss the activities in between.
        open_numbers = {
            number
            for number, partition in enumerate(self.all)
            if partition.next_read >= start and not partition.is_full
        }
        for activity in activities:
            number = partition_of(activity.pass_id)
            partition = self.all[number]
            if number not in open_numbers or activity.position < partition.next_read:
                continue
            if partition.is_full:
                open_numbers.discard(number)
                partition.next_read = activity.position
                continue
            queued = item_of(activity)
            if queued is not None:
                partition.append(queued)
        for number in open_numbers:
            partition = self.all[number]
            partition.next_read = max(partition.next_read, end)
        for partition in self.all:
            partition.update_position()
