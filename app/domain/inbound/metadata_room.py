"""The room that a message has for metadata: it bounds the memory and the time that one message costs."""

from __future__ import annotations

from app.domain.errors import Code, InvalidInput
from app.domain.values.json_values import measure_json

MAX_METADATA_CHARACTERS = 2_097_152
"""Characters of the metadata of all items of one message, as JSON.

A value of the body may go into each item, so the metadata may be much larger than the body.
"""


class MetadataRoom:
    """The characters that metadata may still have: `in_item` in this item, and `in_all` in all items of the message."""

    def __init__(self, metadata_bytes: int) -> None:
        self._metadata_bytes = metadata_bytes
        self.in_item = metadata_bytes
        self.in_all = MAX_METADATA_CHARACTERS

    def begin_item(self) -> None:
        """Begin another item. Raises InvalidInput if the items before it have taken all room."""
        self.in_item = self._metadata_bytes
        self._check_all()

    def take(self, value: object) -> None:
        """Take the room of one value of the metadata. Raises InvalidInput if there is not enough."""
        size = measure_json(value, self.in_item)
        # Values that are refused count as well: measuring them takes time.
        self.in_all -= size
        self.in_item -= size
        if self.in_item < 0:
            message = (
                f"The metadata of the item has more than {self._metadata_bytes:,} bytes; map fewer or shorter values."
            )
            raise InvalidInput(Code.TOO_LONG, message, "metadata")
        self._check_all()

    def _check_all(self) -> None:
        if self.in_all < 0:
            message = f"The metadata of all items together has more than {MAX_METADATA_CHARACTERS:,} characters"
            raise InvalidInput(
                Code.TOO_LONG,
                f"{message}; map shorter values, or rerun the delivery for the remaining items.",
                "metadata",
            )
