"""Points that an operation of a client pays for work of the API process, beside the points for what it reads."""

from __future__ import annotations

from .usage import current_usage


async def charge_points(points: int) -> None:
    """Charge the running operation, if there is one.

    Raises OperationTooLarge if the operation costs too much, and Throttled if the budget does not cover the points.
    """
    usage = current_usage()
    if usage is not None and points > 0:
        await usage.charge_points(points)
