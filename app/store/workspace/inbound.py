"""Named queries over the messages delivered to the inbound hooks of one workspace.

Each message has one document, whose id follows from the hook and the message's identity. So a message that is sent
again finds its document. A run changes the document only if the attempt counter is the one that the run read: of two
runs at once, one is stored. The ids of their events are the same, so no event is doubled.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from app.domain.errors import Code, Problem
from app.domain.inbound.deliveries import UNKNOWN_NAMES, DeliveryStatus, InboundDelivery, ItemProblem
from app.domain.values.instants import from_ms, to_ms
from app.store.mongo.paging import Page, PageRequest, count_matching, read_page, to_stored_keys
from app.store.mongo.queries import Doc, WorkspaceQueries, insert_new

PROCESSED_TTL = timedelta(days=7)
"""How long a processed message is remembered. The ids of its events are remembered for ever."""
FAILED_TTL = timedelta(days=30)
"""How long a failed message is kept, with its body."""
SORT_KEY = ("workspace", "hook", "status")
_ONLY_FAILED = ("body", "headers", "problems", "place", "rest", "named", "due", "reruns")
"""Fields that only a failed delivery has."""
LIST_PROJECTION = {"body": 0, "headers": 0, "named": 0}


class InboundQueries(WorkspaceQueries):
    """Messages delivered to the hooks of one workspace. Errors: Unavailable, safe to repeat."""

    collection = "inbound_deliveries"

    async def get_many(self, delivery_ids: Iterable[str]) -> dict[str, InboundDelivery]:
        """Return the deliveries that exist among the ids, with their bodies. Index: _id."""
        return {doc["_id"]: delivery_from_doc(doc) for doc in await self._by_ids(delivery_ids)}

    async def save(self, delivery: InboundDelivery, now: datetime, *, after: int, keeps_expiry: bool = False) -> bool:
        """Store a delivery that was read at attempt `after` (0: it did not exist), and return whether it was stored.

        Returns False if another run changed the delivery meanwhile. `now` is in system time. With `keeps_expiry`, a
        FAILED delivery expires as before. Index: _id.
        """
        doc = _to_doc(delivery, now)
        if after == 0:
            return not await insert_new(self._collection, [self._in_workspace(_id=delivery.id, **doc)])
        if keeps_expiry and delivery.status is DeliveryStatus.FAILED:
            del doc["expires_at"]
        unset = {name: "" for name in _ONLY_FAILED if name not in doc}
        change: Doc = {"$set": doc, **({"$unset": unset} if unset else {})}
        result = await self._collection.update_one(self._in_workspace(_id=delivery.id, attempts=after), change)
        return result.matched_count == 1

    async def page(self, hook_id: str, status: DeliveryStatus, span: PageRequest) -> Page[InboundDelivery]:
        """Return deliveries to a hook, without bodies, the newest first; key (received ms, id).

        Index: {workspace, hook, status, received_at, _id}.
        """
        order = (("received_at", -1), ("_id", -1))
        return await read_page(
            self._collection,
            self._filter(hook_id, status),
            order,
            to_stored_keys(span),
            delivery_from_doc,
            LIST_PROJECTION,
            SORT_KEY,
        )

    async def count(self, hook_id: str, status: DeliveryStatus) -> int:
        """Return the number of such deliveries. Index: {workspace, hook, status, received_at, _id}."""
        return await count_matching(self._collection, self._filter(hook_id, status), SORT_KEY, "received_at")

    async def discard(self, delivery_id: str) -> None:
        """Delete a failed delivery with its body. Safe to repeat. Index: _id."""
        await self._collection.delete_one(self._in_workspace(_id=delivery_id, status=DeliveryStatus.FAILED.value))

    async def stop_reruns(self, delivery_id: str) -> None:
        """Let no worker run the delivery again by itself. Safe to repeat. Index: _id."""
        await self._collection.update_one(self._in_workspace(_id=delivery_id), {"$unset": {"due": ""}})

    async def forget(self, names: Sequence[str]) -> None:
        """Delete the failed deliveries that have one of the names, and those whose names are not known.

        `names` are external ids of a pass and their hashes. Safe to repeat. Index: {workspace, named}.
        """
        for name in (*names, UNKNOWN_NAMES):
            await self._collection.delete_many(self._in_workspace(named=name))

    def _filter(self, hook_id: str, status: DeliveryStatus) -> Doc:
        return self._in_workspace(hook=hook_id, status=status.value)


def delivery_from_doc(doc: Doc) -> InboundDelivery:
    """Return the delivery of a document."""
    rest = doc.get("rest")
    found = InboundDelivery(
        id=doc["_id"],
        hook_id=doc["hook"],
        identity=doc["identity"],
        status=DeliveryStatus(doc["status"]),
        received_at=doc["received_at"],
        attempts=doc["attempts"],
        events=doc["events"],
        headers_hash=doc.get("headers_hash", ""),
        items_path=doc.get("place"),
        remaining_items=None if rest is None else tuple(rest),
        reruns=doc.get("reruns", 0),
        rerun_at=from_ms(doc["due"]) if "due" in doc else None,
    )
    if found.status is DeliveryStatus.PROCESSED:
        return found
    problems = tuple(
        ItemProblem(Problem(Code(p["code"]), p["message"], tuple(p["field"])), p["index"]) for p in doc["problems"]
    )
    if "body" not in doc:
        return replace(found, problems=problems)
    headers = {header["name"]: header["value"] for header in doc["headers"]}
    return replace(
        found, problems=problems, body=bytes(doc["body"]), headers=headers, pass_external_ids=tuple(doc["named"])
    )


def _to_doc(delivery: InboundDelivery, now: datetime) -> Doc:
    failed = delivery.status is DeliveryStatus.FAILED
    doc: Doc = {
        "hook": delivery.hook_id,
        "identity": delivery.identity,
        "status": delivery.status.value,
        "received_at": delivery.received_at,
        "attempts": delivery.attempts,
        "events": delivery.events,
        "headers_hash": delivery.headers_hash,
        "expires_at": now + (FAILED_TTL if failed else PROCESSED_TTL),
    }
    if not failed:
        return doc
    doc["body"] = delivery.body
    doc["named"] = [_encodable(name) for name in delivery.pass_external_ids]
    doc["headers"] = [{"name": name, "value": value} for name, value in delivery.headers.items()]
    doc["problems"] = [
        {
            "index": p.index,
            "code": p.problem.code.value,
            "message": _encodable(p.problem.message),
            "field": [_encodable(name) for name in p.problem.field],
        }
        for p in delivery.problems
    ]
    if delivery.rerun_at is not None:
        doc["due"], doc["reruns"] = to_ms(delivery.rerun_at), delivery.reruns
    if delivery.remaining_items is not None:
        doc["place"], doc["rest"] = delivery.items_path, list(delivery.remaining_items)
    return doc


def _encodable(text: str) -> str:
    """Return the text with question marks for unpaired surrogates, which JSON can contain and the store cannot."""
    return text.encode("utf-8", "replace").decode()
