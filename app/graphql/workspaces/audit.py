"""The type AuditEntry and the query auditLog. Both need the scope `admin`."""

from __future__ import annotations

from datetime import datetime
from enum import Enum

import strawberry

from app.domain import audit as domain
from app.domain.actors import ADMIN, is_operator
from app.domain.values.instants import to_ms
from app.graphql.context import Info, RequestContext
from app.graphql.types.ids import to_global_id
from app.graphql.types.node import Node, fetch_node, fetcher
from app.graphql.types.paging import After, Before, Connection, First, Last, Pagination
from app.graphql.types.scalars import JSON

from .keys import ApiKey


@strawberry.enum
class AuditActor(Enum):
    """Kind of the actor of an administrative act."""

    API_KEY = strawberry.enum_value("API_KEY", description="A client with an API key.")
    COMMAND_LINE = strawberry.enum_value(
        "COMMAND_LINE", description="An operator, who ran a command such as `punchcard truncate` without an API key."
    )


@strawberry.type
class AuditEntry(Node):
    """Record of one administrative act.

    Punchcard stores the entry before the act, so the act may have failed afterwards. Entries never change.
    """

    occurred_at: datetime = strawberry.field(description="Time of the act, in system time.")
    action: str = strawberry.field(
        description="Name of the mutation, for example `revokeApiKey`, or of the command, for example `truncate`."
    )
    subject: strawberry.ID = strawberry.field(
        description="Global id of the object that was changed, or of the job that was started."
    )
    ip_address: str | None = strawberry.field(description="IP address of the client; null if it is unknown.")
    details: JSON = strawberry.field(
        description="More about the act: an object of texts, for example the `scopes` of a new key. Its members depend "
        "on `action`."
    )
    actor: AuditActor = strawberry.field(description="Whether a client or an operator acted.")
    key_id: strawberry.Private[str]

    @strawberry.field
    async def api_key(self, info: Info) -> ApiKey | None:
        """API key with which the client acted; null if an operator acted on the command line."""
        key: ApiKey | None = await fetch_node(info.context, "ApiKey", self.key_id)
        return key


@fetcher("AuditEntry")
async def fetch_audit_entry(context: RequestContext, entry_id: str) -> AuditEntry | None:
    """Return the entry with a database id, or None. Raises Denied without the scope `admin`."""
    context.actor.require(ADMIN)
    entry = await context.load.audit_entries.load(entry_id)
    return None if entry is None else _entry_of(entry)


listing = Pagination[domain.AuditEntry]("audit", (int, str), lambda entry: (to_ms(entry.at), entry.id))


async def list_audit_log(
    info: Info, first: First = None, after: After = None, last: Last = None, before: Before = None
) -> Connection[AuditEntry]:
    """List the entries of the audit log, newest first. Needs the scope `admin`.

    The log records changes of API keys, segments, event types, inbound hooks, webhook endpoints and the workspace. It
    also records created and updated passes, imports, exports, removals, merges, cancelled jobs, replays, tests of
    webhook endpoints, and reruns of inbound deliveries. Of the command line, it records changes of API keys,
    truncations of the feed and restores from a backup. It records no single events.
    """
    info.context.actor.require(ADMIN)
    span = listing.span(first, after, last, before)
    store = info.context.workspace.audit
    return listing.connection(await store.page(span), span, _entry_of, store.count)


def _entry_of(entry: domain.AuditEntry) -> AuditEntry:
    return AuditEntry(
        id=strawberry.ID(to_global_id("AuditEntry", entry.id)),
        occurred_at=entry.at,
        action=entry.action,
        subject=strawberry.ID(to_global_id(*entry.subject)),
        ip_address=entry.ip_address,
        details=JSON(dict(entry.details)),
        actor=AuditActor.COMMAND_LINE if is_operator(entry.key_id) else AuditActor.API_KEY,
        key_id=entry.key_id,
    )
