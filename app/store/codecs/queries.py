"""Queries as documents, for jobs that work on what they find, and back; `event_query_from(query_doc(x)) == x`."""

from __future__ import annotations

from dataclasses import fields
from datetime import datetime
from decimal import Decimal
from enum import Enum
from typing import Any

from bson import Decimal128

from app.domain.activities import ActivityQuery
from app.domain.events.events import Category, EventQuery
from app.domain.values.conditions import Condition, Operator
from app.domain.webhooks.deliveries import DeliveryQuery, WebhookDeliveryStatus
from app.store.mongo.queries import Doc


def query_doc(query: EventQuery | ActivityQuery | DeliveryQuery) -> Doc:
    """The document of a query."""
    return {field.name: _stored(getattr(query, field.name)) for field in fields(query)}


def event_query_from(doc: Doc) -> EventQuery:
    """The query of a document."""
    parts = {name: _read(value) for name, value in doc.items()}
    parts["categories"] = tuple(Category(each) for each in parts["categories"])
    parts["metadata"] = tuple(
        Condition(each["path"], Operator(each["operator"]), _read(each["value"])) for each in doc["metadata"]
    )
    return EventQuery(**parts)


def activity_query_from(doc: Doc) -> ActivityQuery:
    """The query of a document."""
    return ActivityQuery(**{name: _read(value) for name, value in doc.items()})


def delivery_query_from(doc: Doc) -> DeliveryQuery:
    """The query of a document."""
    parts = {name: _read(value) for name, value in doc.items()}
    return DeliveryQuery(**{**parts, "statuses": tuple(WebhookDeliveryStatus(each) for each in parts["statuses"])})


def _stored(value: object) -> Any:
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Decimal):
        return Decimal128(value)
    if isinstance(value, Condition):
        return value.to_dict()
    if isinstance(value, (list, tuple)):
        return [_stored(each) for each in value]
    assert value is None or isinstance(value, (str, bool, int, float, datetime))
    return value


def _read(value: Any) -> Any:
    if isinstance(value, Decimal128):
        return value.to_decimal()
    return tuple(_read(each) for each in value) if isinstance(value, list) else value
