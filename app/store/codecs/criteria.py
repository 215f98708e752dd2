"""Criteria as documents, and back: the tree, and the meaning that its conditions have."""

from __future__ import annotations

from app.domain.segments.criteria import Criteria, meaning_of
from app.domain.segments.parsing import parse_criteria
from app.store.mongo.queries import Doc

# Stored criteria name their currencies, so `parse_criteria` never applies this default.
ANY_CURRENCY = "XXX"


def criteria_to_doc(criteria: Criteria) -> Doc:
    """Return the document of criteria: {criteria, meaning}."""
    return {"criteria": criteria.to_dict(), "meaning": meaning_of(criteria)}


def criteria_from_doc(doc: Doc) -> Criteria:
    """Return the criteria of a document that holds {criteria, meaning}. Version 0.1.0 stored no meaning."""
    return parse_criteria(doc["criteria"], ANY_CURRENCY, stored_meaning=doc.get("meaning", 1))
