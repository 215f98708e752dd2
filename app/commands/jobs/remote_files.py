"""Files that a caller names by a URL instead of sending them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

from app.commands.context import Context
from app.domain.errors import InvalidInput, Refused
from app.outbound.addresses import Allowed
from app.outbound.http_client import Fetched, RequestFailed, fetch

PROGRESS_SHARE = 0.8
"""The part of an operation's time that fetching may take: what is left is for storing, and for saying what went wrong."""


@asynccontextmanager
async def remote_file(ctx: Context, url: str) -> AsyncIterator[Fetched]:
    """The file at an http or https URL, open for reading while the block runs; as large as an upload may be.

    Raises InvalidInput under `url`, from inside the block too: nowhere to go to, no answer, too large, too slow. What the
    block finds wrong with the `file` is told of the `url`.
    """
    settings = ctx.resources.settings
    allowed, seconds = Allowed.of(settings.egress_allow), PROGRESS_SHARE * settings.operation_seconds
    try:
        async with fetch(url, allowed, most_bytes=settings.upload_bytes, seconds=seconds) as file:
            yield file
    except RequestFailed as error:
        raise InvalidInput(error.code, error.message, "url") from None
    except Refused as refused:
        problems = (replace(each, field=("url",)) if each.field == ("file",) else each for each in refused.problems)
        raise Refused(*problems) from None
