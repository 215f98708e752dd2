"""Fields of passes under whose values a search finds them. A change takes the next revision of the workspace's definitions.

So the backfill walks every pass once more, and the walk writes the new tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from app.domain.backfilled import BackfilledVersion
from app.domain.errors import Code, InvalidInput
from app.domain.values.conditions import check_steps
from app.domain.values.paths import split_path
from app.domain.values.text import parse_text

SEARCHABLE_FIELDS = "searchable"
"""The id of the searchable fields among the definitions of a workspace."""
MAX_SEARCHABLE_FIELDS = 5
"""Fields of a workspace that a search reads."""


@dataclass(frozen=True, slots=True)
class SearchableVersion(BackfilledVersion):
    """Version of the searchable fields, created at the instant `at`: their paths within the fields of a pass, or none."""

    revision: int
    version: int
    at: datetime
    paths: tuple[str, ...]

    @property
    def subject_id(self) -> str:
        """The id of the definition, which is the same in every workspace."""
        return SEARCHABLE_FIELDS

    @property
    def timezone(self) -> str:
        """The time zone, which every definition has. It plays no part here."""
        return "UTC"


def parse_searchable(sent: Sequence[object], *field: str) -> tuple[str, ...]:
    """Return the paths of searchable fields, each once.

    Raises InvalidInput for more than 5, and for a path that no value can have.
    """
    if len(sent) > MAX_SEARCHABLE_FIELDS:
        message = f"At most {MAX_SEARCHABLE_FIELDS} fields are searchable; this list has {len(sent)}."
        raise InvalidInput(Code.TOO_MANY, message, *field)
    paths = []
    for index, raw in enumerate(sent):
        path = parse_text(raw, *field, str(index))
        check_steps(split_path(path), *field, str(index))
        paths.append(path)
    return tuple(dict.fromkeys(paths))
