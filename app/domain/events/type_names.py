"""Names of event types, as clients send them."""

from __future__ import annotations

import re

from app.domain.errors import Code, InvalidInput

from .events import CHECKOUT_DIFFERENCES, INTERNAL_TYPES, RESERVED_PREFIX

_TYPE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:\-]{0,99}")


def parse_type(raw: object, *path: str) -> str:
    """Return the name of an event type unchanged: 1 to 100 letters, digits, '_', '.', ':' or '-'.

    Raises InvalidInput.
    """
    if not isinstance(raw, str) or not _TYPE.fullmatch(raw):
        raise InvalidInput(
            Code.INVALID,
            "Give 1 to 100 letters, digits, '_', '.', ':' or '-', beginning with a letter or digit.",
            *path,
        )
    if raw in INTERNAL_TYPES or raw in CHECKOUT_DIFFERENCES or raw.startswith(RESERVED_PREFIX):
        raise InvalidInput(Code.INVALID, "Only Punchcard itself records this type; give another.", *path)
    return raw
