"""Queries as documents, stored with jobs, and back; `event_query_from_doc(query_to_doc(x)) == x`."""

from __future__ import annotations

from dataclasses import fields
from datetime import datetime
from decimal import Decimal
from enum import Enum
from typing import Any

from bson import Decimal128

from app.domain.activities import ActivityQuery
from app.domain.events.event_queries import EventQuery
from app.domain.events.events import Category
from app.domain.values.conditions import Condition, Operator
from app.domain.webhooks.deliveries import DeliveryQuery, WebhookDeliveryStatus
from app.store.mongo.queries import Doc


def query_to_doc(query: EventQuery | ActivityQuery | DeliveryQuery) -> Doc:
    """Return the document of a query."""
    return {field.name: _to_bson(getattr(query, field.name)) for field in fields(query)}


def event_query_from_doc(doc: Doc) -> EventQuery:
    """Return the event query of a document."""
    parts = {name: _from_bson(value) for name, value in doc.items()}
    parts["categories"] = tuple(Category.of_stored(each) for each in parts["categories"])
    parts["metadata"] = tuple(
        Condition(each["path"], Operator(each["operator"]), _from_bson(each["value"])) for each in doc["metadata"]
    )
    return EventQuery(**parts)


def activity_query_from_doc(doc: Doc) -> ActivityQuery:
    """Return the activity query of a document."""
    return ActivityQuery(**{name: _from_bson(value) for name, value in doc.items()})


def delivery_query_from_doc(doc: Doc) -> DeliveryQuery:
    """Return the delivery query of a document."""
    parts = {name: _from_bson(value) for name, value in doc.items()}
    return DeliveryQuery(**{**parts, "statuses": tuple(WebhookDeliveryStatus(each) for each in parts["statuses"])})


def _to_bson(value: object) -> Any:
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Decimal):
        return Decimal128(value)
    if isinstance(value, Condition):
        return value.to_dict()
    if isinstance(value, (list, tuple)):
        return [_to_bson(each) for each in value]
    assert value is None or isinstance(value, (str, bool, int, float, datetime))
    return value


def _from_bson(value: Any) -> Any:
    if isinstance(value, Decimal128):
        return value.to_decimal()
    return tuple(_from_bson(each) for each in value) if isinstance(value, list) else value
