"""What a response is written as: the client's Accept header against what the server can write."""

from __future__ import annotations

from enum import StrEnum
from functools import lru_cache

SUBSCRIPTIONS = "subscriptionspec=1.0"
INCREMENTS = "incrementalspec=v0.2"
SPECIFIC = "spec="


class MediaType(StrEnum):
    """What a response may be written as; the order is the server's preference among equals."""

    JSON = "application/json"
    GRAPHQL = "application/graphql-response+json"
    EVENTS = "text/event-stream"
    PARTS = "multipart/mixed"


DOCUMENT_ERROR_STATUS = {MediaType.JSON: 200, MediaType.GRAPHQL: 400, MediaType.EVENTS: 200, MediaType.PARTS: 200}
"""The status of a request whose document or variables were refused: clients of the older type read 200 only."""

STREAMS = (MediaType.EVENTS, MediaType.PARTS)
"""Those in which an operation has any number of responses."""


@lru_cache(maxsize=256)  # clients say the same every time
def accepted_types(accept: str | None) -> list[MediaType]:
    """The types a client accepts, the best first; none for an Accept header that none of ours satisfies.

    Streams come after JSON unless a client wants nothing else: clients that can read both list both for every request.
    multipart/mixed counts with `subscriptionSpec=1.0` only: without it something else is meant.
    """
    if accept is None or not accept.strip():
        return [MediaType.JSON]
    quality: dict[MediaType, float] = {}
    explicit: list[str] = []
    for part in accept.split(","):
        name, *parameters = (piece.strip().lower() for piece in part.split(";"))
        explicit.append(name)
        q = next((_quality(p) for p in parameters if p.startswith("q=")), 1.0)
        for media in MediaType:
            if media is MediaType.PARTS:
                if name == media and SUBSCRIPTIONS in (p.replace('"', "") for p in parameters):
                    quality[media] = q
            elif name == media:
                quality[media] = q
            elif name in ("*/*", f"{media.split('/')[0]}/*"):
                quality.setdefault(media, q / 1000 if media is MediaType.EVENTS else q)

    def rank(media: MediaType) -> tuple[bool, float, int]:
        # Among equals, what was asked for by name comes in the client's own order.
        place = explicit.index(media) if media in explicit else len(explicit)
        return (media in STREAMS, 0.0 if media in STREAMS else -quality[media], place)

    return sorted((media for media in MediaType if quality.get(media, 0) > 0), key=rank)


def reads_increments(accept: str | None) -> bool:
    """Whether a client reads a response in parts: it asks for them in our format, or for parts in general."""
    for part in (accept or "").split(","):
        name, *parameters = (piece.strip().lower().replace('"', "") for piece in part.split(";"))
        if name == MediaType.PARTS and (
            INCREMENTS in parameters or not any(SPECIFIC in parameter for parameter in parameters)
        ):
            return True
    return False


def _quality(parameter: str) -> float:
    try:
        return min(1.0, max(0.0, float(parameter[2:])))
    except ValueError:
        return 0.0
