"""Keyed hashes of all names in a message or a row, so that an erasure finds what names a pass, however it is written.

A hash is of a value, not of its spelling: escapes of JSON, quotes of CSV and surrounding blanks make no difference. The
key is that of the workspace, so the hashes reveal nothing without it.
"""

from __future__ import annotations

import hmac
import json
import unicodedata
from collections.abc import Iterator, Mapping
from decimal import Decimal
from hashlib import sha256

MAX_NAME_HASHES = 1_000
"""Different hashes of one message or row."""
_MAX_CHARACTERS = 255
"""Length of the longest external id."""
_MAX_DEPTH = 200
_HASH_BYTES = 8
_AROUND = "\"'`.,;:!?()[]{}<>"


def hash_name(key: bytes, name: str) -> str:
    """Return the hash of a name: '#' and 16 hexadecimal digits, so that no external id is taken for a hash by chance."""
    normal = unicodedata.normalize("NFC", name.strip())
    digest = hmac.digest(key, normal.encode("utf-8", "surrogatepass"), sha256)
    return f"#{digest[:_HASH_BYTES].hex()}"


def hash_names(key: bytes, *values: object) -> tuple[str, ...] | None:
    """Return the hashes of all texts and numbers in JSON values, and of the words of the texts.

    Returns None if there are more than 1,000 different ones, or if the values are nested too deeply.
    """
    names: set[str] = set()
    for value in values:
        for name in _iter_names(value, _MAX_DEPTH):
            if name is None or len(names) > MAX_NAME_HASHES:
                return None
            names.add(name)
    return tuple(sorted({hash_name(key, name) for name in names}))


def spell(name: str) -> frozenset[str]:
    """Return the ways in which files write a name: as it is, escaped as in JSON, and with doubled quotes as in CSV."""
    return frozenset(
        {name, json.dumps(name)[1:-1], json.dumps(name, ensure_ascii=False)[1:-1], name.replace('"', '""')}
    )


def _iter_names(value: object, depth: int) -> Iterator[str | None]:
    """Yield the names in a value; None if the value is nested too deeply."""
    if depth == 0:
        yield None
    elif isinstance(value, str):
        yield from _iter_words(value)
        if value[:1] in ("{", "["):
            try:
                yield from _iter_names(json.loads(value, parse_float=Decimal), depth - 1)
            except (ValueError, ArithmeticError, RecursionError):
                return
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _iter_words(str(key))
            yield from _iter_names(item, depth - 1)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _iter_names(item, depth - 1)
    elif isinstance(value, (int, float, Decimal)) and not isinstance(value, bool):
        yield str(value)


def _iter_words(text: str) -> Iterator[str]:
    whole = text.strip()
    if 0 < len(whole) <= _MAX_CHARACTERS:
        yield whole
    for word in whole.split():
        bare = word.strip(_AROUND)
        for each in {word, bare}:
            if 0 < len(each) <= _MAX_CHARACTERS:
                yield each
