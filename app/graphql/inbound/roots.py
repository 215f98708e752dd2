"""Fields of Query and Mutation for inbound hooks and their deliveries."""

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
    """Fields of Query that read inbound hooks and deliveries."""

    inbound_hook: InboundHook | None = strawberry.field(resolver=find_hook)
    inbound_hooks: Connection[InboundHook] = strawberry.field(resolver=list_hooks)
    inbound_deliveries: Connection[InboundDelivery] = strawberry.field(resolver=list_deliveries)


@strawberry.type
class InboundHookMutations:
    """Fields of Mutation that change and test inbound hooks and run deliveries again."""

    create_inbound_hook: CreateInboundHookPayload = strawberry.mutation(resolver=hook_mutations.create_inbound_hook)
    update_inbound_hook: UpdateInboundHookPayload = strawberry.mutation(resolver=hook_mutations.update_inbound_hook)
    rotate_inbound_hook_secret: RotateInboundHookSecretPayload = strawberry.mutation(
        resolver=hook_mutations.rotate_inbound_hook_secret
    )
    archive_inbound_hook: ArchiveInboundHookPayload = strawberry.mutation(resolver=hook_mutations.archive_inbound_hook)
    test_inbound_hook: TestInboundHookPayload = strawberry.mutation(resolver=delivery_mutations.test_inbound_hook)
    rerun_inbound_delivery: RerunInboundDeliveryPayload = strawberry.mutation(
        resolver=delivery_mutations.rerun_inbound_delivery
    )
    rerun_inbound_deliveries: RerunInboundDeliveriesPayload = strawberry.mutation(
        resolver=delivery_mutations.rerun_inbound_deliveries
    )
    discard_inbound_delivery: DiscardInboundDeliveryPayload = strawberry.mutation(
        resolver=delivery_mutations.discard_inbound_delivery
    )
