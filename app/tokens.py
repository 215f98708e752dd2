"""Tokens for one pass as text: signed by a key of the workspace, and read again."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import jwt

from app.domain.pass_tokens import MAX_TOKEN_CHARACTERS, PassToken, PassTokenScope, TokenKey
from app.domain.values.instants import from_ms, to_ms

ALGORITHM = "HS256"
"""The only algorithm that is accepted: Punchcard alone signs and checks tokens, so no key is ever public."""


def sign_token(token: PassToken, key: TokenKey) -> str:
    """Return the token as text: a JSON Web Token, signed with the key, whose id is in the header `kid`."""
    claims = {
        "sub": token.pass_id,
        "scp": sorted(token.scopes),
        "typ": sorted(token.record_types),
        "num": token.number,
        "exp": to_ms(token.expires_at) / 1000,
    }
    return jwt.encode(claims, key.secret, ALGORITHM, headers={"kid": key.id})


def looks_like_token(secret: str) -> bool:
    """Return whether a secret has the form of a token: three parts, joined by points. Secrets of API keys have no point."""
    return secret.count(".") == 2


def find_key_id(text: str) -> str | None:
    """Return the id of the key that a token says it was signed with; None for a text that is no token."""
    if len(text) > MAX_TOKEN_CHARACTERS or not text.isascii():
        return None
    try:
        header = jwt.get_unverified_header(text)
    except jwt.PyJWTError:
        return None
    key_id = header.get("kid")
    # The header is not checked yet. Ids of keys are ASCII, and the store takes no text with half a surrogate pair.
    is_id = isinstance(key_id, str) and key_id.isascii()
    return key_id if is_id and header.get("alg") == ALGORITHM else None


def read_token(text: str, key: TokenKey, now: datetime) -> PassToken | None:
    """Return what a token says; None unless the key signed it and it has not expired."""
    try:
        # The library compares expiries with a clock of its own.
        claims = jwt.decode(text, key.secret, [ALGORITHM], options={"verify_exp": False, "verify_sub": False})
    except jwt.PyJWTError:
        return None
    token = _token_from_claims(claims)
    return None if token is None or now >= token.expires_at else token


def _token_from_claims(claims: Mapping[str, object]) -> PassToken | None:
    """Return the token of signed claims; None for those of another version that lack one."""
    match claims:
        case {
            "sub": str(pass_id),
            "scp": list(scopes),
            "typ": list(types),
            "num": int(number),
            "exp": int(expiry) | float(expiry),
        }:
            accepted = frozenset(PassTokenScope(each) for each in scopes if each in PassTokenScope.__members__)
            return PassToken(
                pass_id, accepted, frozenset(map(str, types)), number=number, expires_at=from_ms(round(expiry * 1000))
            )
    return None
