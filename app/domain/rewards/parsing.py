"""Parser of the terms of a reward: of the input of createReward and updateReward, and of stored definitions."""

from __future__ import annotations

from collections.abc import Mapping

from app.domain.errors import refuse_if
from app.domain.rules.parsing_triggers import parse_limits
from app.domain.rules.reading import Problems, parse_body, parse_integer, parse_not_negative
from app.domain.segments.criteria import Criteria
from app.domain.segments.limits import check_criteria_size
from app.domain.segments.parsing import parse_criteria
from app.domain.values.decimals import ZERO
from app.domain.values.text import parse_object
from app.domain.values.windows import parse_between
from app.domain.values.zones import parse_zone

from .codes import parse_pattern
from .rewards import Reward

MAX_REWARDS = 200
"""Rewards of a workspace that are not archived."""
MAX_STOCK = 1_000_000
"""Units of one reward."""
MAX_QUANTITY = 1_000
"""Units of one redemption."""
MAX_REWARD_CRITERIA_BYTES = 16_384
"""Size of the criteria of one reward, as JSON in UTF-8."""
MAX_REWARD_METADATA_BYTES = 4_096
"""Size of the metadata of one reward, as JSON in UTF-8."""


def parse_reward(
    raw: Mapping[str, object], currency: str, timezone: str, *, stored_meaning: int | None = None
) -> Reward:
    """Return the terms of a reward. `currency` and `timezone` are the defaults, those of the workspace.

    Checks that are newer than a stored definition do not apply to it. Raises Refused with all problems of the input.
    """
    problems = Problems()
    limits = problems.read(parse_body, raw.get("limits"), "limits") or {}
    active_from_ms, active_to_ms = problems.read(_parse_active, raw.get("active"), "active") or (None, None)
    code = problems.read(parse_body, raw.get("code"), "code") or {}
    terms = Reward(
        points_cost=problems.read(parse_not_negative, raw.get("pointsCost"), "pointsCost") or ZERO,
        criteria=problems.read(
            _parse_tree, raw.get("criteria"), "criteria", currency=currency, stored_meaning=stored_meaning
        ),
        per_pass=problems.read(parse_limits, limits, "limits"),
        total=problems.read(parse_integer, limits.get("total"), "limits", "total", least=1, most=MAX_STOCK),
        per_request=problems.read(
            parse_integer, limits.get("perRequest"), "limits", "perRequest", least=1, most=MAX_QUANTITY
        ),
        active_from_ms=active_from_ms,
        active_to_ms=active_to_ms,
        timezone=problems.read(_parse_zone_name, raw.get("timezone"), "timezone") or timezone,
        code_pattern=problems.read(parse_pattern, code.get("pattern"), "code", "pattern"),
        metadata=problems.read(_parse_metadata, raw.get("metadata"), "metadata") or {},
    )
    refuse_if(problems.found)
    return terms


def parse_quantity(raw: object, most: int | None, *path: str) -> int:
    """Return the units of a redemption: 1 to 1,000, and no more than the reward allows at once. Raises InvalidInput."""
    return parse_integer(raw, *path, least=1, most=MAX_QUANTITY if most is None else most)


def _parse_tree(raw: object, *path: str, currency: str, stored_meaning: int | None) -> Criteria:
    criteria = parse_criteria(raw, currency, *path, stored_meaning=stored_meaning)
    if stored_meaning is None:
        check_criteria_size(criteria, MAX_REWARD_CRITERIA_BYTES, *path)
    return criteria


def _parse_metadata(raw: object, *path: str) -> dict[str, object]:
    return parse_object(raw, *path, max_bytes=MAX_REWARD_METADATA_BYTES)[0]


def _parse_active(raw: object, *path: str) -> tuple[int | None, int | None]:
    return parse_between(raw, path)


def _parse_zone_name(raw: object, *path: str) -> str:
    return parse_zone(raw, *path).key
