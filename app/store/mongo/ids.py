"""New ids: a prefix that names the kind of object, and random bits."""

from __future__ import annotations

import secrets
import time


def new_id(prefix: str) -> str:
    """Return a new id such as "pass_1c9f…", with 96 random bits."""
    return f"{prefix}_{secrets.token_hex(12)}"


def ordered_id(prefix: str) -> str:
    """Return a new id that sorts after earlier ones of this process. It orders events of the same instant."""
    return f"{prefix}_{time.time_ns():016x}{secrets.token_hex(6)}"
