"""Named queries over the channels of one workspace. Their secrets are stored beside them and never returned in lists."""

from __future__ import annotations

from collections.abc import Iterable

from app.domain.messages.channels import Channel, ChannelKind, FrequencyCap, Provider, QuietHours
from app.domain.values.periods import PeriodUnit
from app.store.mongo.paging import Page, PageRequest, read_page, to_stored_keys
from app.store.mongo.queries import Doc, WorkspaceQueries, equal_to, insert_new

LIST_PROJECTION = {"secret": 0}


class ChannelQueries(WorkspaceQueries):
    """Channels of one workspace. Errors: Unavailable, safe to repeat."""

    collection = "channels"

    async def insert(self, channel: Channel, secret: str | None) -> bool:
        """Insert a channel and return whether its id was free: the id follows from the key."""
        doc = self._in_workspace(_id=channel.id, key=channel.key, created_at=channel.created_at, **_changing(channel))
        return not await insert_new(self._collection, [doc if secret is None else {**doc, "secret": secret}])

    async def get_many(self, channel_ids: Iterable[str]) -> dict[str, Channel]:
        """Return the channels that exist among the ids. Index: _id."""
        return {doc["_id"]: channel_from_doc(doc) for doc in await self._by_ids(channel_ids, LIST_PROJECTION)}

    async def get_with_secret(self, channel_id: str) -> tuple[Channel, str | None] | None:
        """Return a channel and its secret, or None. Index: _id."""
        docs = await self._by_ids([channel_id])
        return (channel_from_doc(docs[0]), docs[0].get("secret")) if docs else None

    async def page(self, span: PageRequest) -> Page[Channel]:
        """Return channels, the newest first; key (created ms, id). Index: {workspace, created_at, _id}."""
        order = (("created_at", -1), ("_id", -1))
        return await read_page(
            self._collection, self._in_workspace(), order, to_stored_keys(span), channel_from_doc, LIST_PROJECTION
        )

    async def count(self) -> int:
        """Return the number of channels. Index: {workspace, created_at, _id}."""
        return await self._count()

    async def save(self, channel: Channel, secret: str | None = None) -> bool:
        """Store a changed channel, and its secret if given, and return whether it was stored. Index: _id.

        `channel.version` is the version that was read. Returns False if the channel was changed meanwhile.
        """
        change = {**_changing(channel), "version": channel.version + 1}
        if secret is not None:
            change["secret"] = secret
        where = self._by_id(channel.id) | {"version": equal_to(channel.version)}
        return (await self._collection.update_one(where, {"$set": change})).matched_count == 1


def channel_from_doc(doc: Doc) -> Channel:
    """Return the channel of a document."""
    cap, quiet = doc["cap"], doc["quiet"]
    return Channel(
        id=doc["_id"],
        workspace_id=doc["workspace"],
        key=doc["key"],
        name=doc["name"],
        kind=ChannelKind(doc["kind"]),
        provider=Provider(doc["provider"]),
        created_at=doc["created_at"],
        updated_at=doc["updated_at"],
        settings=doc["settings"],
        consent_key=doc["consent"],
        frequency_cap=None
        if cap is None
        else FrequencyCap(
            cap["count"], cap["within"], None if cap["calendar"] is None else PeriodUnit(cap["calendar"])
        ),
        quiet_hours=None if quiet is None else QuietHours(quiet["from"], quiet["to"], quiet["zone"]),
        is_archived=doc["archived"],
        has_secret=doc["has_secret"],
        version=doc["version"],
    )


def _changing(channel: Channel) -> Doc:
    cap, quiet = channel.frequency_cap, channel.quiet_hours
    return {
        "name": channel.name,
        "kind": channel.kind.value,
        "provider": channel.provider.value,
        "updated_at": channel.updated_at,
        "settings": dict(channel.settings),
        "consent": channel.consent_key,
        "cap": None
        if cap is None
        else {
            "count": cap.count,
            "within": cap.within_ms,
            "calendar": None if cap.calendar is None else cap.calendar.value,
        },
        "quiet": None if quiet is None else {"from": quiet.from_minute, "to": quiet.to_minute, "zone": quiet.timezone},
        "archived": channel.is_archived,
        "has_secret": channel.has_secret,
        "version": channel.version,
    }
