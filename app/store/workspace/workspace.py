"""One workspace of the store: the only way for commands and the GraphQL edge to reach documents."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from app.domain.activities import Activity
from app.domain.activity_queries import ActivityQuery
from app.domain.errors import ExpiredCursor
from app.domain.log_history import LogHistory
from app.domain.values.cursors import FeedCursor
from app.domain.workspaces import WorkspaceProfile
from app.store.cache import Epochs, WorkspaceCache
from app.store.mongo.queries import Database, ErrorTranslating

from .active_counts import ActiveCountReads
from .activities import ActivityQueries
from .aggregations import AggregationQueries
from .audit import AuditQueries
from .channels import ChannelQueries
from .codes import CodeQueries
from .counted_events import CountedEventQueries
from .customers import CustomerQueries
from .definitions import DefinitionQueries
from .deliveries import DeliveryQueries
from .evaluable_passes import EvaluablePassQueries
from .event_types import EventTypeQueries
from .events import EventQueries
from .exports import ExportQueries
from .finding import FindQueries
from .firings import FiringQueries
from .hooks import HookQueries
from .inbound import InboundQueries
from .intervals import IntervalQueries
from .jobs import JobQueries
from .keys import KeyQueries
from .messages import MessageQueries
from .moments import MomentQueries
from .outboxes import OutboxQueries
from .partitions import PartitionQueries
from .pass_draws import PassDrawQueries
from .pass_periods import PassPeriodReads
from .pass_tokens import TokenKeyQueries, TokenRevocationQueries
from .passes import PassQueries
from .progress import ProgressQueries
from .reactions import ReactionQueries
from .receipts import FoldStateQueries, ReceiptQueries, RequestKeyQueries
from .redemptions import RedemptionQueries
from .removals import RemovalQueries
from .rewards import RewardQueries
from .rollup_contents import ContentQueries, HeadQueries
from .rollups import RollupQueries
from .rule_counts import RuleCountQueries
from .rules import RuleQueries
from .scheduled_edits import ScheduledEditQueries
from .segment_history import SegmentHistory
from .segments import SegmentQueries
from .stock import StockQueries
from .uncounted import UncountedQueries
from .vocabulary import VocabularyQueries
from .webhooks import WebhookQueries
from .workspaces import (
    begin_token_epoch,
    read_epochs,
    read_log_history,
    read_profile,
    read_secret,
    set_local_time,
    write_nothing,
)


class Workspace(ErrorTranslating):
    """Named queries, each confined to `workspace_id`. `in_chunk` is the number of values in one `$in`.

    `is_sharded` is true for a sharded MongoDB: then filters by id name the workspace, too.
    """

    def __init__(
        self,
        db: Database,
        workspace_id: str,
        in_chunk: int = 1_000,
        cache: WorkspaceCache | None = None,
        *,
        is_sharded: bool = False,
    ) -> None:
        self.id = workspace_id
        self._db = db
        self._cache = WorkspaceCache() if cache is None else cache
        self._position_lock = asyncio.Lock()
        self.passes = PassQueries(db, workspace_id, in_chunk, is_sharded=is_sharded)
        self.evaluable_passes = EvaluablePassQueries(db, workspace_id, in_chunk, is_sharded=is_sharded)
        self.pass_draws = PassDrawQueries(db, workspace_id, in_chunk)
        self.finding = FindQueries(db, workspace_id, in_chunk, is_sharded=is_sharded)
        self.events = EventQueries(db, workspace_id, in_chunk, is_sharded=is_sharded)
        self.counted_events = CountedEventQueries(db, workspace_id, in_chunk)
        self.aggregations = AggregationQueries(db, workspace_id, in_chunk)
        self.rollups = RollupQueries(db, workspace_id, in_chunk)
        self.uncounted = UncountedQueries(db, workspace_id, in_chunk, is_sharded=is_sharded)
        self.rollup_heads = HeadQueries(db, workspace_id, in_chunk, is_sharded=is_sharded)
        self.rollup_contents = ContentQueries(db, workspace_id, in_chunk, is_sharded=is_sharded)
        self.customers = CustomerQueries(db, workspace_id, in_chunk)
        self.active_counts = ActiveCountReads(db, workspace_id, in_chunk, is_sharded=is_sharded)
        self.pass_periods = PassPeriodReads(db, workspace_id, in_chunk, is_sharded=is_sharded)
        self.moments = MomentQueries(db, workspace_id, in_chunk)
        self.removals = RemovalQueries(db, workspace_id, in_chunk, is_sharded=is_sharded)
        self.activities = ActivityQueries(db, workspace_id, in_chunk, is_sharded=is_sharded)
        self.segments = SegmentQueries(db=db, workspace_id=workspace_id, in_chunk=in_chunk, passes=self.passes)
        self.history = SegmentHistory(db, workspace_id, in_chunk, is_sharded=is_sharded)
        self.progress = ProgressQueries(db, workspace_id, in_chunk, is_sharded=is_sharded)
        self.intervals = IntervalQueries(db, workspace_id, in_chunk)
        self.definitions = DefinitionQueries(db, workspace_id, in_chunk)
        self.scheduled_edits = ScheduledEditQueries(db, workspace_id, in_chunk)
        self.rules = RuleQueries(db, workspace_id, in_chunk)
        self.rewards = RewardQueries(db, workspace_id, in_chunk)
        self.redemptions = RedemptionQueries(db, workspace_id, in_chunk)
        self.stock = StockQueries(db, workspace_id, in_chunk)
        self.codes = CodeQueries(db, workspace_id, in_chunk)
        self.rule_counts = RuleCountQueries(db, workspace_id, in_chunk)
        self.firings = FiringQueries(db, workspace_id, in_chunk)
        self.outboxes = OutboxQueries(db, workspace_id, in_chunk)
        self.keys = KeyQueries(db, workspace_id, in_chunk)
        self.token_keys = TokenKeyQueries(db, workspace_id, in_chunk)
        self.token_revocations = TokenRevocationQueries(db, workspace_id, in_chunk)
        self.audit = AuditQueries(db, workspace_id, in_chunk)
        self.hooks = HookQueries(db, workspace_id, in_chunk)
        self.inbound = InboundQueries(db, workspace_id, in_chunk)
        self.partitions = PartitionQueries(db, workspace_id, in_chunk)
        self.reactions = ReactionQueries(db, workspace_id, in_chunk, is_sharded=is_sharded)
        self.deliveries = DeliveryQueries(db, workspace_id, in_chunk)
        self.webhooks = WebhookQueries(db, workspace_id, in_chunk)
        self.channels = ChannelQueries(db, workspace_id, in_chunk, is_sharded=is_sharded)
        self.messages = MessageQueries(db, workspace_id, in_chunk, is_sharded=is_sharded)
        self.jobs = JobQueries(db, workspace_id, in_chunk)
        self.exports = ExportQueries(db, workspace_id, in_chunk)
        self.receipts = ReceiptQueries(db, workspace_id, in_chunk)
        self.request_keys = RequestKeyQueries(db, workspace_id, in_chunk)
        self.fold_states = FoldStateQueries(db, workspace_id, in_chunk, is_sharded=is_sharded)
        self.event_types = EventTypeQueries(db, workspace_id, in_chunk)
        self.vocabulary = VocabularyQueries(db, workspace_id, in_chunk)

    async def with_aliases(self, pass_id: str) -> tuple[str, ...]:
        """Return the pass that answers for this one, and the passes merged into it; for an unknown id only this id."""
        survivor = (await self.passes.existing([pass_id])).get(pass_id, pass_id)
        return survivor, *(await self.passes.aliases([survivor])).get(survivor, ())

    async def include_aliases(self, query: ActivityQuery) -> ActivityQuery:
        """Return the query, for the survivor of the pass that it names and for all aliases of the survivor.

        A query without a pass is returned unchanged.
        """
        card = None if query.pass_id is None else await self.passes.get(query.pass_id)
        # Only emptied activities are left of an erased pass, under the pass's own id.
        if card is None:
            return query
        aliases = await self.passes.aliases([card.id])
        return replace(query, pass_id=card.id, aliases=aliases.get(card.id, ()))

    async def forget_if_deleted(self, endpoint_id: str) -> bool:
        """Return whether a webhook endpoint is deleted; if so, delete its deliveries stored since. Safe to repeat.

        A worker that may have lost its lease calls this after writing deliveries. A deletion that follows the call
        deletes them itself. A primary that was just elected may not show an endpoint that exists, until it has accepted
        a write: two further round trips if the endpoint seems to be deleted.
        """
        if await self.webhooks.get_many([endpoint_id]):
            return False
        await write_nothing(self._db, self.id)
        if await self.webhooks.get_many([endpoint_id]):
            return False
        await self.deliveries.delete(endpoint_id)
        return True

    async def last_position(self) -> int:
        """Return the position of the newest activity; 0 for an empty log. Index of `activities.last_pos`.

        The search begins at the last position that this process has seen, because the embedded server sorts all
        activities from there on.
        """
        if not self._cache.last_position(self.id):
            async with self._position_lock:  # so that many callers at the start read the log once
                if not self._cache.last_position(self.id):
                    return await self._read_last_position()
        return await self._read_last_position()

    async def current_last_position(self) -> int:
        """Return the position of the newest activity, also just after an election. One write more than `last_position`."""
        await write_nothing(self._db, self.id)
        return await self.last_position()

    async def _read_last_position(self) -> int:
        last = await self.activities.last_pos(self._cache.last_position(self.id))
        self._cache.remember_position(self.id, last)
        return last

    async def log_history(self) -> LogHistory:
        """Return the restores and truncations of the activity log, at most a second old. Index: _id."""
        return await self._cache.log_history(self.id, self.read_log_history)

    async def read_log_history(self) -> LogHistory:
        """Return the restores and truncations of the activity log, read from the store now. Index: _id."""
        return await read_log_history(self._db, self.id)

    async def cursor_at(self, position: int) -> str:
        """Return the cursor of a position of the activity log, with the epoch that it belongs to."""
        return str((await self.log_history()).cursor_at(position))

    async def position_after(self, cursor: FeedCursor, *field: str) -> int:
        """Return the position of a reader's cursor. Raises ExpiredCursor if the reader has to continue elsewhere."""
        history = await self.log_history()
        resume = history.find_resume(cursor)
        if resume is not None:
            raise ExpiredCursor(str(history.cursor_at(resume)), *field)
        return cursor.position

    async def activities_after(self, pos: int, limit: int) -> list[Activity]:
        """Return activities as `activities.after` does; behind the front of the log if it was truncated up to there.

        An endpoint that was disabled for long continues at the front.
        """
        found = await self.activities.after(pos, limit)
        if not found or found[0].position > pos + 1:
            front = (await self.log_history()).front
            if front > pos:
                return await self.activities.after(front, limit)
        return found

    async def profile(self) -> WorkspaceProfile:
        """Return the profile of the workspace. Raises NotFound if the workspace does not exist."""
        return await read_profile(self._db, self.id)

    async def set_local_time(self, timezone: str, week_start: int) -> None:
        """Set the zone and the start of weeks, 0 (Monday) to 6 (Sunday). Safe to repeat."""
        await set_local_time(self._db, self.id, timezone, week_start)

    async def secret(self) -> bytes:
        """Return the key of the fingerprints, created with the workspace and never rotated. Raises NotFound."""
        return await read_secret(self._db, self.id)

    async def epochs(self) -> Epochs:
        """Return the epochs of erasures and of tokens, read from the store now."""
        return await read_epochs(self._db, self.id)

    async def begin_token_epoch(self) -> int:
        """Add 1 to the epoch of tokens, so that every process reads anew what it has cached of them, and return it."""
        return await begin_token_epoch(self._db, self.id)
