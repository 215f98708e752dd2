"""Deliveries of blocked heads: messages that failed and that their partition still waits for."""

from __future__ import annotations

from app.domain.activities import Activity
from app.domain.values.instants import from_ms

from .deliveries import WebhookDelivery
from .partitions import BlockedHead, PartitionState


def build_blocked_delivery(
    endpoint_id: str, state: PartitionState, head: BlockedHead, activity: Activity
) -> WebhookDelivery:
    """Return the PENDING delivery of a blocked head. It is stored only when the message succeeds or is deferred."""
    retry_ms = state.retry_ms_of(head)
    created_at = from_ms(head.blocked_ms)
    return WebhookDelivery.pending(
        endpoint_id,
        activity,
        created_at=created_at,
        updated_at=head.attempts[-1].at if head.attempts else created_at,
        due_at=None if retry_ms is None else from_ms(retry_ms),
        attempt_count=head.attempt_count,
        attempts=head.attempts,
    )
