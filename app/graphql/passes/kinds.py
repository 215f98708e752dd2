"""Kinds and states of passes."""

from __future__ import annotations

from enum import StrEnum

from app.domain.passes import passes as domain
from app.graphql.types.enums import describe_enum


class PassStatus(StrEnum):
    """State of a pass. Punchcard does not act on it; segments can ask for it."""

    ACTIVE = "ACTIVE"
    INACTIVE = "INACTIVE"
    EXPIRED = "EXPIRED"
    REVOKED = "REVOKED"


class PassKind(StrEnum):
    """Kind of a pass."""

    LOYALTY_CARD = domain.LOYALTY_CARD
    GIFT_CARD = domain.GIFT_CARD


describe_enum(
    PassKind,
    "PassKind",
    {
        "LOYALTY_CARD": "A loyalty card, membership or ticket. Kind of a new pass.",
        "GIFT_CARD": "A gift card: it has a balance of money in one currency.",
    },
)
describe_enum(
    PassStatus,
    "PassStatus",
    {
        "ACTIVE": "The pass is in use. State of a new pass.",
        "INACTIVE": "The pass is not in use at present.",
        "EXPIRED": "The validity of the pass has ended.",
        "REVOKED": "The pass was withdrawn.",
    },
)
