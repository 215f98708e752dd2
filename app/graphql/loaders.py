"""Loaders: however many fields ask for an object by id, one read of the store answers them. Made for each operation."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import cached_property
from typing import TypeVar

from strawberry.dataloader import DataLoader

from app.domain.activities import Activity
from app.domain.actors import ApiKey
from app.domain.audit import AuditEntry
from app.domain.events.events import Event
from app.domain.inbound.deliveries import InboundDelivery
from app.domain.inbound.hooks import InboundHook
from app.domain.jobs import Job
from app.domain.passes.passes import Pass
from app.domain.segments.segments import Segment
from app.domain.state.points import Lots
from app.domain.webhooks.deliveries import WebhookDelivery, WebhookDeliveryStatus
from app.domain.webhooks.endpoints import WebhookEndpoint
from app.domain.webhooks.partitions import PartitionState
from app.store.workspace.receipts import FoldState
from app.store.workspace.workspace import Workspace

K = TypeVar("K")
T = TypeVar("T")


class Loaders:
    """One loader a noun, made when first asked; each gives None for what does not exist in the workspace."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace

    @cached_property
    def passes(self) -> DataLoader[str, Pass | None]:
        """Passes by id."""
        return _loader(self._workspace.passes.get_many)

    @cached_property
    def lots(self) -> DataLoader[str, Lots | None]:
        """What of the points of a pass has an end, by its id."""
        return _loader(self._workspace.passes.lots)

    @cached_property
    def aliases(self) -> DataLoader[str, tuple[str, ...] | None]:
        """The passes that a pass answers for, by its id."""
        return _loader(self._workspace.passes.aliases)

    @cached_property
    def events(self) -> DataLoader[str, Event | None]:
        """Events by id."""
        return _loader(self._workspace.events.get_many)

    @cached_property
    def fold_states(self) -> DataLoader[str, FoldState | None]:
        """How far events are, by id."""
        return _loader(self._workspace.fold_states.of)

    @cached_property
    def activities(self) -> DataLoader[str, Activity | None]:
        """Activities by id."""
        return _loader(self._workspace.activities.get_many)

    @cached_property
    def segments(self) -> DataLoader[str, Segment | None]:
        """Segments by id."""
        return _loader(self._workspace.segments.get_many)

    @cached_property
    def jobs(self) -> DataLoader[str, Job | None]:
        """Jobs by id."""
        return _loader(self._workspace.jobs.get_many)

    @cached_property
    def member_counts(self) -> DataLoader[str, int | None]:
        """How many passes are in a segment, by its id."""
        return _loader(self._workspace.segments.member_counts)

    @cached_property
    def evaluated_counts(self) -> DataLoader[int, tuple[int, int] | None]:
        """(passes, passes judged under it) by revision."""
        return _loader(self._workspace.segments.evaluated_counts)

    @cached_property
    def hooks(self) -> DataLoader[str, InboundHook | None]:
        """Inbound hooks by id."""
        return _loader(self._workspace.hooks.get_many)

    @cached_property
    def deliveries(self) -> DataLoader[str, InboundDelivery | None]:
        """What inbound hooks received, by id, with bodies."""
        return _loader(self._workspace.inbound.get_many)

    @cached_property
    def webhooks(self) -> DataLoader[str, WebhookEndpoint | None]:
        """Webhook endpoints by id."""
        return _loader(self._workspace.webhooks.get_many)

    @cached_property
    def partitions(self) -> DataLoader[str, PartitionState | None]:
        """How far webhook endpoints are, by id."""
        return _loader(self._workspace.partitions.states)

    @cached_property
    def webhook_counts(self) -> DataLoader[str, Mapping[WebhookDeliveryStatus, int] | None]:
        """How many deliveries to webhook endpoints wait or have failed, by the endpoint's id."""
        return _loader(self._workspace.deliveries.counts)

    @cached_property
    def webhook_deliveries(self) -> DataLoader[str, WebhookDelivery | None]:
        """Deliveries to webhook endpoints by id."""
        return _loader(self._workspace.deliveries.get_many)

    @cached_property
    def points_ends(self) -> DataLoader[int, int | None]:
        """The position of the newest activity, by any position that exists; the same for all."""

        async def last(known: list[int]) -> dict[int, int]:
            return dict.fromkeys(known, await self._workspace.activities.last_pos(min(known)))

        return _loader(last)

    @cached_property
    def keys(self) -> DataLoader[str, ApiKey | None]:
        """API keys by id."""
        return _loader(self._workspace.keys.get_many)

    @cached_property
    def audit_entries(self) -> DataLoader[str, AuditEntry | None]:
        """Entries of the audit log by id."""
        return _loader(self._workspace.audit.get_many)


def _loader(get_many: Callable[[list[K]], Awaitable[Mapping[K, T]]]) -> DataLoader[K, T | None]:
    async def load(ids: list[K]) -> list[T | BaseException | None]:
        found = await get_many(ids)
        return [found.get(key) for key in ids]

    return DataLoader(load_fn=load)
