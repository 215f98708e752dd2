"""Deliveries of blocked heads. Lists and counts show them beside the stored deliveries."""

from __future__ import annotations

from collections.abc import Sequence

from app.domain.webhooks.blocked import build_blocked_delivery
from app.domain.webhooks.deliveries import DeliveryQuery, WebhookDelivery, delivery_id
from app.graphql.context import RequestContext
from app.store.mongo.paging import Page, PageRequest, cut_page
from app.store.workspace.deliveries import key_of


async def find_blocked(context: RequestContext, query: DeliveryQuery) -> list[WebhookDelivery]:
    """Return the deliveries of the blocked heads of an endpoint that match a query, at most one for each partition.

    Read them before the stored deliveries: a message that is delivered in between is then stored. A message that is
    stored already is left out. One round trip for an endpoint without failures, else three; loaders share them.
    """
    endpoint_id, load = query.endpoint_id, context.load
    state = await load.partitions.load(endpoint_id)
    heads = {} if state is None else {head.activity_id: head for head in state.heads.values() if head.activity_id}
    if state is None or not heads:
        return []
    activities = [each for each in await load.activities.load_many(list(heads)) if each is not None]
    stored = await load.webhook_deliveries.load_many([delivery_id(endpoint_id, each.position) for each in activities])
    found = [
        build_blocked_delivery(endpoint_id, state, heads[activity.id], activity)
        for activity, delivery in zip(activities, stored, strict=True)
        if delivery is None
    ]
    return [delivery for delivery in found if query.matches(delivery)]


def add_blocked(
    page: Page[WebhookDelivery], blocked: Sequence[WebhookDelivery], span: PageRequest
) -> Page[WebhookDelivery]:
    """Return the page with the blocked deliveries that belong on it."""
    if not blocked:
        return page
    listed_ids = {delivery.id for delivery in page.items}
    together = [*page.items, *(delivery for delivery in blocked if delivery.id not in listed_ids)]
    merged = cut_page(together, key_of, False, span)
    return Page(merged.items, merged.has_more or page.has_more)
