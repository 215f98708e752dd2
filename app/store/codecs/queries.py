"""Queries as documents, stored with jobs, and back; `event_query_from_doc(query_to_doc(x)) == x`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from datetime import datetime
from decimal import Decimal
from enum import Enum
from typing import Any

from bson import Decimal128

from app.domain.activity_queries import ActivityQuery
from app.domain.events.event_queries import EventQuery
from app.domain.events.events import Category
from app.domain.values.conditions import Condition, Operator
from app.domain.webhooks.deliveries import DeliveryQuery, WebhookDeliveryStatus
from app.store.mongo.queries import Doc

_LATER_FIELDS = frozenset({"event_types", "sources", "metadata", "causes"})
"""Fields of ActivityQuery that version 0.1 does not have."""
_OF_TOKENS = frozenset({"among_segments", "except_event_types", "except_types"})
"""Fields that only requests with a token for one pass set. No job has them."""


def query_to_doc(query: EventQuery | ActivityQuery | DeliveryQuery) -> Doc:
    """Return the document of a query."""
    found = {
        field.name: _to_bson(getattr(query, field.name)) for field in fields(query) if field.name not in _OF_TOKENS
    }
    if isinstance(query, ActivityQuery):
        # Former versions refuse names that they have no field for.
        return {name: value for name, value in found.items() if value or name not in _LATER_FIELDS}
    return found


def event_query_from_doc(doc: Doc) -> EventQuery:
    """Return the event query of a document."""
    parts = {name: _from_bson(value) for name, value in doc.items()}
    parts["categories"] = tuple(Category.of_stored(each) for each in parts["categories"])
    parts["metadata"] = _conditions_from_docs(doc["metadata"])
    return EventQuery(**parts)


def activity_query_from_doc(doc: Doc) -> ActivityQuery:
    """Return the activity query of a document."""
    parts = {name: _from_bson(value) for name, value in doc.items()}
    return ActivityQuery(**{**parts, "metadata": _conditions_from_docs(doc.get("metadata", ()))})


def delivery_query_from_doc(doc: Doc) -> DeliveryQuery:
    """Return the delivery query of a document."""
    parts = {name: _from_bson(value) for name, value in doc.items()}
    return DeliveryQuery(**{**parts, "statuses": tuple(WebhookDeliveryStatus(each) for each in parts["statuses"])})


def _conditions_from_docs(docs: Sequence[Doc]) -> tuple[Condition, ...]:
    return tuple(Condition(each["path"], Operator(each["operator"]), _from_bson(each["value"])) for each in docs)


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
