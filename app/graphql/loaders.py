"""Loaders: they combine the reads of one operation, so that any number of fields reads objects by id in one query."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Hashable, Mapping
from functools import cached_property, partial
from typing import Any, TypeVar, cast

from strawberry.dataloader import DataLoader

from app.commands.events.lateness import RecordedEvent, find_late
from app.domain.activities import Activity, Entry
from app.domain.actors import ApiKey
from app.domain.audit import AuditEntry
from app.domain.events.events import Event
from app.domain.inbound.deliveries import InboundDelivery
from app.domain.inbound.hooks import InboundHook
from app.domain.jobs import Job
from app.domain.messages.channels import Channel
from app.domain.messages.messages import Message
from app.domain.passes.passes import Pass
from app.domain.rewards.rewards import LabelledReward
from app.domain.rules.rules import Rule
from app.domain.segments.edits import ScheduledEdit
from app.domain.segments.segments import Segment
from app.domain.state.lots import Lots
from app.domain.state.measures import State
from app.domain.tiers.programs import TierProgramVersion
from app.domain.webhooks.deliveries import WebhookDelivery, WebhookDeliveryStatus
from app.domain.webhooks.endpoints import WebhookEndpoint
from app.domain.webhooks.partitions import PartitionState
from app.store.workspace.receipts import FoldState
from app.store.workspace.workspace import Workspace

K = TypeVar("K")
T = TypeVar("T")


class Loaders:
    """Loaders of one operation. Each returns None for an id that does not exist in the workspace."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._reads: dict[Hashable, asyncio.Future[Any]] = {}

    async def read_once(self, key: Hashable, read: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Return the result of a read that runs only for the first of equal keys, such as two equal pages of a pass."""
        found = self._reads.get(key)
        if found is None:
            found = self._reads[key] = asyncio.ensure_future(read())
            found.add_done_callback(_ignore_error)
        # Without the shield, a field that is cancelled would cancel the read of all other fields.
        return cast(T, await asyncio.shield(found))

    @cached_property
    def passes(self) -> DataLoader[str, Pass | None]:
        """Passes by id."""
        return _loader(self._workspace.passes.get_many)

    @cached_property
    def lots(self) -> DataLoader[str, Lots | None]:
        """Points of a pass that have an end, by the id of the pass."""
        return _loader(self._workspace.passes.lots)

    @cached_property
    def aliases(self) -> DataLoader[str, tuple[str, ...] | None]:
        """Ids of the passes that were merged into a pass, by its id."""
        return _loader(self._workspace.passes.aliases)

    @cached_property
    def events(self) -> DataLoader[str, Event | None]:
        """Events by id."""
        return _loader(self._workspace.events.get_many)

    @cached_property
    def fold_states(self) -> DataLoader[str, FoldState | None]:
        """Fold states of events by id: whether an event is folded, and whether it was removed."""
        return _loader(self._workspace.fold_states.read)

    @cached_property
    def activities(self) -> DataLoader[str, Activity | None]:
        """Activities by id."""
        return _loader(self._workspace.activities.get_many)

    @cached_property
    def numbered_activities(self) -> DataLoader[tuple[str, int], Activity | None]:
        """Activities by the id of their pass and their number in it."""
        return _loader(self._workspace.activities.by_numbers)

    @cached_property
    def caused_activities(self) -> DataLoader[str, list[Activity] | None]:
        """Activities that an event caused, by its id."""
        return _loader(self._workspace.activities.of_events)

    @cached_property
    def lateness(self) -> DataLoader[RecordedEvent, bool | None]:
        """Whether an event counts late."""
        return _loader(partial(find_late, self._workspace))

    @cached_property
    def outboxes(self) -> DataLoader[str, list[Entry] | None]:
        """Entries that a pass has not published yet, by its id."""
        return _loader(self._workspace.outboxes.entries)

    @cached_property
    def made(self) -> DataLoader[str, list[Event] | None]:
        """Events that rules made for the events of a family, by its root. Read the outbox of the pass first."""
        return _loader(self._workspace.firings.made_for)

    @cached_property
    def segments(self) -> DataLoader[str, Segment | None]:
        """Segments by id."""
        return _loader(self._workspace.segments.get_many)

    @cached_property
    def scheduled_edits(self) -> DataLoader[str, ScheduledEdit | None]:
        """Scheduled edits by the id of the segment."""
        return _loader(self._workspace.scheduled_edits.get_many)

    @cached_property
    def rules(self) -> DataLoader[str, Rule | None]:
        """Rules by id."""
        return _loader(self._workspace.rules.get_many)

    @cached_property
    def rewards(self) -> DataLoader[str, LabelledReward | None]:
        """Rewards by id."""
        return _loader(self._workspace.rewards.get_many)

    @cached_property
    def tier_programs(self) -> DataLoader[str, TierProgramVersion | None]:
        """The tier program, by TIER_PROGRAM."""
        return _loader(self._workspace.definitions.tier_programs)

    @cached_property
    def measures(self) -> DataLoader[str, Mapping[str, State] | None]:
        """Measures of passes, by the id of the pass."""
        return _loader(self._workspace.passes.measures)

    @cached_property
    def jobs(self) -> DataLoader[str, Job | None]:
        """Jobs by id."""
        return _loader(self._workspace.jobs.get_many)

    @cached_property
    def member_counts(self) -> DataLoader[str, int | None]:
        """Number of passes in a segment, by its id."""
        return _loader(self._workspace.segments.member_counts)

    @cached_property
    def evaluated_counts(self) -> DataLoader[int, tuple[int, int] | None]:
        """Number of all passes, and of those evaluated under a revision, by revision."""
        return _loader(self._workspace.segments.evaluated_counts)

    @cached_property
    def channels(self) -> DataLoader[str, Channel | None]:
        """Channels by id."""
        return _loader(self._workspace.channels.get_many)

    @cached_property
    def channel_states(self) -> DataLoader[str, PartitionState | None]:
        """Progress of channels by id: whether the circuit is open."""
        return _loader(self._workspace.messages.work.states)

    @cached_property
    def messages(self) -> DataLoader[str, Message | None]:
        """Messages to customers by id."""
        return _loader(self._workspace.messages.get_many)

    @cached_property
    def hooks(self) -> DataLoader[str, InboundHook | None]:
        """Inbound hooks by id."""
        return _loader(self._workspace.hooks.get_many)

    @cached_property
    def deliveries(self) -> DataLoader[str, InboundDelivery | None]:
        """Deliveries to inbound hooks by id, with their bodies."""
        return _loader(self._workspace.inbound.get_many)

    @cached_property
    def webhooks(self) -> DataLoader[str, WebhookEndpoint | None]:
        """Webhook endpoints by id."""
        return _loader(self._workspace.webhooks.get_many)

    @cached_property
    def partitions(self) -> DataLoader[str, PartitionState | None]:
        """Progress of webhook endpoints by id: the position in the log, and whether the circuit is open."""
        return _loader(self._workspace.partitions.states)

    @cached_property
    def webhook_counts(self) -> DataLoader[str, Mapping[WebhookDeliveryStatus, int] | None]:
        """Numbers of pending and failed deliveries to a webhook endpoint, by its id."""
        return _loader(self._workspace.deliveries.counts)

    @cached_property
    def webhook_deliveries(self) -> DataLoader[str, WebhookDelivery | None]:
        """Deliveries to webhook endpoints by id."""
        return _loader(self._workspace.deliveries.get_many)

    @cached_property
    def keys(self) -> DataLoader[str, ApiKey | None]:
        """API keys by id."""
        return _loader(self._workspace.keys.get_many)

    @cached_property
    def audit_entries(self) -> DataLoader[str, AuditEntry | None]:
        """Entries of the audit log by id."""
        return _loader(self._workspace.audit.get_many)


def _ignore_error(read: asyncio.Future[Any]) -> None:
    """Mark the error of a read as seen, also if all fields that wait for the read were cancelled."""
    if not read.cancelled():
        read.exception()


def _loader(get_many: Callable[[list[K]], Awaitable[Mapping[K, T]]]) -> DataLoader[K, T | None]:
    async def load(ids: list[K]) -> list[T | BaseException | None]:
        objects = await get_many(ids)
        return [objects.get(key) for key in ids]

    return DataLoader(load_fn=load)
