"""Ranges of ids, for lists that go on inside one instant.

Files with dates only give all events of a day one instant. Such an instant may hold more events than one query may
read, so a scan cuts the ids of the instant into ranges. An id is a prefix and at least 24 hexadecimal digits. Most ids
are hashes or random, and spread evenly. Ids of events without an identity begin with their time of recording, so they lie
close together.
"""

from __future__ import annotations

from dataclasses import dataclass

ID_BITS = 64
"""Bits of the number that stands for an id: its first 16 hexadecimal digits."""
FIRST_ID_BITS = ID_BITS - 10
"""Width of the first range of ids in an instant, as a power of two."""
BEFORE_ALL_IDS, AFTER_ALL_IDS = "", "\uffff"
_ALL_IDS = 1 << ID_BITS
_DIGITS = ID_BITS // 4


@dataclass(frozen=True, slots=True)
class IdSpace:
    """All ids of one kind of object, which begin with a prefix such as "event_"."""

    prefix: str

    def number(self, object_id: str) -> int:
        """Return the number, from 0 to 2^64, of an id or of a bound between ids."""
        if not object_id.startswith(self.prefix):
            return 0 if object_id < self.prefix else _ALL_IDS
        try:
            return int(object_id[len(self.prefix) :][:_DIGITS], 16)
        except ValueError:
            return _ALL_IDS

    def bound(self, number: int) -> str:
        """Return the bound between ids that a number stands for. No id equals a bound, because ids are longer."""
        if number <= 0:
            return BEFORE_ALL_IDS
        return AFTER_ALL_IDS if number >= _ALL_IDS else f"{self.prefix}{number:0{_DIGITS}x}"

    def next_bound(self, after_id: str, bits: int, *, ascending: bool) -> str:
        """Return the end of the range that begins at `after_id` and is 2^bits wide, in the direction of the scan."""
        number, width = self.number(after_id), 1 << bits
        return self.bound(number + width if ascending else number - width)

    def bits_between(self, first_id: str, second_id: str) -> int:
        """Return the width of the range between two ids as a power of two, rounded down; at least 0."""
        return max(0, abs(self.number(first_id) - self.number(second_id)).bit_length() - 1)


EVENT_IDS, PASS_IDS = IdSpace("event_"), IdSpace("pass_")
