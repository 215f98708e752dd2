"""New ids: a prefix that says what it names, and enough random bits."""

from __future__ import annotations

import secrets
import time


def new_id(prefix: str) -> str:
    """A fresh id such as "pass_1c9f…"; never given out twice in practice."""
    return f"{prefix}_{secrets.token_hex(12)}"


def ordered_id(prefix: str) -> str:
    """A fresh id that sorts after those this process gave out before: a tie-break for what happened in one instant."""
    return f"{prefix}_{time.time_ns():016x}{secrets.token_hex(6)}"
