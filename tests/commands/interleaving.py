"""A second change of a definition between the read and the write of a first one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from app.domain.segments.segments import VersionSummary
from app.store.workspace.definitions import DefinitionQueries


def interleave(monkeypatch: pytest.MonkeyPatch, other: Callable[[], Awaitable[object]]) -> None:
    """Run `other` once, before the next change of a definition reads the versions among which it inserts its own."""
    read = DefinitionQueries.summaries
    waiting = [other]

    async def summaries(store: DefinitionQueries) -> list[VersionSummary]:
        if waiting:
            await waiting.pop()()
        return await read(store)

    monkeypatch.setattr(DefinitionQueries, "summaries", summaries)
