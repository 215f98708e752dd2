"""Named queries over what was delivered to the inbound hooks of one workspace.

A message has one document, known by who sent it and as what, so that sending it again finds it. It changes only where
it is still at the attempt that was read: of two runs at once one stands, and events have identities of their own.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta

from app.domain.errors import Code, Problem
from app.domain.inbound.deliveries import DeliveryStatus, InboundDelivery, ItemProblem
from app.store.mongo.paging import Page, PageRequest, by_instant, count_of, page_of
from app.store.mongo.queries import Doc, WorkspaceQueries, insert_new

PROCESSED_TTL = timedelta(days=7)
"""How long it is remembered that a message was processed; its events' identities are remembered for ever."""
FAILED_TTL = timedelta(days=30)
"""How long a message that failed is kept, body and all."""
SORT_KEY = ("workspace", "hook", "status")
LIST_PROJECTION = {"body": 0, "headers": 0, "named": 0}


class InboundQueries(WorkspaceQueries):
    """What was delivered to the hooks of one workspace. Errors: Unavailable, safe to repeat."""

    collection = "inbound_deliveries"

    async def get_many(self, delivery_ids: Iterable[str]) -> dict[str, InboundDelivery]:
        """The deliveries that are remembered among the ids, with their bodies. Index: _id."""
        return {doc["_id"]: delivery_from(doc) for doc in await self._by_ids(delivery_ids)}

    async def save(self, delivery: InboundDelivery, now: datetime, *, after: int) -> bool:
        """Whether it now stands as given, read at attempt `after` (0: it was not there). `now` is in system time.

        Not where another run changed it meanwhile. Index: _id.
        """
        doc = _doc(delivery, now)
        if after == 0:
            return not await insert_new(self._all, [self._mine(_id=delivery.id, **doc)])
        gone = {name: "" for name in ("body", "headers", "problems", "place", "rest", "named") if name not in doc}
        change: Doc = {"$set": doc, **({"$unset": gone} if gone else {})}
        done = await self._all.update_one(self._mine(_id=delivery.id, attempts=after), change)
        return done.matched_count == 1

    async def page(self, hook_id: str, status: DeliveryStatus, span: PageRequest) -> Page[InboundDelivery]:
        """Deliveries to a hook without bodies, the newest first; key (received ms, id).

        Index: {workspace, hook, status, received_at, _id}.
        """
        order = (("received_at", -1), ("_id", -1))
        return await page_of(
            self._all, self._of(hook_id, status), order, by_instant(span), delivery_from, LIST_PROJECTION, SORT_KEY
        )

    async def count(self, hook_id: str, status: DeliveryStatus) -> int:
        """How many such deliveries are remembered. Index: {workspace, hook, status, received_at, _id}."""
        return await count_of(self._all, self._of(hook_id, status), SORT_KEY, "received_at")

    async def discard(self, delivery_id: str) -> None:
        """Forgets a delivery that failed, body and all; safe to repeat. Index: _id."""
        await self._all.delete_one(self._mine(_id=delivery_id, status=DeliveryStatus.FAILED.value))

    async def forget(self, external_id: str) -> None:
        """Forgets the failed deliveries that name a pass, bodies and all; safe to repeat. Index: {workspace, named}."""
        await self._all.delete_many(self._mine(named=external_id))

    def _of(self, hook_id: str, status: DeliveryStatus) -> Doc:
        return self._mine(hook=hook_id, status=status.value)


def delivery_from(doc: Doc) -> InboundDelivery:
    """A stored delivery."""
    rest = doc.get("rest")
    found = InboundDelivery(
        doc["_id"],
        doc["hook"],
        doc["identity"],
        DeliveryStatus(doc["status"]),
        doc["received_at"],
        doc["attempts"],
        doc["events"],
        place=doc.get("place"),
        rest=None if rest is None else tuple(rest),
    )
    if found.status is DeliveryStatus.PROCESSED:
        return found
    problems = tuple(
        ItemProblem(Problem(Code(p["code"]), p["message"], tuple(p["field"])), p["index"]) for p in doc["problems"]
    )
    if "body" not in doc:
        return replace(found, problems=problems)
    headers = {header["name"]: header["value"] for header in doc["headers"]}
    return replace(found, problems=problems, body=bytes(doc["body"]), headers=headers, named=tuple(doc["named"]))


def _doc(delivery: InboundDelivery, now: datetime) -> Doc:
    failed = delivery.status is DeliveryStatus.FAILED
    doc: Doc = {
        "hook": delivery.hook_id,
        "identity": delivery.identity,
        "status": delivery.status.value,
        "received_at": delivery.received_at,
        "attempts": delivery.attempts,
        "events": delivery.events,
        "expires_at": now + (FAILED_TTL if failed else PROCESSED_TTL),
    }
    if not failed:
        return doc
    doc["body"] = delivery.body
    doc["named"] = [_text(name) for name in delivery.named]
    doc["headers"] = [{"name": name, "value": value} for name, value in delivery.headers.items()]
    doc["problems"] = [
        {
            "index": p.index,
            "code": p.problem.code.value,
            "message": _text(p.problem.message),
            "field": [_text(name) for name in p.problem.field],
        }
        for p in delivery.problems
    ]
    if delivery.rest is not None:
        doc["place"], doc["rest"] = delivery.place, list(delivery.rest)
    return doc


def _text(text: str) -> str:
    """The text with unpaired surrogates, which JSON can spell and the store cannot, as question marks."""
    return text.encode("utf-8", "replace").decode()
