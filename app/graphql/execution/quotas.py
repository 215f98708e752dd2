"""Quota: a limit on how many streams or sockets may be open at once, in one process and for each API key."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from app.graphql.errors import ErrorCode, refuse


class Quota:
    """Limit on open streams or sockets of this process, and on those of one API key. `noun` names them in messages."""

    def __init__(self, noun: str, limit: int, limit_per_key: int) -> None:
        self._noun = noun
        self._limit = limit
        self._limit_per_key = limit_per_key
        self._open_by_key: Counter[str] = Counter()
        self._open = 0

    @contextmanager
    def acquire(self, key_id: str) -> Iterator[None]:
        """Count one more as open while the block runs.

        Raises RequestRefused (THROTTLED) if the limit of the process or of the key is reached; safe to repeat.
        """
        if self._open >= self._limit:
            raise self._refuse(self._limit, "in this process")
        if self._open_by_key[key_id] >= self._limit_per_key:
            raise self._refuse(self._limit_per_key, "for one API key")
        self._open += 1
        self._open_by_key[key_id] += 1
        try:
            yield
        finally:
            self._open -= 1
            self._open_by_key[key_id] -= 1
            if not self._open_by_key[key_id]:
                del self._open_by_key[key_id]

    def _refuse(self, limit: int, where: str) -> Exception:
        message = f"At most {limit} {self._noun} may be open {where} at once. Close one, then retry."
        return refuse(ErrorCode.THROTTLED, message, limit=self._noun, most=limit)
