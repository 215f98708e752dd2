"""Content negotiation: the media types of a response, by the Accept header of the client."""

from __future__ import annotations

from enum import StrEnum
from functools import lru_cache

SUBSCRIPTIONS = "subscriptionspec=1.0"
INCREMENTS = "incrementalspec=v0.2"
SPECIFIC = "spec="
MAX_TYPES = 50
"""Media types that are read from an Accept header. The rest is ignored: a header of 64 KB has 30,000."""


class MediaType(StrEnum):
    """Media types of a response, in the server's order of preference for types of equal quality."""

    JSON = "application/json"
    GRAPHQL = "application/graphql-response+json"
    EVENTS = "text/event-stream"
    PARTS = "multipart/mixed"


DOCUMENT_ERROR_STATUS = {MediaType.JSON: 200, MediaType.GRAPHQL: 400, MediaType.EVENTS: 200, MediaType.PARTS: 200}
"""HTTP status of a response whose document or variables were rejected. Clients of `application/json` read 200 only."""

STREAMS = (MediaType.EVENTS, MediaType.PARTS)
"""Media types in which an operation may have several responses."""


@lru_cache(maxsize=256)  # a client sends the same header with every request
def parse_accept(accept: str | None) -> list[MediaType]:
    """Return the media types that an Accept header accepts, the best first; none if the API has no such type.

    Streams come after JSON, because clients that read both list both for every request. `multipart/mixed` is accepted
    only with `subscriptionSpec=1.0`; without that parameter it means another protocol.
    """
    if accept is None or not accept.strip():
        return [MediaType.JSON]
    quality: dict[MediaType, float] = {}
    explicit: list[str] = []
    for part in accept.split(",", MAX_TYPES)[:MAX_TYPES]:
        name, *parameters = (piece.strip().lower() for piece in part.split(";"))
        explicit.append(name)
        q = next((_parse_quality(p) for p in parameters if p.startswith("q=")), 1.0)
        for media in MediaType:
            if media is MediaType.PARTS:
                if name == media and SUBSCRIPTIONS in (p.replace('"', "") for p in parameters):
                    quality[media] = q
            elif name == media:
                quality[media] = q
            elif name in ("*/*", f"{media.split('/')[0]}/*"):
                quality.setdefault(media, q / 1000 if media is MediaType.EVENTS else q)

    def rank(media: MediaType) -> tuple[bool, float, int]:
        # Types of equal quality that the client names keep the order of the client.
        index = explicit.index(media) if media in explicit else len(explicit)
        return (media in STREAMS, 0.0 if media in STREAMS else -quality[media], index)

    return sorted((media for media in MediaType if quality.get(media, 0) > 0), key=rank)


def accepts_increments(accept: str | None) -> bool:
    """Return whether a client reads deferred parts: it accepts `multipart/mixed` with "v0.2", or without a format."""
    for part in (accept or "").split(",", MAX_TYPES)[:MAX_TYPES]:
        name, *parameters = (piece.strip().lower().replace('"', "") for piece in part.split(";"))
        if name == MediaType.PARTS and (
            INCREMENTS in parameters or not any(SPECIFIC in parameter for parameter in parameters)
        ):
            return True
    return False


def _parse_quality(parameter: str) -> float:
    try:
        return min(1.0, max(0.0, float(parameter[2:])))
    except ValueError:
        return 0.0
