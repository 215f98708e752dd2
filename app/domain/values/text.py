"""Parsers of text and JSON objects that callers send."""

from __future__ import annotations

import json
from collections.abc import Mapping

from app.domain.errors import Code, InvalidInput

MAX_NAME = 255
"""Characters of a text for which its parser names no other limit."""
MAX_JSON_DEPTH = 10
"""Levels of nested objects and lists in a JSON object."""
MAX_JSON_INTEGER = 2**53
"""Largest JSON integer. JavaScript rounds larger ones."""

# json.dumps with options creates an encoder for each call, so create one encoder here.
_encode_canonical = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode


def parse_text(raw: object, *field: str, max_length: int = MAX_NAME) -> str:
    """Return the text unchanged: 1 to `max_length` characters, not blank.

    Raises InvalidInput: INVALID for a blank text, control characters or unpaired surrogates, and TOO_LONG.
    """
    if not isinstance(raw, str) or not raw or raw.isspace():
        raise InvalidInput(Code.INVALID, "Give a text that is not blank.", *field)
    if len(raw) > max_length:
        raise InvalidInput(Code.TOO_LONG, f"This text has {len(raw)} characters; give at most {max_length}.", *field)
    # isprintable is one fast pass in C, and it accepts most texts. Examine characters only in the texts that it
    # rejects.
    if not raw.isprintable() and any(c < " " or c == "\x7f" or "\ud800" <= c <= "\udfff" for c in raw):
        raise InvalidInput(Code.INVALID, "Remove control characters and unpaired surrogates from this text.", *field)
    return raw


def parse_optional(raw: object, *field: str, max_length: int = MAX_NAME) -> str | None:
    """Return None for None, else the result of `parse_text`."""
    return None if raw is None else parse_text(raw, *field, max_length=max_length)


def parse_object(raw: object, *field: str, max_bytes: int) -> tuple[dict[str, object], str]:
    """Return a JSON object and its canonical text: sorted keys, no blanks.

    The canonical text is at most `max_bytes` long in UTF-8, and the object at most 10 levels deep. Raises InvalidInput:

    - INVALID for a value that is no object, for NaN, and for keys that are empty or begin with "$";
    - TOO_LONG for more than `max_bytes`;
    - OUT_OF_RANGE for integers beyond 2^53.
    """
    if not isinstance(raw, Mapping):
        raise InvalidInput(Code.INVALID, 'Give a JSON object, for example {"store": "north"}.', *field)
    if not raw:
        return {}, "{}"
    _check_json(raw, field, MAX_JSON_DEPTH)
    try:
        canonical = _encode_canonical(raw)
        size = len(canonical.encode())
    except (ValueError, TypeError):
        raise InvalidInput(
            Code.INVALID, "Give only JSON values: no NaN, no infinity, no unpaired surrogates.", *field
        ) from None
    if size > max_bytes:
        raise InvalidInput(Code.TOO_LONG, f"This JSON has {size} bytes; give at most {max_bytes}.", *field)
    return dict(raw), canonical


def _check_json(value: object, field: tuple[str, ...], depth: int) -> None:
    if isinstance(value, (dict, Mapping)):
        if depth == 0:
            raise InvalidInput(Code.INVALID, f"Nest objects and lists at most {MAX_JSON_DEPTH} levels deep.", *field)
        for key, item in value.items():
            if not isinstance(key, str) or not key or key[0] == "$" or "\x00" in key:
                raise InvalidInput(
                    Code.INVALID, 'Use keys that are not empty, do not begin with "$" and contain no NUL.', *field
                )
            if not isinstance(item, str):
                _check_json(item, (*field, key), depth - 1)
    elif isinstance(value, (list, tuple)):
        if depth == 0:
            raise InvalidInput(Code.INVALID, f"Nest objects and lists at most {MAX_JSON_DEPTH} levels deep.", *field)
        for index, item in enumerate(value):
            if not isinstance(item, str):
                _check_json(item, (*field, str(index)), depth - 1)
    elif isinstance(value, int) and not -MAX_JSON_INTEGER <= value <= MAX_JSON_INTEGER:
        raise InvalidInput(Code.OUT_OF_RANGE, "Write integers beyond 2^53 as text.", *field)
