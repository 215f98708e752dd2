"""Tokens of leases: random, and with the id of the worker that holds the lease."""

from __future__ import annotations

from .ids import new_id

_SEPARATOR = "@"


def new_token(holder: str | None) -> str:
    """Return a new token of a lease; it names the holder, if there is one."""
    token = new_id("run")
    return token if holder is None else f"{token}{_SEPARATOR}{holder}"


def holder_of(token: str) -> str | None:
    """Return the worker that a token names, or None; tokens of 0.1.0 name none."""
    return token.partition(_SEPARATOR)[2] or None
