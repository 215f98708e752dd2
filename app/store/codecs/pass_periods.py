"""Sealed months and years of passes as documents, one for each measure by which passes are compared.

Those of the last month of a pass also have its sums of twelve months, as far as they are above 0: `twelve` ends with this
month, `twelve_before` one month before it, and `twelve_later` after it. `last_year` is the year of the last month.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from types import MappingProxyType

from app.domain.insights.period_comparison import StoredPeriods
from app.domain.passes.passes import Pass
from app.domain.rollups.periods import COUNT, SPEND, PassPeriod, year_of
from app.domain.rollups.twelve_months import TwelveMonths
from app.domain.state.aggregates import Aggregates
from app.domain.values.decimals import ZERO
from app.store.mongo.decimal128 import from_decimal128, to_decimal128
from app.store.mongo.queries import Doc

from .pass_parts import aggregate_to_doc, aggregates_from_docs

_NONE: Mapping[str, TwelveMonths] = MappingProxyType({})
_TWELVE = (("ending", "twelve"), ("before", "twelve_before"), ("later", "twelve_later"))


def period_id(pass_id: str, period: int, *, token: int, measure: str) -> str:
    """Return the id of the document that holds a measure of a month or year of a pass under a token."""
    return f"{pass_id}|{period}|{token}|{measure}"


def period_to_docs(
    card: Pass, period: int, token: int, sums: PassPeriod, *, twelve: Mapping[str, TwelveMonths] = _NONE
) -> list[Doc]:
    """Return the documents of a sealed month or year of a pass; none if no event lies in it.

    The document of the count also has the events without an amount, and the points. That of the spend in a currency has the
    events with an amount in it. `twelve` has the sums of twelve months if it is the last month of the pass.
    """
    if sums.is_empty:
        return []
    values = sums.values()
    currencies = {currency for rows in (sums.aggregates, sums.made) for _, currency in rows}
    measures = {COUNT, *values, *twelve, *(SPEND + currency for currency in currencies if currency is not None)}
    docs: list[Doc] = []
    for measure in sorted(measures):
        doc: Doc = {
            "_id": period_id(card.id, period, token=token, measure=measure),
            "workspace": card.workspace_id,
            "pass": card.id,
            "period": period,
            "token": token,
            "measure": measure,
            "value": to_decimal128(values.get(measure, ZERO)),
        }
        if measure == COUNT:
            doc |= {"earned": to_decimal128(sums.earned), "spent": to_decimal128(sums.spent)}
            doc |= _rows_to_docs(sums, None)
        elif measure.startswith(SPEND):
            doc |= _rows_to_docs(sums, measure.removeprefix(SPEND))
        if measure in twelve:
            doc |= _twelve_to_doc(period, twelve[measure])
        docs.append(doc)
    return docs


def period_from_docs(docs: Iterable[Doc]) -> PassPeriod:
    """Return the sums from all documents of one sealed month or year of a pass."""
    sums = PassPeriod()
    for doc in docs:
        sums += PassPeriod(
            aggregates=_rows_from_docs(doc.get("rows", ())),
            made=_rows_from_docs(doc.get("made", ())),
            earned=from_decimal128(doc["earned"]) if "earned" in doc else ZERO,
            spent=from_decimal128(doc["spent"]) if "spent" in doc else ZERO,
        )
    return sums


def periods_of_pass(card: Doc, docs: Iterable[Doc]) -> StoredPeriods:
    """Return what is sealed of a pass, from its document and those of its months and years, valid or not."""
    tokens = {int(period): token for period, token in card.get("months", {}).items()}
    valid: dict[int, list[Doc]] = {}
    for doc in docs:
        if tokens.get(doc["period"]) == doc["token"]:
            valid.setdefault(doc["period"], []).append(doc)
    return StoredPeriods(
        sums={period: period_from_docs(own) for period, own in valid.items()},
        values={period: values_of_docs(own) for period, own in valid.items()},
        twelve={period: found for period, own in valid.items() if (found := _twelve_from_docs(own))},
        active=card.get("active", ()),
        first_active=card.get("first_active"),
        dirty_months=card.get("dirty_months", ()),
    )


def values_of_docs(docs: Iterable[Doc]) -> dict[str, Decimal]:
    """Return the values by measure from the documents of one sealed month or year of a pass."""
    return {doc["measure"]: from_decimal128(doc["value"]) for doc in docs}


def _twelve_to_doc(last_month: int, sums: TwelveMonths) -> Doc:
    found = {field: to_decimal128(value) for name, field in _TWELVE if (value := getattr(sums, name)) > 0}
    return {**found, "last_year": year_of(last_month)}


def _twelve_from_docs(docs: Iterable[Doc]) -> dict[str, TwelveMonths]:
    """Return the sums of twelve months by measure. Those that are 0 are not stored."""
    return {
        doc["measure"]: TwelveMonths(
            **{name: from_decimal128(doc[field]) if field in doc else ZERO for name, field in _TWELVE}
        )
        for doc in docs
        if "last_year" in doc
    }


def _rows_to_docs(sums: PassPeriod, currency: str | None) -> Doc:
    found = {
        name: [aggregate_to_doc(key, row) for key, row in sorted(rows.items(), key=str) if key[1] == currency]
        for name, rows in (("rows", sums.aggregates), ("made", sums.made))
    }
    return {name: docs for name, docs in found.items() if docs}


def _rows_from_docs(docs: Iterable[Doc]) -> Aggregates:
    return aggregates_from_docs({str(number): doc for number, doc in enumerate(docs)})
