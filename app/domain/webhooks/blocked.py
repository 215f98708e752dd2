"""Deliveries of blocked heads: messages that failed and that their partition still waits for."""

from __future__ import annotations

from app.domain.activities import Activity
from app.domain.values.instants import from_ms

from .deliveries import WebhookDelivery, WebhookDeliveryStatus, delivery_id
from .partitions import BlockedHead, PartitionState


def build_blocked_delivery(
    endpoint_id: str, state: PartitionState, head: BlockedHead, activity: Activity
) -> WebhookDelivery:
    """Return the PENDING delivery of a blocked head. It is stored only when the message succeeds or is deferred."""
    retry_ms = state.retry_ms_of(head)
    return WebhookDelivery(
        id=delivery_id(endpoint_id, activity.position),
        endpoint_id=endpoint_id,
        position=activity.position,
        activity_id=activity.id,
        type=activity.type,
        recorded_at=activity.recorded_at,
        status=WebhookDeliveryStatus.PENDING,
        attempt_count=head.attempt_count,
        attempts=head.attempts,
        created_at=from_ms(head.blocked_ms),
        updated_at=head.attempts[-1].at if head.attempts else from_ms(head.blocked_ms),
        due_at=None if retry_ms is None else from_ms(retry_ms),
    )
