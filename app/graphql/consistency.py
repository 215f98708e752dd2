"""Queries that wait until they see what was written before."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import strawberry

from app.commands.consistency import await_counted
from app.domain.errors import Code, InvalidInput

from .context import Info
from .enums import described


class Consistency(StrEnum):
    """How much of what was written a query is sure to see."""

    EVENTUAL = "EVENTUAL"
    AT_LEAST = "AT_LEAST"


described(
    Consistency,
    "Consistency",
    "How much of what was written a query is sure to see.",
    {
        "EVENTUAL": "What is counted by now; the newest events follow within moments.",
        "AT_LEAST": "At least the events of the receipt whose `token` is given: the query waits until they are counted, for "
        "5 seconds at most; then it is UNAVAILABLE, and safe to repeat.",
    },
)

ConsistencyArgument = Annotated[
    Consistency, strawberry.argument(description="How much of what was written the answer is sure to show.")
]
TokenArgument = Annotated[
    str | None, strawberry.argument(description="The token of the receipt to wait for, with AT_LEAST.")
]


async def consistent(info: Info, consistency: Consistency, token: str | None, *, told: bool = False) -> None:
    """Returns when a query may be answered: with AT_LEAST, when the events of the receipt count, and with `told` are in
    the feed.

    Raises InvalidInput for a token that is none here, NotYet after 5 seconds; safe to repeat.
    """
    if consistency is Consistency.AT_LEAST:
        if token is None:
            raise InvalidInput(Code.REQUIRED, "AT_LEAST asks for the token of the receipt to wait for.", "token")
        await await_counted(info.context.commands, token, told=told)
