"""Quota: how many of something may be open at once, at this process and for each API key."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from app.graphql.errors import ErrorCode, refuse


class Quota:
    """A number of places at this process, of which one key may take only some."""

    def __init__(self, noun: str, most: int, most_per_key: int) -> None:
        self._noun = noun
        self._most = most
        self._most_per_key = most_per_key
        self._taken: Counter[str] = Counter()
        self._all = 0

    @contextmanager
    def acquire(self, key_id: str) -> Iterator[None]:
        """Takes a place while the block runs. Raises RequestRefused (THROTTLED), safe to repeat, where none is free."""
        if self._all >= self._most:
            raise self._full(self._most, "here")
        if self._taken[key_id] >= self._most_per_key:
            raise self._full(self._most_per_key, "for one API key")
        self._all += 1
        self._taken[key_id] += 1
        try:
            yield
        finally:
            self._all -= 1
            self._taken[key_id] -= 1
            if not self._taken[key_id]:
                del self._taken[key_id]

    def _full(self, most: int, where: str) -> Exception:
        said = f"At most {most} {self._noun} are open {where} at once."
        return refuse(ErrorCode.THROTTLED, said, limit=self._noun, most=most)
