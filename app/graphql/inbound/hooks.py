"""Inbound hooks: the type and the list. All of it needs the scope `admin`."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Annotated

import strawberry

from app.domain.actors import ADMIN
from app.domain.inbound import hooks as domain
from app.domain.signatures import Encoding, Scheme
from app.domain.values.instants import to_ms
from app.graphql.context import Info, RequestContext
from app.graphql.types.enums import describe_enum
from app.graphql.types.ids import database_id, to_global_id
from app.graphql.types.node import Node, fetcher
from app.graphql.types.paging import After, Before, Connection, First, Last, Pagination
from app.graphql.types.scalars import JSON

InboundScheme = Scheme
describe_enum(
    InboundScheme,
    "InboundScheme",
    {
        "STANDARD": "By Standard Webhooks: the headers `webhook-id`, `webhook-timestamp` and `webhook-signature` (or those "
        "of Svix); five minutes of tolerance.",
        "HMAC_SHA256": "By HMAC-SHA256 of the body in a header of its own, as GitHub, Shopify and many others do. A message "
        "is known by its body: what is sent twice, word for word, is a repeat.",
        "TIMESTAMPED_HMAC_SHA256": "By HMAC-SHA256 of time, point and body, in a header `t=…,v1=…` as Stripe does; five "
        "minutes of tolerance.",
    },
)
SignatureEncoding = Encoding
describe_enum(
    SignatureEncoding,
    "SignatureEncoding",
    {"HEX": "In hexadecimal digits.", "BASE64": "In base64."},
)

MAPPING = (
    "How bodies become events. `fields` says for each field of an event (`passExternalId` and `type` at least) where it "
    'comes from: a path such as "customer.email" or "lines.0.sku", or an object with one of `path` (or a list of them), '
    '`value` and `template` ("order-{id}"), and if wanted `map` (from texts to values), `default`, `scale` (2: amounts '
    "are in cents) and `format` (`RFC3339`, `UNIX_SECONDS`, `UNIX_MILLISECONDS`). `items` is the path of a list of events, "
    "of one object, or of text that holds such JSON; without it the body is the event. `when` lists conditions, each with "
    "`path`, `operator` and `value`, that an item has to meet to be taken. `correctionOf` is the external id, in the same "
    "source, of the event that is corrected. `metadata` is the path of an object, or an "
    "object of such sources. Paths begin at the item, with `$body` at the body, with `$headers` at the headers."
)


@strawberry.type
class InboundVerification:
    """How the requests of a sender are told from anybody's."""

    scheme: InboundScheme = strawberry.field(description="How it signs.")
    header: str | None = strawberry.field(description="The header of the signature; null where the scheme says it.")
    encoding: SignatureEncoding = strawberry.field(description="How the signature is written, for HMAC_SHA256.")
    prefix: str = strawberry.field(description='What stands before it, for example "sha256="; for HMAC_SHA256.')


@strawberry.type
class InboundHook(Node):
    """An address at which a foreign system tells in its own words what happened.

    Its secret is shown once, when it is made, and kept as it is, since signatures cannot be checked by a hash of it.
    """

    name: str = strawberry.field(description="What it is for.")
    source: str = strawberry.field(description="The source of its events, part of their identity; it stays for good.")
    url: str = strawberry.field(description="Where to send, relative to the address of the API. It is no secret.")
    verification: InboundVerification = strawberry.field(description="How requests are verified.")
    mapping: JSON = strawberry.field(description="How bodies become events; see `CreateInboundHookInput.mapping`.")
    create_missing_passes: bool = strawberry.field(description="Whether passes that are not there are created.")
    created_at: datetime = strawberry.field(description="When it was made, by the machine's clock.")
    updated_at: datetime = strawberry.field(description="When it was last changed, by the machine's clock.")
    archived_at: datetime | None = strawberry.field(description="When it was put away; null while it works.")


def hook_of(hook: domain.InboundHook) -> InboundHook:
    """The hook as it is published."""
    how = hook.verification
    return InboundHook(
        id=strawberry.ID(to_global_id("InboundHook", hook.id)),
        name=hook.name,
        source=hook.source,
        url=hook.path,
        verification=InboundVerification(
            scheme=how.scheme, header=how.header, encoding=how.encoding, prefix=how.prefix
        ),
        mapping=JSON(json.loads(hook.mapping.text)),
        create_missing_passes=hook.create_missing_passes,
        created_at=hook.created_at,
        updated_at=hook.updated_at,
        archived_at=hook.archived_at,
    )


@fetcher("InboundHook")
async def fetch_hook(context: RequestContext, hook_id: str) -> InboundHook | None:
    """The hook of a database id, or None. Raises Denied without the scope `admin`."""
    context.actor.require(ADMIN)
    found = await context.load.hooks.load(hook_id)
    return None if found is None else hook_of(found)


async def find_hook(
    info: Info, id: Annotated[strawberry.ID, strawberry.argument(description="The id of the hook.")]
) -> InboundHook | None:
    """The inbound hook of an id. Needs the scope `admin`."""
    info.context.actor.require(ADMIN)
    named = database_id(id, "InboundHook")
    return None if named is None else await fetch_hook(info.context, named)


listing = Pagination[domain.InboundHook]("hook", (int, str), lambda hook: (to_ms(hook.created_at), hook.id))


async def list_hooks(
    info: Info, first: First = None, after: After = None, last: Last = None, before: Before = None
) -> Connection[InboundHook]:
    """The inbound hooks, the newest first, archived ones included. Needs the scope `admin`."""
    info.context.actor.require(ADMIN)
    span = listing.span(first, after, last, before)
    store = info.context.workspace.hooks
    return listing.connection(await store.page(span), span, hook_of, store.count)
