"""What the store can do, and what one operation of a client may take of it."""

from __future__ import annotations

from dataclasses import dataclass

from app.domain.errors import OperationTooLarge

MAX_CALLS_PER_OPERATION = 8
"""Calls to the store that one operation runs at once. Its other calls wait."""
MAX_READ_BYTES = 67_108_864
"""Data that one operation reads from the store, as the store sends it."""
MAX_ANSWER_BYTES = 67_108_864
"""Answer of one operation, as JSON."""
MAX_WORKSPACE_BYTES = 134_217_728
"""Data and answers that all running operations of a workspace hold in one process."""
UNTHROTTLED_BYTES = 1_048_576
"""An operation below this size goes on while its workspace holds too much, so that the workspace stays usable."""
ANSWER_STEP_BYTES = 65_536
"""Bytes of an answer after which its size is compared with the limits again."""
ROWS_PER_POINT = 10
"""Rows of rollups that cost a point. To compute one and to add it up takes the API 10 us, on any store."""
EXAMINED_HALF_LIFE_SECONDS = 2.0
"""Time after which half of the documents that a workspace examined are forgotten."""
ACTIVE_SECONDS = 5.0
"""How long a workspace counts as using the process after its last operation began."""
READ_GRACE_SECONDS = 0.25
"""How long a read may outlast its operation, so that the engine reports the timeout before the store does."""
MIN_READ_SECONDS = 0.005
"""A read does not start with less time. The driver sends whole milliseconds, and the store takes 0 as "no limit"."""


@dataclass(frozen=True)
class StoreCapacity:
    """What a store can do.

    - `calls_per_workspace`: calls that all operations of a workspace run at once in one process. Others wait, in turns.
    - `calls_of_heavy_workspace`: the same for a workspace that has lately examined more than `heavy_documents`, while
      other workspaces use the process.
    - `examined_per_point`: documents that cost a point if the store has to read them, to count or to aggregate them.
    - `counted_per_point`: entries of an index that cost a point if the store only counts them.
    """

    calls_per_workspace: int = 12
    calls_of_heavy_workspace: int = 4
    heavy_documents: int = 100_000
    examined_per_point: int = 50
    counted_per_point: int = 1_000


EMBEDDED_CAPACITY = StoreCapacity(
    calls_per_workspace=4,
    calls_of_heavy_workspace=1,
    heavy_documents=1_000,
    examined_per_point=5,
    counted_per_point=50,
)
"""Capacity of the embedded server, which takes 25 us for each entry of an index, and works on one call at a time."""


def too_many_bytes(limit: str, most: int, verb: str) -> OperationTooLarge:
    """Return the error for an operation that would read or answer too much data."""
    message = f"The operation {verb} more than {most:,} bytes. Select fewer items, or leave out large fields."
    return OperationTooLarge(limit, most, message)
