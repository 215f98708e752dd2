"""Consistency of queries: whether a query waits until the events of a receipt are counted."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import strawberry

from app.commands.events.consistency import open_receipt, wait_until_folded
from app.domain.errors import Code, InvalidInput, Refused
from app.graphql.context import Info

from .enums import describe_enum


class Consistency(StrEnum):
    """How current the answer of a query must be."""

    EVENTUAL = "EVENTUAL"
    AT_LEAST = "AT_LEAST"
    STRONG = "STRONG"


describe_enum(
    Consistency,
    "Consistency",
    {
        "EVENTUAL": "No waiting. The answer may lack events recorded in the last moments, until a worker has counted "
        "them.",
        "AT_LEAST": "The answer includes at least the events of the receipt whose `token` is given. The query waits "
        "up to 5 seconds until they are counted. After that it fails with `UNAVAILABLE` and is safe to "
        "retry.",
        "STRONG": "The answer includes every event recorded before the query. `events` and `aggregateEvents` always answer "
        "so. `eventSummary` and `eventHistogram` fail with `LIMIT` if they would have to leave out events of hours that are "
        "not sealed yet. Other queries fail with `UNSUPPORTED`.",
    },
)

ConsistencyArgument = Annotated[
    Consistency,
    strawberry.argument(
        description="How current the answer must be. Default: `EVENTUAL`. This query supports `AT_LEAST`. Of the "
        "queries with this argument, only `events` supports `STRONG`."
    ),
]
TokenArgument = Annotated[
    str | None,
    strawberry.argument(description="Token of the receipt to wait for. Required with `AT_LEAST`, ignored otherwise."),
]


async def await_consistency(
    info: Info,
    consistency: Consistency,
    token: str | None,
    *under: str,
    until_published: bool = False,
    reads_events: bool = False,
) -> None:
    """Wait until a query may be answered.

    With AT_LEAST, wait until the events of the receipt are counted; with `until_published`, also until their
    activities are in the log. Queries that read the events themselves (`reads_events`) see every acknowledged event at
    once, so they only check the token. Raises InvalidInput if the token is missing or is not one of this workspace. Raises
    InvalidInput for STRONG unless `reads_events`. Raises NotYet after 5 seconds; the query is safe to retry.
    """
    if consistency is Consistency.STRONG and not reads_events:
        advice = "This query does not support STRONG. Use AT_LEAST with the token of a receipt."
        raise InvalidInput(Code.UNSUPPORTED, advice, *under, "consistency")
    if consistency is not Consistency.AT_LEAST:
        return
    if token is None:
        advice = "AT_LEAST needs a token. Give the token of the receipt to wait for."
        raise InvalidInput(Code.REQUIRED, advice, *under, "token")
    try:
        if reads_events:
            await open_receipt(info.context.commands, token)
        else:
            await wait_until_folded(info.context.commands, token, published=until_published)
    except Refused as refused:
        raise Refused(*(problem.with_prefix(*under) for problem in refused.problems)) from None
