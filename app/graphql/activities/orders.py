"""Orders of lists of activities."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import strawberry

from app.graphql.types.enums import describe_enum


class ActivityOrder(StrEnum):
    """Order of a list of activities. A cursor of one order is valid in the other."""

    OLDEST_FIRST = "OLDEST_FIRST"
    NEWEST_FIRST = "NEWEST_FIRST"


describe_enum(
    ActivityOrder,
    "ActivityOrder",
    {
        "OLDEST_FIRST": "In the order of the feed: by `sequence`, ascending.",
        "NEWEST_FIRST": "In the opposite order of the feed.",
    },
)
OrderArgument = Annotated[
    ActivityOrder, strawberry.argument(description="Order of the list. Default: the order of the feed, oldest first.")
]
