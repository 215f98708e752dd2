"""Ranges of event ids, for lists that go on inside one instant.

Files with dates only give all events of a day one instant. Such an instant may hold more events than one query may
read, so a scan cuts the ids of the instant into ranges. An id is a prefix and at least 28 hexadecimal digits. Most ids
are hashes and spread evenly. Ids of events without an identity begin with their time of recording, so they lie close
together.
"""

from __future__ import annotations

ID_PREFIX = "event_"
ID_BITS = 64
"""Bits of the number that stands for an id: its first 16 hexadecimal digits."""
FIRST_ID_BITS = ID_BITS - 10
"""Width of the first range of ids in an instant, as a power of two."""
BEFORE_ALL_IDS, AFTER_ALL_IDS = "", "\uffff"
_ALL_IDS = 1 << ID_BITS
_DIGITS = ID_BITS // 4


def id_number(event_id: str) -> int:
    """Return the number, from 0 to 2^64, of an id or of a bound between ids."""
    if not event_id.startswith(ID_PREFIX):
        return 0 if event_id < ID_PREFIX else _ALL_IDS
    try:
        return int(event_id[len(ID_PREFIX) :][:_DIGITS], 16)
    except ValueError:
        return _ALL_IDS


def id_bound(number: int) -> str:
    """Return the bound between ids that a number stands for. No id equals a bound, because ids are longer."""
    if number <= 0:
        return BEFORE_ALL_IDS
    return AFTER_ALL_IDS if number >= _ALL_IDS else f"{ID_PREFIX}{number:0{_DIGITS}x}"


def next_id_bound(after_id: str, bits: int, *, ascending: bool) -> str:
    """Return the end of the range that begins at `after_id` and is 2^bits wide, in the direction of the scan."""
    number, width = id_number(after_id), 1 << bits
    return id_bound(number + width if ascending else number - width)


def id_bits_between(first_id: str, second_id: str) -> int:
    """Return the width of the range between two ids as a power of two, rounded down; at least 0."""
    return max(0, abs(id_number(first_id) - id_number(second_id)).bit_length() - 1)
