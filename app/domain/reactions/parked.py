"""Reactions that could not be made: refused for good, or parked until their next attempt."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from .reactions import Reaction

UNAVAILABLE = "UNAVAILABLE"
"""Reason of a reaction whose dependency did not answer, or refused it, several times."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a reaction is refused for good: a code for programs, and one sentence for people."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class ParkedReaction:
    """Reaction that was not made. It does not keep the others of its partition waiting.

    `due_ms` is the time of the next attempt, in system time; None if only a retry that a client asks for makes another one.
    """

    reaction: Reaction
    refusal: Refusal
    attempt_count: int
    at: datetime
    due_ms: int | None = None


@dataclass(frozen=True, slots=True)
class ParkedQuery:
    """Selection of parked reactions; an empty part selects all. `codes` are codes of refusals."""

    kinds: tuple[str, ...] = ()
    codes: tuple[str, ...] = ()
    pass_ids: tuple[str, ...] = ()
