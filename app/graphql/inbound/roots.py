"""The part of the roots that speaks of inbound hooks and of what they received."""

from __future__ import annotations

import strawberry

from app.graphql.types.paging import Connection

from . import delivery_mutations, hook_mutations
from .deliveries import InboundDelivery, list_deliveries
from .delivery_mutations import (
    DiscardInboundDeliveryPayload,
    RerunInboundDeliveriesPayload,
    RerunInboundDeliveryPayload,
    TestInboundHookPayload,
)
from .hook_mutations import (
    ArchiveInboundHookPayload,
    CreateInboundHookPayload,
    RotateInboundHookSecretPayload,
    UpdateInboundHookPayload,
)
from .hooks import InboundHook, find_hook, list_hooks


@strawberry.type
class InboundHookQueries:
    """What can be asked of inbound hooks."""

    inbound_hook: InboundHook | None = strawberry.field(
        resolver=find_hook, description="The inbound hook of an id. Needs the scope `admin`."
    )
    inbound_hooks: Connection[InboundHook] = strawberry.field(
        resolver=list_hooks,
        description="The inbound hooks, the newest first, archived ones included. Needs the scope `admin`.",
    )
    inbound_deliveries: Connection[InboundDelivery] = strawberry.field(
        resolver=list_deliveries,
        description="What an inbound hook received: what failed, unless asked otherwise, the newest first. Needs the scope "
        "`admin`.",
    )


@strawberry.type
class InboundHookMutations:
    """What can be done with inbound hooks."""

    create_inbound_hook: CreateInboundHookPayload = strawberry.mutation(
        resolver=hook_mutations.create_inbound_hook,
        description="Makes an address at which a foreign system tells what happened. Needs the scope `admin`.",
    )
    update_inbound_hook: UpdateInboundHookPayload = strawberry.mutation(
        resolver=hook_mutations.update_inbound_hook,
        description="Changes an inbound hook. Needs the scope `admin`. Safe to repeat.",
    )
    rotate_inbound_hook_secret: RotateInboundHookSecretPayload = strawberry.mutation(
        resolver=hook_mutations.rotate_inbound_hook_secret,
        description="Replaces the secret of an inbound hook; older ones work for a while longer, if wanted. Needs the scope "
        "`admin`.",
    )
    archive_inbound_hook: ArchiveInboundHookPayload = strawberry.mutation(
        resolver=hook_mutations.archive_inbound_hook,
        description="Puts an inbound hook away: what is sent there is refused. Needs the scope `admin`. Safe to repeat.",
    )
    test_inbound_hook: TestInboundHookPayload = strawberry.mutation(
        resolver=delivery_mutations.test_inbound_hook,
        description="Tells what a body would become, by a hook or by a mapping that is only tried; writes nothing. Needs "
        "the scope `admin`.",
    )
    rerun_inbound_delivery: RerunInboundDeliveryPayload = strawberry.mutation(
        resolver=delivery_mutations.rerun_inbound_delivery,
        description="Maps and records what failed of a delivery again; nothing is recorded twice. Needs the scope `admin`. "
        "Safe to repeat.",
    )
    rerun_inbound_deliveries: RerunInboundDeliveriesPayload = strawberry.mutation(
        resolver=delivery_mutations.rerun_inbound_deliveries,
        description="Does that for up to 100 failed deliveries of a hook, the oldest first. Needs the scope `admin`. Safe "
        "to repeat.",
    )
    discard_inbound_delivery: DiscardInboundDeliveryPayload = strawberry.mutation(
        resolver=delivery_mutations.discard_inbound_delivery,
        description="Forgets a failed delivery and its body; what it recorded stays. Needs the scope `admin`.",
    )
