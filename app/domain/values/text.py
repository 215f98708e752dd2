"""Text and JSON as callers send them: what is accepted, and how large."""

from __future__ import annotations

import json
from collections.abc import Mapping

from app.domain.errors import Code, InvalidInput

MAX_NAME = 255
MAX_JSON_DEPTH = 10
# Beyond this a JSON integer neither fits BSON nor survives JavaScript.
MAX_JSON_INTEGER = 2**53


# Made once: json.dumps with options makes an encoder for every call.
_canonical = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode


def parse_text(raw: object, *field: str, most: int = MAX_NAME) -> str:
    """The text itself: 1 to `most` characters, no control characters, no unpaired surrogates, not blank.

    Raises InvalidInput: INVALID or TOO_LONG.
    """
    if not isinstance(raw, str) or not raw or raw.isspace():
        raise InvalidInput(Code.INVALID, "Give a text that is not blank.", *field)
    if len(raw) > most:
        raise InvalidInput(Code.TOO_LONG, f"At most {most} characters.", *field)
    # isprintable is one fast pass in C; only what it doubts is looked at more closely.
    if not raw.isprintable() and any(c < " " or c == "\x7f" or "\ud800" <= c <= "\udfff" for c in raw):
        raise InvalidInput(Code.INVALID, "Control characters and unpaired surrogates are not text.", *field)
    return raw


def parse_optional(raw: object, *field: str, most: int = MAX_NAME) -> str | None:
    """`parse_text`, or None for None."""
    return None if raw is None else parse_text(raw, *field, most=most)


def parse_object(raw: object, *field: str, most_bytes: int) -> tuple[dict[str, object], str]:
    """A JSON object and its canonical spelling (sorted keys, no blanks), at most `most_bytes` in UTF-8 and 10 levels deep.

    Raises InvalidInput: INVALID (not an object, NaN, keys that are empty or start with "$"), TOO_LONG, OUT_OF_RANGE.
    """
    if not isinstance(raw, Mapping):
        raise InvalidInput(Code.INVALID, 'Give a JSON object, for example {"store": "north"}.', *field)
    if not raw:
        return {}, "{}"
    _check_json(raw, field, MAX_JSON_DEPTH)
    try:
        canonical = _canonical(raw)
        size = len(canonical.encode())
    except (ValueError, TypeError):
        raise InvalidInput(
            Code.INVALID, "Only JSON values: no NaN, no infinity, no unpaired surrogates.", *field
        ) from None
    if size > most_bytes:
        raise InvalidInput(Code.TOO_LONG, f"{size} bytes of JSON; at most {most_bytes}.", *field)
    return dict(raw), canonical


def _check_json(value: object, field: tuple[str, ...], depth: int) -> None:
    if isinstance(value, (dict, Mapping)):
        if depth == 0:
            raise InvalidInput(Code.INVALID, f"Nested deeper than {MAX_JSON_DEPTH} levels.", *field)
        for key, item in value.items():
            if not isinstance(key, str) or not key or key[0] == "$" or "\x00" in key:
                raise InvalidInput(Code.INVALID, 'Keys are texts, not empty, not beginning with "$".', *field)
            if not isinstance(item, str):
                _check_json(item, (*field, key), depth - 1)
    elif isinstance(value, (list, tuple)):
        if depth == 0:
            raise InvalidInput(Code.INVALID, f"Nested deeper than {MAX_JSON_DEPTH} levels.", *field)
        for index, item in enumerate(value):
            if not isinstance(item, str):
                _check_json(item, (*field, str(index)), depth - 1)
    elif isinstance(value, int) and not -MAX_JSON_INTEGER <= value <= MAX_JSON_INTEGER:
        raise InvalidInput(Code.OUT_OF_RANGE, "Write integers beyond 2^53 as text.", *field)
