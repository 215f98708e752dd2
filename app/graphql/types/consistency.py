"""Queries that wait until they see what was written before."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import strawberry

from app.commands.events.consistency import open_receipt, wait_until_folded
from app.domain.errors import Code, InvalidInput, Refused
from app.graphql.context import Info

from .enums import describe_enum


class Consistency(StrEnum):
    """How much of what was written a query is sure to see."""

    EVENTUAL = "EVENTUAL"
    AT_LEAST = "AT_LEAST"
    STRONG = "STRONG"


describe_enum(
    Consistency,
    "Consistency",
    {
        "EVENTUAL": "What is counted by now; the newest events follow within moments.",
        "AT_LEAST": "At least the events of the receipt whose `token` is given: the query waits until they are counted, for "
        "5 seconds at most; then it is UNAVAILABLE, and safe to repeat.",
        "STRONG": "Everything that was acknowledged before; for queries of the events themselves, which always see it.",
    },
)

ConsistencyArgument = Annotated[
    Consistency, strawberry.argument(description="How much of what was written the answer is sure to show.")
]
TokenArgument = Annotated[
    str | None, strawberry.argument(description="The token of the receipt to wait for, with AT_LEAST.")
]


async def await_consistency(
    info: Info,
    consistency: Consistency,
    token: str | None,
    *under: str,
    told: bool = False,
    of_events: bool = False,
) -> None:
    """Returns when a query may be answered: with AT_LEAST, when the events of the receipt count, and with `told` are in
    the feed.

    Queries `of_events` themselves see everything at once, and wait for nothing. Raises InvalidInput for a token that is
    none here, and for STRONG where a query is answered from what was counted; NotYet after 5 seconds, safe to repeat.
    """
    if consistency is Consistency.STRONG and not of_events:
        raise InvalidInput(Code.UNSUPPORTED, "Only AT_LEAST with a token is offered here.", *under, "consistency")
    if consistency is not Consistency.AT_LEAST:
        return
    if token is None:
        raise InvalidInput(Code.REQUIRED, "AT_LEAST asks for the token of the receipt to wait for.", *under, "token")
    try:
        if of_events:
            await open_receipt(info.context.commands, token)
        else:
            await wait_until_folded(info.context.commands, token, told=told)
    except Refused as refused:
        raise Refused(*(problem.under(*under) for problem in refused.problems)) from None
