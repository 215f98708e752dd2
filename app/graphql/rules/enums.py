"""Enums of rules, as the schema publishes them."""

from __future__ import annotations

from app.domain.rules.effects import Rounding
from app.domain.rules.rules import OnHistorical, RuleStatus
from app.domain.rules.triggers import TierChange
from app.graphql.types.enums import describe_enum

__all__ = ["OnHistorical", "Rounding", "RuleStatus", "TierChange"]

describe_enum(
    RuleStatus,
    "RuleStatus",
    {
        "ACTIVE": "The rule fires.",
        "PAUSED": "The rule does not fire until `resumeRule`.",
        "ARCHIVED": "The rule never fires again.",
    },
)
describe_enum(
    Rounding,
    "Rounding",
    {
        "DOWN": "Towards zero: 2.9 becomes 2.",
        "HALF_UP": "To the nearest number, halves away from zero: 2.5 becomes 3.",
        "UP": "Away from zero: 2.1 becomes 3.",
    },
)
describe_enum(
    OnHistorical,
    "HistoricalHandling",
    {
        "IGNORE": "The rule does not fire for imported past events, nor for events before its first version.",
        "FIRE": "The rule fires for them, too.",
    },
)
describe_enum(
    TierChange,
    "TierChange",
    {
        "JOINED": "The pass got its first tier.",
        "LEFT": "The pass lost its tier and has none.",
        "UPGRADED": "The pass got a higher tier.",
        "DOWNGRADED": "The pass got a lower tier.",
        "PROLONGED": "The pass kept its tier for another period.",
    },
)
