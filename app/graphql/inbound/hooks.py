"""The type InboundHook and the queries that find and list hooks. All need the scope `admin`."""

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
        "STANDARD": "Standard Webhooks: the headers `webhook-id`, `webhook-timestamp` and `webhook-signature`, or the "
        "headers `svix-id`, `svix-timestamp` and `svix-signature`. A time more than five minutes from the server's is "
        "rejected.",
        "HMAC_SHA256": "HMAC-SHA256 of the body in a header that you name, as GitHub and Shopify sign. Messages with "
        "the same body, and the same headers among those that the mapping reads, count as one message.",
        "TIMESTAMPED_HMAC_SHA256": "HMAC-SHA256 of time, a point and the body in a header `t=…,v1=…`, as Stripe signs. "
        "A time more than five minutes from the server's is rejected.",
    },
)
SignatureEncoding = Encoding
describe_enum(
    SignatureEncoding,
    "SignatureEncoding",
    {"HEX": "Hexadecimal digits, in lower or upper case.", "BASE64": "Base64 with padding."},
)

MAPPING = """Rules that turn a message into events: a JSON object of up to 32 KB. Its members are:

- `fields`: an object with a source for each field of an event, named as in `RecordEventInput`. `passExternalId` and
  `type` are required. `correctionOf` takes the external id of the corrected event, from the same source.
- `items`: the path of a list with up to 1,000 items, of one object, or of a text that holds such JSON. Each item makes
  one event. Default: the body is the only item.
- `when`: up to 20 conditions, each with `path`, `operator` and `value`. Items that fail a condition are left out.
- `metadata`: the path of an object, or an object with a source for each of up to 50 names. Integers beyond 2^53, and
  decimals that a JSON number would round, become texts.

A source is a path such as `"customer.email"` or `"lines.0.sku"`, or an object with exactly one of these members:

- `path`: a path, or a list of up to 6 paths, of which the first with a value counts.
- `value`: the same value for every item.
- `template`: a text with paths in braces, such as `"order-{id}"`.

The object may also have these members:

- `map`: an object that translates the value, with up to 200 entries.
- `default`: the value to use if none is found, or if `map` has no entry for it.
- `scale`: the number of decimal places of an integer, 0 to 6. With 2, the value 2930 is 29.30. For `amount`, `"currency"`
  means as many as the item's currency has by ISO 4217: 2930 is 29.30 in EUR, 2930 in JPY and 2.930 in BHD.
- `round`: the number of decimal places that `amount` or `points` is rounded to, half to even: 0 to 6, or `"currency"`.
  Default: a value with more than 6 decimal places fails.
- `format`: the format of an instant: `RFC3339` (default), `UNIX_SECONDS` or `UNIX_MILLISECONDS`.

Paths begin at the item. With `$body` they begin at the body, and with `$headers` at the headers."""
"""The description of the argument `mapping` of createInboundHook, as Markdown."""


@strawberry.type
class InboundVerification:
    """How a hook verifies that a request comes from its sender."""

    scheme: InboundScheme = strawberry.field(description="Signature scheme of the sender.")
    header: str | None = strawberry.field(
        description="Name of the header with the signature, in lower case; null for STANDARD."
    )
    encoding: SignatureEncoding = strawberry.field(
        description="Encoding of the signature. Only HMAC_SHA256 uses this setting."
    )
    prefix: str = strawberry.field(
        description='Text before the signature in the header, for example "sha256="; may be empty. '
        "Only HMAC_SHA256 uses this setting."
    )


@strawberry.type
class InboundHook(Node):
    """Address at which another system posts its webhooks, with the mapping that turns its messages into events.

    Punchcard shows the secret of a hook only once, but stores it readable, because a hash cannot verify signatures.
    """

    name: str = strawberry.field(description="Name of the hook, for people.")
    source: str = strawberry.field(
        description="Source of the hook's events. It is part of the identity of each event and never changes."
    )
    url: str = strawberry.field(
        description="Path to which the sender posts, relative to the address of the API. It is not secret."
    )
    verification: InboundVerification = strawberry.field(description="How the hook verifies requests.")
    mapping: JSON = strawberry.field(
        description="Rules that turn a message into events, as described at `CreateInboundHookInput.mapping`."
    )
    create_missing_passes: bool = strawberry.field(
        description="Whether an event for an unknown `passExternalId` creates the pass. If false, the event is "
        "rejected."
    )
    created_at: datetime = strawberry.field(description="Time of creation, in system time.")
    updated_at: datetime = strawberry.field(description="Time of the last change, in system time.")
    archived_at: datetime | None = strawberry.field(
        description="Time at which the hook was archived, in system time; null while it accepts messages."
    )


def hook_of(hook: domain.InboundHook) -> InboundHook:
    """Return the GraphQL object of a hook."""
    verification = hook.verification
    return InboundHook(
        id=strawberry.ID(to_global_id("InboundHook", hook.id)),
        name=hook.name,
        source=hook.source,
        url=hook.path,
        verification=InboundVerification(
            scheme=verification.scheme,
            header=verification.header,
            encoding=verification.encoding,
            prefix=verification.prefix,
        ),
        mapping=JSON(json.loads(hook.mapping.text)),
        create_missing_passes=hook.create_missing_passes,
        created_at=hook.created_at,
        updated_at=hook.updated_at,
        archived_at=hook.archived_at,
    )


@fetcher("InboundHook")
async def fetch_hook(context: RequestContext, hook_id: str) -> InboundHook | None:
    """Return the hook with a database id, or None. Raises Denied without the scope `admin`."""
    context.actor.require(ADMIN)
    hook = await context.load.hooks.load(hook_id)
    return None if hook is None else hook_of(hook)


async def find_hook(
    info: Info, id: Annotated[strawberry.ID, strawberry.argument(description="Id of the hook.")]
) -> InboundHook | None:
    """Find an inbound hook by its id; null if it does not exist. Needs the scope `admin`."""
    info.context.actor.require(ADMIN)
    hook_id = database_id(id, "InboundHook")
    return None if hook_id is None else await fetch_hook(info.context, hook_id)


listing = Pagination[domain.InboundHook]("hook", (int, str), lambda hook: (to_ms(hook.created_at), hook.id))


async def list_hooks(
    info: Info, first: First = None, after: After = None, last: Last = None, before: Before = None
) -> Connection[InboundHook]:
    """List the inbound hooks, newest first, including archived ones. Needs the scope `admin`."""
    info.context.actor.require(ADMIN)
    span = listing.span(first, after, last, before)
    store = info.context.workspace.hooks
    return listing.connection(await store.page(span), span, hook_of, store.count)
