"""Codes of redemptions: the pattern of a reward, and the codes that follow from it for one redemption.

A code follows from the secret of the workspace and from the redemption. So a repeat of the call finds the same code, and
no client can compute a code from ids that are public.
"""

from __future__ import annotations

from hashlib import blake2b

from app.domain.errors import Code, InvalidInput
from app.domain.values.text import parse_text

ALPHABET = "23456789ABCDEFGHJKLMNPQRSTUVWXYZ"
"""Characters of codes: 32, without those that look alike (0 and O, 1 and I)."""
PLACEHOLDER = "#"
MAX_PATTERN_CHARACTERS = 40
MIN_PLACEHOLDERS = 6
"""Random characters of a code: with six, there are 1,073,741,824 codes of a pattern."""


def parse_pattern(raw: object, *path: str) -> str:
    """Return the pattern of codes: up to 40 visible ASCII characters, at least six of them "#". Raises InvalidInput."""
    pattern = parse_text(raw, *path, max_length=MAX_PATTERN_CHARACTERS)
    if not pattern.isascii() or " " in pattern:
        raise InvalidInput(Code.INVALID, "Use letters, digits and signs of ASCII, and no blanks.", *path)
    if pattern.count(PLACEHOLDER) < MIN_PLACEHOLDERS:
        message = (
            f'Give at least {MIN_PLACEHOLDERS} "#": each stands for a random character. For example "COFFEE-######".'
        )
        raise InvalidInput(Code.INVALID, message, *path)
    return pattern


def make_code(pattern: str, secret: bytes, redemption_id: str, attempt: int) -> str:
    """Return a code of the pattern for a redemption. Each attempt, from 0, gives another one."""
    digest = blake2b(f"{redemption_id}:{attempt}".encode(), key=secret[:64], digest_size=64).digest()
    characters = iter(ALPHABET[byte % len(ALPHABET)] for byte in digest)
    return "".join(next(characters) if each == PLACEHOLDER else each for each in pattern)
