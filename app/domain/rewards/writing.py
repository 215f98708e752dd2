"""Rewards as the store and the API write them. The form is that of the input, with all defaults filled in."""

from __future__ import annotations

from hashlib import blake2b

from app.domain.rules.writing import limit_to_dict, period_to_dict
from app.domain.segments.criteria import meaning_of
from app.domain.values.decimals import plain

from .rewards import Reward, RewardVersion


def reward_to_dict(terms: Reward) -> dict[str, object]:
    """Return the terms of a reward. `parse_reward` reads them."""
    return {
        "pointsCost": plain(terms.points_cost),
        "criteria": None if terms.criteria is None else terms.criteria.to_dict(),
        "limits": {
            "perPass": None if terms.per_pass is None else limit_to_dict(terms.per_pass),
            "total": terms.total,
            "perRequest": terms.per_request,
        },
        "active": period_to_dict(terms.active_from_ms, terms.active_to_ms),
        "timezone": terms.timezone,
        "code": None if terms.code_pattern is None else {"pattern": terms.code_pattern},
        "metadata": dict(terms.metadata),
    }


def digest_of_reward(version: RewardVersion) -> str:
    """Return a text that is equal exactly for equal definitions. It does not depend on when a version was made."""
    criteria = version.terms.criteria
    meaning = None if criteria is None else meaning_of(criteria)
    content = repr((meaning, version.archived, reward_to_dict(version.terms)))
    return blake2b(content.encode(), digest_size=16).hexdigest()
