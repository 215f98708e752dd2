"""Executors of graphql-core that measure the answer while they build it, so that the answer has a limit in bytes.

One stored object may appear in an answer any number of times. A limit on the data read from the store alone would not
bound the answer.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, NamedTuple, Self, cast

import orjson
from graphql import get_named_type, is_leaf_type
from graphql.execution.executor_throwing_on_incremental import ExecutorThrowingOnIncremental
from graphql.execution.incremental.incremental_executor import IncrementalExecutor

from app.store.mongo.usage import StoreUsage, current_usage

VALUE_BYTES = 8
"""Bytes that a value takes besides its text: quotation marks, punctuation, or a number."""
ERROR_BYTES = 300
"""Bytes that an error takes besides its message."""
SHORT_CHARACTERS = 64
"""A text up to this length is counted by its characters; a longer one by the bytes of its JSON."""


class _Shape(NamedTuple):
    """Selection of fields, with what measuring an object of the selection needs."""

    fields: Any
    """The selection. A reference keeps its id from being used again."""
    size: int
    """Bytes of the names, and of the values besides their texts."""
    leaves: tuple[str, ...]
    """Names of the scalars and enums. Objects below the object are measured by themselves."""


class _Measuring:
    """Measurement of the answer. Beyond the limit, the executor starts no further object."""

    usage: StoreUsage | None = None
    shapes: dict[int, _Shape]
    """Selections executed so far, by their ids in memory."""

    def execute_fields(
        self, parent_type: Any, source_value: Any, path: Any, grouped_field_set: Any, position_context: Any
    ) -> Any:
        """Execute the fields of an object, and count their names and values. Raises the error that ends the operation."""
        usage = self.usage
        execute = super().execute_fields  # type: ignore[misc]
        if usage is None:
            return execute(parent_type, source_value, path, grouped_field_set, position_context)
        shape = self.shapes.get(id(grouped_field_set))
        if shape is None:
            shape = self.shapes[id(grouped_field_set)] = _shape_of(parent_type, grouped_field_set)
        usage.answer_bytes += shape.size
        usage.check_answer()
        fields = execute(parent_type, source_value, path, grouped_field_set, position_context)
        if type(fields) is not dict:
            return _count_later(usage, fields, shape)
        usage.answer_bytes += _texts_size(fields, shape)
        return fields

    def handle_field_error(self, raw_error: Exception, *args: Any) -> None:
        """Keep the error of a field, and count its message."""
        if self.usage is not None:
            self.usage.answer_bytes += ERROR_BYTES + len(str(raw_error))
        super().handle_field_error(raw_error, *args)  # type: ignore[misc]


class AnswerExecutor(_Measuring, IncrementalExecutor):
    """Executor of a query or a mutation."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.usage, self.shapes = current_usage(), {}


class EventExecutor(_Measuring, ExecutorThrowingOnIncremental):
    """Executor of a subscription that frees the memory of each event after the event."""

    def build_per_event_executor(self, payload: Any) -> Self:
        """Return the executor of one event."""
        executor = cast(Self, super().build_per_event_executor(payload))
        # graphql-core 3.3.2 keeps the fields collected for each event until the subscription ends: 2.3 KB a message.
        executor._relevant_sub_fields = {}
        executor.usage, executor.shapes = current_usage(), {}
        return executor


def _shape_of(parent_type: Any, grouped_field_set: Any) -> _Shape:
    leaves = []
    for name, details in grouped_field_set.items():
        field = parent_type.fields.get(details[0].node.name.value)
        if field is None or is_leaf_type(get_named_type(field.type)):
            leaves.append(name)
    return _Shape(grouped_field_set, sum(map(len, grouped_field_set)) + VALUE_BYTES * len(leaves), tuple(leaves))


async def _count_later(usage: StoreUsage, later: Awaitable[Any], shape: _Shape) -> Any:
    fields = await later
    usage.answer_bytes += _texts_size(fields, shape)
    return fields


def _texts_size(fields: dict[str, Any], shape: _Shape) -> int:
    """Return the bytes of the texts and JSON values of an object."""
    # This loop runs over every value of every answer, so it calls as little as possible.
    size = 0
    for name in shape.leaves:
        value: Any = fields.get(name)
        kind = type(value)
        if kind is str and len(value) <= SHORT_CHARACTERS:
            size += len(value)
        elif kind is str or kind is dict or kind is list:
            size += _json_size(value)
    return size


def _json_size(value: Any) -> int:
    try:
        return len(orjson.dumps(value))
    except TypeError:
        return len(repr(value))
