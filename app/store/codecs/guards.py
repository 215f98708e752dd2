"""Guards, outcomes and decisions as documents, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from app.domain.events.guards import (
    COUNTED,
    UNDECIDED,
    Decision,
    Decisions,
    Guard,
    Outcome,
    OutcomeStatus,
    Reason,
    RewardGuard,
)
from app.store.mongo.decimal128 import from_decimal128, to_decimal128
from app.store.mongo.queries import Doc


def guard_to_doc(guard: Guard) -> Doc:
    """Return the document of a guard, with what it asks."""
    doc: Doc = {}
    if guard.min_balance is not None:
        doc["min_balance"] = to_decimal128(guard.min_balance)
    if guard.reward is not None:
        doc["reward"] = _reward_to_doc(guard.reward)
    if guard.gift:
        doc["gift"] = True
    return doc


def guard_from_doc(doc: Doc) -> Guard:
    """Return the guard of a document."""
    return Guard(
        min_balance=_number_from_doc(doc, "min_balance"),
        reward=_reward_from_doc(doc["reward"]) if "reward" in doc else None,
        gift=doc.get("gift", False),
    )


def _reward_to_doc(reward: RewardGuard) -> Doc:
    return {
        "id": reward.reward_id,
        "key": reward.key,
        "quantity": reward.quantity,
        **({"sold_out": True} if reward.sold_out else {}),
        **({} if reward.code is None else {"code": reward.code}),
    }


def _reward_from_doc(doc: Doc) -> RewardGuard:
    sold_out = doc.get("sold_out", False)
    return RewardGuard(doc["id"], doc["key"], doc["quantity"], sold_out=sold_out, code=doc.get("code"))


def decision_to_doc(decision: Decision) -> Doc:
    """Return the fields that an event gets with its outcome; empty for one that counts as recorded.

    `amount` is the field of the event, too: filters and sums of the store read it there.
    """
    outcome: Doc = {}
    if decision.reasons:
        outcome["reasons"] = [{"code": reason.code, "message": reason.message} for reason in decision.reasons]
    if decision.amount is not None:
        outcome["amount"] = to_decimal128(decision.amount)
    if decision.balance is not None:
        outcome["balance"] = to_decimal128(decision.balance)
    doc: Doc = {"outcome": {"status": decision.outcome.status.value, **outcome}} if outcome else {}
    if decision.amount is not None:
        doc["amount"] = outcome["amount"]
    if decision.step:
        doc["step"] = decision.step
    return doc


def is_declined(doc: Mapping[str, Any]) -> bool:
    """Return whether an event was declined, by its document."""
    return "outcome" in doc and doc["outcome"]["status"] == OutcomeStatus.DECLINED.value


def outcome_from_doc(doc: Doc) -> Outcome:
    """Return the outcome of the document of an event.

    An event that a merge moved is pending for the survivor although it counted before.
    """
    stored = doc.get("outcome")
    if stored is not None:
        return _decision_from_doc(doc).outcome
    return UNDECIDED if "pend" in doc and not doc.get("moved", {}).get("told", False) else COUNTED


NOT_DECLINED: Doc = {"outcome.status": {"$ne": OutcomeStatus.DECLINED.value}}
"""Filter of events that were not declined. It belongs behind the part of a query that an index serves."""


def decisions_to_docs(decisions: Decisions) -> list[Doc]:
    """Return the decisions that a pass stores, each with the id of its event."""
    return [{"id": event_id, **decision_to_doc(decision)} for event_id, decision in decisions.items()]


def decisions_from_docs(docs: Sequence[Doc]) -> Decisions:
    """Return the decisions of a pass by the id of the event."""
    return {doc["id"]: _decision_from_doc(doc) for doc in docs}


def _decision_from_doc(doc: Doc) -> Decision:
    outcome = doc.get("outcome", {})
    return Decision(
        reasons=tuple(Reason(each["code"], each["message"]) for each in outcome.get("reasons", ())),
        amount=_number_from_doc(outcome, "amount"),
        balance=_number_from_doc(outcome, "balance"),
        step=doc.get("step", 0),
    )


def _number_from_doc(doc: Doc, name: str) -> Decimal | None:
    return from_decimal128(doc[name]) if name in doc else None
