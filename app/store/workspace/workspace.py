"""One workspace of the store: the only way for commands and the GraphQL edge to reach documents."""

from __future__ import annotations

from dataclasses import replace

from app.domain.activities import ActivityQuery
from app.domain.workspaces import WorkspaceProfile
from app.store.mongo.queries import Database, ErrorTranslating

from .activities import ActivityQueries
from .aggregations import AggregationQueries
from .audit import AuditQueries
from .deliveries import DeliveryQueries
from .event_types import EventTypeQueries
from .events import EventQueries
from .exports import ExportQueries
from .hooks import HookQueries
from .inbound import InboundQueries
from .jobs import JobQueries
from .keys import KeyQueries
from .partitions import PartitionQueries
from .passes import PassQueries
from .receipts import FoldStateQueries, ReceiptQueries, RequestKeyQueries
from .removals import RemovalQueries
from .segments import SegmentQueries
from .vocabulary import VocabularyQueries
from .webhooks import WebhookQueries
from .workspaces import erasure_epoch_of, profile_of, secret_of


class Workspace(ErrorTranslating):
    """Named queries, each confined to `workspace_id`; `in_chunk` is how many values one `$in` may hold."""

    def __init__(self, db: Database, workspace_id: str, in_chunk: int = 1_000) -> None:
        self.id = workspace_id
        self._db = db
        self.passes = PassQueries(db, workspace_id, in_chunk)
        self.events = EventQueries(db, workspace_id, in_chunk)
        self.aggregations = AggregationQueries(db, workspace_id, in_chunk)
        self.removals = RemovalQueries(db, workspace_id, in_chunk)
        self.activities = ActivityQueries(db, workspace_id, in_chunk)
        self.segments = SegmentQueries(db, workspace_id, in_chunk, self.passes)
        self.keys = KeyQueries(db, workspace_id, in_chunk)
        self.audit = AuditQueries(db, workspace_id, in_chunk)
        self.hooks = HookQueries(db, workspace_id, in_chunk)
        self.inbound = InboundQueries(db, workspace_id, in_chunk)
        self.partitions = PartitionQueries(db, workspace_id, in_chunk)
        self.deliveries = DeliveryQueries(db, workspace_id, in_chunk)
        self.webhooks = WebhookQueries(db, workspace_id, in_chunk)
        self.jobs = JobQueries(db, workspace_id, in_chunk)
        self.exports = ExportQueries(db, workspace_id, in_chunk)
        self.receipts = ReceiptQueries(db, workspace_id, in_chunk)
        self.request_keys = RequestKeyQueries(db, workspace_id, in_chunk)
        self.fold_states = FoldStateQueries(db, workspace_id, in_chunk)
        self.event_types = EventTypeQueries(db, workspace_id, in_chunk)
        self.vocabulary = VocabularyQueries(db, workspace_id, in_chunk)

    async def of_whole_pass(self, query: ActivityQuery) -> ActivityQuery:
        """The same query; where it names a pass, of the one that answers for it, and of all that were merged into that."""
        card = None if query.pass_id is None else await self.passes.get(query.pass_id)
        # Of an erased pass nothing is left but its lines, under the id it had.
        if card is None:
            return query
        aliases = await self.passes.aliases([card.id])
        return replace(query, pass_id=card.id, aliases=aliases.get(card.id, ()))

    async def forget_if_deleted(self, endpoint_id: str) -> bool:
        """Whether a webhook endpoint is deleted; then what was written of it since is gone as well. Safe to repeat.

        Asked after such a write by who may have been overtaken: whoever deletes it later takes what stands then along.
        """
        if await self.webhooks.get_many([endpoint_id]):
            return False
        await self.deliveries.delete(endpoint_id)
        return True

    async def profile(self) -> WorkspaceProfile:
        """What the workspace says of itself. Raises NotFound where it does not exist."""
        return await profile_of(self._db, self.id)

    async def secret(self) -> bytes:
        """The key of the fingerprints, made with the workspace and never rotated. Raises NotFound."""
        return await secret_of(self._db, self.id)

    async def erasure_epoch(self) -> str:
        """An id that is another one whenever passes may be gone; "" before the first is."""
        return await erasure_epoch_of(self._db, self.id)
