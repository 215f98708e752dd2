"""Steps of a sequence that a customer completed."""

from __future__ import annotations

from dataclasses import dataclass

Key = tuple[int, int, str]
"""The place of an event in the order of a sequence: its instant in ms, its step in the walk that made it, and its id."""


@dataclass(frozen=True, slots=True)
class Completed:
    """For each step the latest event that completed it, and the latest one that its filter matches; None for none."""

    steps: tuple[Key | None, ...]
    seen: tuple[Key | None, ...]
