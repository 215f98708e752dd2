"""Limits on the definitions of one workspace, so that evaluating a pass costs a bounded time."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime, timedelta
from hashlib import blake2b

from app.domain.errors import Code, InvalidInput, LimitExceeded

from .criteria import Criteria, meaning_of
from .segments import VersionSummary

MAX_CRITERIA_BYTES = 65_536
"""Size of the criteria of one segment, as JSON in UTF-8."""
MAX_COMPARISONS = 5_000
"""Comparisons of all live definitions of a workspace, as `count_comparisons` counts them."""
MAX_VERSIONS_A_DAY = 500
"""Changes of definitions in one workspace within 24 hours."""
MAX_COMPARISONS_A_DAY = 50_000
"""Comparisons of all these changes."""
DAY = timedelta(days=1)
"""The time that a version counts towards the changes of a day. It is kept at least as long."""


def check_criteria_size(criteria: Criteria, max_bytes: int = MAX_CRITERIA_BYTES, *path: str) -> None:
    """Raise InvalidInput: TOO_LONG if the criteria take too many bytes. `path` names them; "criteria" if it is empty."""
    size = len(json.dumps(criteria.to_dict(), ensure_ascii=False, separators=(",", ":")).encode())
    if size > max_bytes:
        message = (
            f"These criteria take {size:,} bytes; give at most {max_bytes:,}. Shorten the lists of values, or "
            "split the segment into segments that a third one names."
        )
        raise InvalidInput(Code.TOO_LONG, message, *(path or ("criteria",)))


def digest_of(criteria: Criteria, *marks: str) -> str:
    """Return a text that is equal exactly for equal criteria with equal marks."""
    text = repr((meaning_of(criteria), criteria.to_dict(), *marks))
    return blake2b(text.encode(), digest_size=16).hexdigest()


def check_comparisons(own: int, others: Iterable[VersionSummary], *path: str) -> None:
    """Raise LimitExceeded if a definition and the other live ones of its workspace have too many comparisons.

    `own` is the number of comparisons of the definition, as `count_comparisons` counts them.
    """
    total_of_others = sum(other.comparisons for other in others)
    if own + total_of_others > MAX_COMPARISONS:
        message = (
            f"These criteria compare with {own:,} values, and the other live definitions of the workspace with "
            f"{total_of_others:,}; at most {MAX_COMPARISONS:,} are allowed together. Shorten the lists of values, or "
            "archive a segment."
        )
        raise LimitExceeded(message, *path)


class DailyLimitExceeded(LimitExceeded):
    """Refusal of a change for which the changes of the last 24 hours leave no room. Later, there is."""


def check_rate(own: int, versions: Iterable[VersionSummary], now: datetime, *path: str) -> None:
    """Raise DailyLimitExceeded if the workspace's definitions changed too often within the last 24 hours."""
    recent = [version for version in versions if version.at > now - DAY]
    compared = own + sum(version.comparisons for version in recent)
    if len(recent) >= MAX_VERSIONS_A_DAY or compared > MAX_COMPARISONS_A_DAY:
        message = (
            f"The definitions of a workspace change at most {MAX_VERSIONS_A_DAY} times in 24 hours, with at most "
            f"{MAX_COMPARISONS_A_DAY:,} comparisons in all. Put several changes into one, or try again tomorrow."
        )
        raise DailyLimitExceeded(message, *path)
