"""auditLog: who changed what about the workspace itself. It needs the scope `admin`."""

from __future__ import annotations

from datetime import datetime

import strawberry

from app.domain import audit as domain
from app.domain.actors import ADMIN
from app.domain.values.instants import to_ms
from app.graphql.context import Info, RequestContext
from app.graphql.types.ids import to_global_id
from app.graphql.types.node import Node, fetch_node, fetcher
from app.graphql.types.paging import After, Before, Connection, First, Last, Pagination
from app.graphql.types.scalars import JSON

from .keys import ApiKey


@strawberry.type
class AuditEntry(Node):
    """One administrative act, written down before it was done."""

    occurred_at: datetime = strawberry.field(description="When, by the machine's clock.")
    action: str = strawberry.field(description="The mutation, for example `revokeApiKey`.")
    subject: strawberry.ID = strawberry.field(description="The global id of what it was done to.")
    ip_address: str | None = strawberry.field(description="The caller's IP address.")
    details: JSON = strawberry.field(description="What else is worth knowing, such as the scopes of a new key.")
    key_id: strawberry.Private[str]

    @strawberry.field
    async def api_key(self, info: Info) -> ApiKey | None:
        """The key it was done with."""
        found: ApiKey | None = await fetch_node(info.context, "ApiKey", self.key_id)
        return found


@fetcher("AuditEntry")
async def fetch_audit_entry(context: RequestContext, entry_id: str) -> AuditEntry | None:
    """The entry of a database id, or None. Raises Denied without the scope `admin`."""
    context.actor.require(ADMIN)
    found = await context.load.audit_entries.load(entry_id)
    return None if found is None else _published(found)


listing = Pagination[domain.AuditEntry]("audit", (int, str), lambda entry: (to_ms(entry.at), entry.id))


async def list_audit_log(
    info: Info, first: First = None, after: After = None, last: Last = None, before: Before = None
) -> Connection[AuditEntry]:
    """Who changed keys, segments, event types, hooks and webhook endpoints, exported, removed or merged, the newest
    first. Needs the scope `admin`.
    """
    info.context.actor.require(ADMIN)
    span = listing.span(first, after, last, before)
    store = info.context.workspace.audit
    return listing.connection(await store.page(span), span, _published, store.count)


def _published(entry: domain.AuditEntry) -> AuditEntry:
    return AuditEntry(
        id=strawberry.ID(to_global_id("AuditEntry", entry.id)),
        occurred_at=entry.at,
        action=entry.action,
        subject=strawberry.ID(to_global_id(*entry.subject)),
        ip_address=entry.ip_address,
        details=JSON(dict(entry.details)),
        key_id=entry.key_id,
    )
