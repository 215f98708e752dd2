"""Versions of rules as documents, and back; `rule_version_from_doc(rule_version_to_doc(x)) == x`."""

from __future__ import annotations

from dataclasses import replace

from app.domain.rules.parsing import parse_rule
from app.domain.rules.rules import RuleVersion
from app.domain.rules.texts import PlainTexts
from app.domain.rules.writing import rule_to_dict
from app.domain.segments.criteria import meaning_of
from app.domain.values.conditions import MEANING
from app.store.mongo.queries import Doc

from .criteria import ANY_CURRENCY

_TEXTS = PlainTexts()


def rule_version_to_doc(version: RuleVersion) -> Doc:
    """Return what a rule has beside the fields of every definition."""
    return {
        "key": version.key,
        "first_at": version.first_at,
        "rule": rule_to_dict(version),
        "meaning": MEANING if version.conditions is None else meaning_of(version.conditions),
    }


def rule_version_from_doc(doc: Doc) -> RuleVersion:
    """Return the version of a rule from the document of a definition. Its templates were checked when it was stored."""
    content = parse_rule(doc["rule"], ANY_CURRENCY, doc["timezone"], texts=_TEXTS, stored_meaning=doc["meaning"])
    return replace(
        content,
        rule_id=doc["subject"],
        key=doc["key"],
        revision=doc["rev"],
        version=doc["version"],
        at=doc["at"],
        first_at=doc["first_at"],
        announces=doc.get("announces", False),
    )
