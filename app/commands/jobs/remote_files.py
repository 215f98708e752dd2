"""Files that a client names by a URL instead of sending them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

from app.commands.context import Context
from app.domain.errors import InvalidInput, Refused
from app.outbound.addresses import Allowed
from app.outbound.http_client import Fetched, RequestFailed, fetch

PROGRESS_SHARE = 0.8
"""Share of an operation's time limit that fetching may take. The rest is for storing the file and for the response."""


@asynccontextmanager
async def remote_file(ctx: Context, url: str) -> AsyncIterator[Fetched]:
    """Fetch the file at an http or https URL, and keep it open for reading during the block.

    The file may be as large as an upload. Raises InvalidInput under `url`, also from inside the block, for a refused
    address, no answer, a file that is too large, or a timeout. Problems that the block raises for `file` are raised for
    `url`.
    """
    settings = ctx.resources.settings
    allowed, timeout_seconds = Allowed.parse(settings.egress_allow), PROGRESS_SHARE * settings.operation_seconds
    try:
        async with fetch(url, allowed, max_bytes=settings.upload_bytes, timeout_seconds=timeout_seconds) as file:
            yield file
    except RequestFailed as error:
        raise InvalidInput(error.code, error.message, "url") from None
    except Refused as refused:
        problems = (replace(each, field=("url",)) if each.field == ("file",) else each for each in refused.problems)
        raise Refused(*problems) from None
