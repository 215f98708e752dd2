"""Parsers of text and JSON objects that callers send."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Mapping

from app.domain.errors import Code, InvalidInput

MAX_NAME = 255
"""Characters of a text for which its parser names no other limit."""
MAX_JSON_DEPTH = 10
"""Levels of nested objects and lists in a JSON object."""
MAX_KEY_POINTS = 100
"""Points in one key of JSON. MongoDB refuses a document with 255 of them in a key, and all others of its batch with it."""
MAX_JSON_INTEGER = 2**53
"""Largest JSON integer. JavaScript rounds larger ones."""

_INVISIBLE_CATEGORIES = frozenset({"Cc", "Cf", "Zl", "Zp", "Zs"})
_BLANK_LETTERS = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0") | frozenset(
    map(chr, range(0xFE00, 0xFE10))
)
"""Characters of other categories that show nothing: joiners, Hangul fillers, the empty Braille cell, variation selectors."""

_LINE_CHARACTERS = dict.fromkeys(map(ord, "\n\r\t"), " ")

# json.dumps with options creates an encoder for each call, so create one encoder here.
encode_canonical = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode


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


def parse_multiline(raw: object, *field: str, max_length: int) -> str:
    """Return a text of several lines unchanged: 1 to `max_length` characters, not blank.

    Raises InvalidInput as `parse_text` does, but line breaks and tabs are allowed.
    """
    if isinstance(raw, str) and not raw.isspace():
        parse_text(raw.translate(_LINE_CHARACTERS), *field, max_length=max_length)
        return raw
    return parse_text(raw, *field, max_length=max_length)


def parse_external_id(raw: object, *field: str) -> str:
    """Return the id of a pass in another system, without blanks around it: " ann" and "ann" name one customer.

    Files, hooks and the API read ids in this way. Raises InvalidInput as `parse_text` does.
    """
    return parse_text(raw.strip() if isinstance(raw, str) else raw, *field)


def check_visible(text: str, *field: str) -> str:
    """Return the id of a new object unchanged. Raises InvalidInput if it has invisible characters.

    An id with such a character looks like the id of another customer.
    """
    if (hidden := find_invisible(text)) is not None:
        message = f"This id has the invisible character U+{ord(hidden):04X}. Remove it, or write it as a visible one."
        raise InvalidInput(Code.INVALID, message, *field)
    return text


def find_invisible(text: str) -> str | None:
    """Return the first invisible character of the text, or None. Blanks count as visible."""
    # ASCII texts have passed `parse_text`, so they have no such characters.
    return None if text.isascii() else next(filter(_is_invisible, text), None)


def _is_invisible(character: str) -> bool:
    return character != " " and (
        character in _BLANK_LETTERS or unicodedata.category(character) in _INVISIBLE_CATEGORIES
    )


def parse_optional(raw: object, *field: str, max_length: int = MAX_NAME) -> str | None:
    """Return None for None, else the result of `parse_text`."""
    return None if raw is None else parse_text(raw, *field, max_length=max_length)


def parse_object(raw: object, *field: str, max_bytes: int, splits_keys: bool = False) -> tuple[dict[str, object], str]:
    """Return a JSON object and its canonical text: sorted keys, no blanks.

    The canonical text is at most `max_bytes` long in UTF-8, and the object at most 10 levels deep. With `splits_keys`,
    each point in a key begins a level, as `split_keys` reads it. Raises InvalidInput:

    - INVALID for a value that is no object, for NaN, and for keys that are empty or begin with "$";
    - TOO_LONG for more than `max_bytes`;
    - OUT_OF_RANGE for integers beyond 2^53.
    """
    if not isinstance(raw, Mapping):
        raise InvalidInput(Code.INVALID, 'Give a JSON object, for example {"store": "north"}.', *field)
    if not raw:
        return {}, "{}"
    _check_json(raw, field, MAX_JSON_DEPTH, splits_keys)
    try:
        canonical = encode_canonical(raw)
        size = len(canonical.encode())
    except (ValueError, TypeError):
        raise InvalidInput(
            Code.INVALID, "Give only JSON values: no NaN, no infinity, no unpaired surrogates.", *field
        ) from None
    if size > max_bytes:
        raise InvalidInput(Code.TOO_LONG, f"This JSON has {size} bytes; give at most {max_bytes}.", *field)
    return dict(raw), canonical


def _check_json(value: object, field: tuple[str, ...], depth: int, splits_keys: bool) -> None:
    if isinstance(value, (dict, Mapping)):
        if depth == 0:
            raise InvalidInput(Code.INVALID, f"Nest objects and lists at most {MAX_JSON_DEPTH} levels deep.", *field)
        for key, item in value.items():
            if not isinstance(key, str) or not key or key[0] == "$" or "\x00" in key:
                raise InvalidInput(
                    Code.INVALID, 'Use keys that are not empty, do not begin with "$" and contain no NUL.', *field
                )
            if key.count(".") > MAX_KEY_POINTS:
                raise InvalidInput(Code.TOO_LONG, f"Use keys with at most {MAX_KEY_POINTS} points.", *field)
            levels = _count_levels(key, field, depth) if splits_keys and "." in key else 1
            if not isinstance(item, str):
                _check_json(item, (*field, key), depth - levels, splits_keys)
    elif isinstance(value, (list, tuple)):
        if depth == 0:
            raise InvalidInput(Code.INVALID, f"Nest objects and lists at most {MAX_JSON_DEPTH} levels deep.", *field)
        for index, item in enumerate(value):
            if not isinstance(item, str):
                _check_json(item, (*field, str(index)), depth - 1, splits_keys)
    elif isinstance(value, int) and not -MAX_JSON_INTEGER <= value <= MAX_JSON_INTEGER:
        raise InvalidInput(Code.OUT_OF_RANGE, "Write integers beyond 2^53 as text.", *field)


def _count_levels(key: str, field: tuple[str, ...], depth: int) -> int:
    """Return the number of levels of a key with points. Raises InvalidInput if no path can lead there."""
    steps = [step for step in key.split(".") if step]
    if not steps or any(step[0] == "$" for step in steps):
        message = (
            'A point in a key begins a level. Use keys with a name before or after it, and no name with "$" in front.'
        )
        raise InvalidInput(Code.INVALID, message, *field, key)
    if len(steps) > depth:
        message = f"A point in a key begins a level. Nest objects and lists at most {MAX_JSON_DEPTH} levels deep."
        raise InvalidInput(Code.INVALID, message, *field, key)
    return len(steps)
