"""Pools of clients that the API knows nothing about yet: few places, and few for one address."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

ADDRESS_PERCENT = 50
"""Share of a pool that one IP address may have. Behind a proxy, all clients may have one address."""


class WaitingPool:
    """Clients that have not proved who they are, the oldest first: sockets without a key, unsigned messages.

    A client that finds no place takes the place of the oldest one. Honest clients wait for milliseconds only, so the
    oldest client is one that holds its place on purpose.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._limit_per_address = max(1, limit * ADDRESS_PERCENT // 100)
        self._ends: dict[object, tuple[str, Callable[[], None]]] = {}
        """The address and the function that ends the wait, by a token of the client, the oldest first."""
        self._count_by_address: Counter[str] = Counter()

    @contextmanager
    def wait(self, address: str, end: Callable[[], None]) -> Iterator[None]:
        """Count a client as waiting while the block runs. Call `end` if a newer client takes its place."""
        if self._count_by_address[address] >= self._limit_per_address:
            self._end_oldest(address)
        elif len(self._ends) >= self._limit:
            self._end_oldest()
        token = object()
        self._ends[token] = (address, end)
        self._count_by_address[address] += 1
        try:
            yield
        finally:
            self._remove(token)

    def _end_oldest(self, address: str | None = None) -> None:
        token = next(token for token, (at, _) in self._ends.items() if address in (None, at))
        _, end = self._ends[token]
        self._remove(token)
        end()

    def _remove(self, token: object) -> None:
        if token in self._ends:
            address, _ = self._ends.pop(token)
            self._count_by_address[address] -= 1
            if not self._count_by_address[address]:
                del self._count_by_address[address]
