"""Named queries over the messages of one workspace, their templates, and the work of its channels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from pymongo import UpdateOne

from app.domain.messages.messages import Message, MessageQuery, MessageStatus
from app.domain.rules.message_templates import MessageTemplate, template_from_json
from app.domain.values.instants import EARLIEST
from app.store.codecs.messages import OPTIONAL_FIELDS, changing_fields, message_from_doc, message_to_doc
from app.store.mongo.paging import Page, PageRequest, count_matching, count_results, read_page, to_stored_keys
from app.store.mongo.queries import Database, Doc, WorkspaceQueries, equal_to, insert_new

from .partitions import PartitionQueries

MESSAGE_TTL = timedelta(days=100)
"""How long a message is kept after its outcome. A QUEUED message is kept until it has one."""
ORDER = (("created_at", -1), ("_id", -1))


class ChannelWorkQueries(PartitionQueries):
    """Work of one workspace's channels, by channel id, stored as that of webhook endpoints is."""

    collection = "channel_lanes"


class MessageTemplateQueries(WorkspaceQueries):
    """Templates of the messages of one workspace. Errors: Unavailable, safe to repeat."""

    collection = "message_templates"

    async def insert(self, templates: Mapping[str, tuple[MessageTemplate, str | None]]) -> None:
        """Insert templates by id, each with the pass that it is for, or None. Those that exist stay. Safe to repeat."""
        docs = [
            self._in_workspace(_id=key, parts=template.to_json(), **({} if pass_id is None else {"pass": pass_id}))
            for key, (template, pass_id) in templates.items()
        ]
        await insert_new(self._collection, docs)

    async def get_many(self, template_ids: Iterable[str]) -> dict[str, MessageTemplate]:
        """Return the templates that exist among the ids. Index: _id."""
        return {doc["_id"]: template_from_json(doc["parts"]) for doc in await self._by_ids(template_ids)}

    async def delete_of_pass(self, pass_id: str) -> None:
        """Delete the templates that are for one pass. Safe to repeat. Index: {workspace, pass}."""
        await self._collection.delete_many(self._in_workspace(**{"pass": pass_id}))


class MessageQueries(WorkspaceQueries):
    """Messages of one workspace. Errors: Unavailable, safe to repeat."""

    collection = "messages"

    def __init__(self, db: Database, workspace_id: str, in_chunk: int, *, is_sharded: bool = False) -> None:
        super().__init__(db, workspace_id, in_chunk, is_sharded=is_sharded)
        self.templates = MessageTemplateQueries(db, workspace_id, in_chunk, is_sharded=is_sharded)
        self.work = ChannelWorkQueries(db, workspace_id, in_chunk, is_sharded=is_sharded)

    async def insert_queued(self, queued: Sequence[Message], now_ms: int) -> set[int]:
        """Insert messages, whose templates are stored, and announce the work to the workers that send. Safe to repeat.

        Returns the indexes of the messages that exist already, as a message or as a stub; these stay unchanged. `now_ms`
        is system time. The caller then wakes the stage `send` for the workspace. Index: _id.
        """
        existing = await self.insert(queued)
        # A repeat announces messages that exist, too: the first call may have ended before its announcement.
        for channel in sorted({each.channel_id for each in queued}):
            await self.work.announce_work(now_ms, channel)
        return existing

    async def insert(self, messages: Sequence[Message]) -> set[int]:
        """Insert messages and return the indexes of those that exist already and stay unchanged. Safe to repeat."""
        return await insert_new(self._collection, [self._in_workspace(**message_to_doc(each)) for each in messages])

    async def get_many(self, message_ids: Iterable[str]) -> dict[str, Message]:
        """Return the messages that exist among the ids. Stubs of erased ones are left out. Index: _id."""
        docs = await self._by_ids(message_ids)
        return {doc["_id"]: message_from_doc(doc) for doc in docs if "removed" not in doc}

    async def due(self, channel_id: str, until_ms: int, limit: int) -> list[Message]:
        """Return QUEUED messages of a channel that are due by then, the first ones first.

        Index: {workspace, channel, due}.
        """
        where = self._in_workspace(channel=channel_id, due={"$gte": 0, "$lte": until_ms})
        docs = await self._collection.find(where).sort("due", 1).limit(limit).to_list(None)
        return [message_from_doc(doc) for doc in docs]

    async def next_due_ms(self, channel_id: str) -> int | None:
        """Return when the next QUEUED message of a channel is due, in system time; None if none is queued.

        Index: {workspace, channel, due}.
        """
        where = self._in_workspace(channel=channel_id, due={"$gte": 0})
        docs = await self._collection.find(where, {"due": 1}).sort("due", 1).limit(1).to_list(None)
        return int(docs[0]["due"]) if docs else None

    async def save(self, changed: Sequence[tuple[Message, Message]]) -> None:
        """Store the second message of each pair if the stored one is still QUEUED as the first. Safe to repeat.

        A message that was erased, or queued again meanwhile, stays unchanged. Index: _id.
        """
        updates = [self._update(before, after) for before, after in changed]
        if updates:
            await self._collection.bulk_write(updates, ordered=False)

    async def queue_again(self, message: Message) -> bool:
        """Store a message that was queued again, unless it was meanwhile. Safe to repeat. Index: _id."""
        where = self._by_id(message.id) | {"generation": equal_to(message.generation - 1)}
        change = _change_to(message)
        change["$unset"]["expires_at"] = ""
        return (await self._collection.update_one(where, change)).matched_count == 1

    async def count_sent(self, pass_ids: Sequence[str], channel_id: str, since: datetime) -> int:
        """Return how many messages of a channel were sent to a pass and its aliases from an instant of business time on.

        Index: {workspace, pass, created_at, _id}.
        """
        where = self._in_workspace(**{"pass": {"$in": list(pass_ids)}})
        stages: list[Doc] = [
            {"$match": where},
            {"$match": {"channel": channel_id, "status": MessageStatus.SENT.value, "sent_at": {"$gte": since}}},
        ]
        return await count_results(self._collection, stages)

    async def page(self, query: MessageQuery, span: PageRequest) -> Page[Message]:
        """Return messages, the newest first; key (created ms, id).

        Indexes: {workspace, created_at, _id}, {workspace, pass, created_at, _id}, {workspace, channel, created_at, _id}.
        """
        where, by = self._filter(query)
        return await read_page(self._collection, where, ORDER, to_stored_keys(span), message_from_doc, by=by)

    async def count(self, query: MessageQuery) -> int:
        """Return the number of messages that match. Indexes as for `page`."""
        where, by = self._filter(query)
        return await count_matching(self._collection, where, by, "created_at")

    async def erase_of_pass(self, pass_id: str, at: datetime) -> None:
        """Replace the messages of a pass by stubs under their ids, so that no late insert restores one. Safe to repeat.

        Index: {workspace, pass, created_at, _id}.
        """
        docs = await self._collection.find(self._in_workspace(**{"pass": pass_id}), {"_id": 1}).to_list(None)
        await self.insert_stubs([], at, existing=[doc["_id"] for doc in docs])

    async def insert_stubs(self, message_ids: Sequence[str], at: datetime, existing: Sequence[str] = ()) -> None:
        """Store stubs under these ids, in place of the `existing` messages. Safe to repeat. Index: _id."""
        stub = {"removed": at, "expires_at": at + MESSAGE_TTL}
        await insert_new(self._collection, [self._in_workspace(_id=each, **stub) for each in message_ids])
        for each in (*message_ids, *existing):
            await self._collection.replace_one(self._by_id(each), self._in_workspace(**stub))

    def _update(self, before: Message, after: Message) -> UpdateOne:
        where = self._by_id(before.id) | {
            "status": equal_to(MessageStatus.QUEUED.value),
            "generation": equal_to(before.generation),
        }
        change = _change_to(after)
        if after.status is not MessageStatus.QUEUED:
            change["$set"]["expires_at"] = after.updated_at + MESSAGE_TTL
        return UpdateOne(where, change)

    def _filter(self, query: MessageQuery) -> tuple[Doc, tuple[str, ...]]:
        """Return the filter, and the fields of the index that serves it before the time."""
        where = self._in_workspace(created_at={"$gte": EARLIEST})
        by: tuple[str, ...] = ("workspace",)
        if query.pass_ids:
            where["pass"] = query.pass_ids[0] if len(query.pass_ids) == 1 else {"$in": list(query.pass_ids)}
            by = ("workspace", "pass") if len(query.pass_ids) == 1 else by
        if query.channel_id is not None:
            where["channel"] = query.channel_id
            by = ("workspace", "channel") if by == ("workspace",) else by
        if query.statuses:
            where["status"] = {"$in": [each.value for each in query.statuses]}
        for name, value in (("cause.job", query.job_id), ("cause.rule", query.rule_id)):
            if value is not None:
                where[name] = value
        return where, by


def _change_to(message: Message) -> Doc:
    fields = changing_fields(message)
    return {"$set": fields, "$unset": {name: "" for name in OPTIONAL_FIELDS if name not in fields}}
