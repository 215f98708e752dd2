"""One attempt at a reaction: the insert that it stands for. Safe to repeat, and to run in several workers at once."""

from __future__ import annotations

import logging
import uuid
from dataclasses import dataclass

from app.commands.messages.effects import queue_message
from app.commands.points.receipts import receive_points
from app.commands.rewards.issuing import give_units_back, issue_reward
from app.domain.errors import StoreRefused, Unavailable
from app.domain.reactions.parked import UNAVAILABLE, Refusal
from app.domain.reactions.reactions import FreeUnits, IssueReward, QueueMessage, Reaction, ReceivePoints
from app.store.workspace.workspace import Workspace
from workers.worker import Worker

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Attempted:
    """Result of one attempt. `refusal` says why the reaction was not made; None if it was. With `may_retry`, it may be."""

    reaction: Reaction
    refusal: Refusal | None = None
    may_retry: bool = False


async def attempt(worker: Worker, workspace: Workspace, reaction: Reaction, *, is_retry: bool = False) -> Attempted:
    """Make a reaction, or return why it was not made. Raises Unavailable if the store does not answer.

    `is_retry` is true for a reaction that was parked.
    """
    try:
        return Attempted(reaction, await _perform(worker, workspace, reaction, is_retry=is_retry))
    except Unavailable as error:
        if error.dependency == "store":
            raise
        return _failed(reaction, f"The {error.dependency} did not answer.")
    except StoreRefused as error:
        # Refused for one document, for example: the other reactions must not wait for it.
        return _failed(reaction, f"The store refused a command: {error.code_name}. Reference {error.reference}.")
    except Exception:
        reference = uuid.uuid4().hex
        log.exception("the reaction %s failed; reference %s", reaction.id, reference)
        return _failed(reaction, f"An internal error. Reference {reference}.")


def _failed(reaction: Reaction, message: str) -> Attempted:
    return Attempted(reaction, Refusal(UNAVAILABLE, message), may_retry=True)


async def _perform(worker: Worker, workspace: Workspace, reaction: Reaction, *, is_retry: bool) -> Refusal | None:
    match reaction.body:
        case ReceivePoints() as body:
            return await receive_points(worker.resources, workspace, reaction, body)
        case IssueReward() as body:
            return await issue_reward(worker.resources, workspace, reaction, body, is_retry=is_retry)
        case FreeUnits() as body:
            await give_units_back(workspace, reaction, body)
            return None
        case QueueMessage() as body:
            await queue_message(worker.resources, workspace, reaction, body)
            return None
