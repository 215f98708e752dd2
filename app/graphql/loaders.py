"""Loaders: however many fields ask for an object by id, one read of the store answers them. Made for each operation."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

from strawberry.dataloader import DataLoader

from app.domain.activities import Activity
from app.domain.actors import ApiKey
from app.domain.events import Event
from app.domain.jobs import Job
from app.domain.passes import Pass
from app.domain.segments import Segment
from app.store.workspace import Workspace

K = TypeVar("K")
T = TypeVar("T")


class Loaders:
    """One loader a noun; each gives None for an id that does not exist in the workspace."""

    def __init__(self, workspace: Workspace) -> None:
        self.passes: DataLoader[str, Pass | None] = _loader(workspace.passes.get_many)
        self.events: DataLoader[str, Event | None] = _loader(workspace.events.get_many)
        self.activities: DataLoader[str, Activity | None] = _loader(workspace.activities.get_many)
        self.segments: DataLoader[str, Segment | None] = _loader(workspace.segments.get_many)
        self.jobs: DataLoader[str, Job | None] = _loader(workspace.jobs.get_many)
        self.member_counts: DataLoader[str, int | None] = _loader(workspace.segments.member_counts)
        self.judged: DataLoader[int, tuple[int, int] | None] = _loader(workspace.segments.judged)
        self.keys: DataLoader[str, ApiKey | None] = _loader(workspace.keys.get_many)


def _loader(get_many: Callable[[list[K]], Awaitable[Mapping[K, T]]]) -> DataLoader[K, T | None]:
    async def load(ids: list[K]) -> list[T | BaseException | None]:
        found = await get_many(ids)
        return [found.get(key) for key in ids]

    return DataLoader(load_fn=load)
