"""New random ids: a prefix that says what it names, and 96 random bits."""

from __future__ import annotations

import secrets


def new_id(prefix: str) -> str:
    """A fresh id such as "pass_1c9f…"; never given out twice in practice."""
    return f"{prefix}_{secrets.token_hex(12)}"
