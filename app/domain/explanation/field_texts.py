"""Names of fields in plain English, for the sentence of an explanation."""

from __future__ import annotations

from collections.abc import Mapping

from app.domain.state.measures import EARNED, SPENT

WORDS: Mapping[str, str] = {
    EARNED: "earned points",
    SPENT: "spent points",
    "pointsBalance": "balance of points",
    "createdAt": "time of creation",
    "installedAt": "time of installation",
    "updatedAt": "time of the last update",
    "externalId": "external id",
    "holder.name": "name",
    "holder.email": "e-mail address",
    "holder.phone": "telephone number",
}
ROOTS: Mapping[str, str] = {"fields": "field", "metadata": "metadata value", "consent": "consent to"}
"""Words for the first part of a path. The rest of the path follows as it is."""


def field_text(field: str) -> str:
    """Return the name of a field of a pass or of events in words: "time of creation", "field city"."""
    root, _, name = field.partition(".")
    return WORDS.get(field) or (f"{ROOTS[root]} {name}" if name and root in ROOTS else field)
