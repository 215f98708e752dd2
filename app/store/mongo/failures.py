"""Two kinds of errors of the driver: the store did not answer (Unavailable), or it refuses a command (StoreRefused).

This module logs each refusal once, with its code, the command and the collection. It logs outages once in 10 s. No line
contains a value, because values belong to tenants.
"""

from __future__ import annotations

import logging
import re
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bson.errors import InvalidDocument
from pymongo.errors import (
    BulkWriteError,
    ConfigurationError,
    ConnectionFailure,
    DocumentTooLarge,
    InvalidName,
    NotPrimaryError,
    OperationFailure,
    PyMongoError,
    WriteConcernError,
)

from app.domain.errors import StoreRefused, Unavailable

log = logging.getLogger("punchcard.store")

DRIVER_ERRORS = (PyMongoError, InvalidDocument)
"""All errors that the driver raises for a command. InvalidDocument is no PyMongoError."""
DUPLICATE = 11000
TOO_LARGE = 10334
TRANSIENT_CODES: Mapping[int, str] = {
    6: "HostUnreachable",
    7: "HostNotFound",
    24: "LockTimeout",
    43: "CursorNotFound",
    50: "MaxTimeMSExpired",
    63: "StaleShardVersion",
    64: "WriteConcernFailed",
    89: "NetworkTimeout",
    91: "ShutdownInProgress",
    112: "WriteConflict",
    133: "FailedToSatisfyReadPreference",
    134: "ReadConcernMajorityNotAvailableYet",
    150: "StaleEpoch",
    175: "QueryPlanKilled",
    189: "PrimarySteppedDown",
    202: "NetworkInterfaceExceededTimeLimit",
    237: "CursorKilled",
    262: "ExceededTimeLimit",
    365: "TemporarilyUnavailable",
    9001: "SocketException",
    10107: "NotWritablePrimary",
    11600: "InterruptedAtShutdown",
    11601: "Interrupted",
    11602: "InterruptedDueToReplStateChange",
    13388: "StaleConfig",
    13435: "NotPrimaryNoSecondaryOk",
    13436: "NotPrimaryOrSecondary",
    14031: "OutOfDiskSpace",
    DUPLICATE: "DuplicateKey",
}
"""Codes of MongoDB that say nothing about the command: the same command succeeds later.

A duplicate key that a query does not expect comes from two writes at the same moment: the repeat finds the other one. A
full disk ends when an operator makes room, and the work that waits continues then.
"""
DOCUMENT_CODES: Mapping[int, str] = {
    2: "BadValue",
    9: "FailedToParse",
    15: "Overflow",
    22: "InvalidBSON",
    52: "DollarPrefixedFieldName",
    56: "EmptyFieldName",
    57: "DottedFieldName",
    121: "DocumentValidationFailure",
    TOO_LARGE: "BSONObjectTooLarge",
    17419: "BSONObjectTooLarge",
}
"""Codes by which the store refuses a document or an update, whatever else the command contains."""
_NAMES: Mapping[int, str] = {13: "Unauthorized", 18: "AuthenticationFailed", **TRANSIENT_CODES, **DOCUMENT_CODES}
OUTAGE_LOG_SECONDS = 10.0
"""The store's outages are logged at most once in this time, with the number of calls that failed meanwhile."""
REFUSAL_LOG_SECONDS = 60.0
"""Equal refusals within this time share one line of the log, and its reference."""
MAX_CAUSE_CHARACTERS = 300
_MAX_REFUSALS = 200
_FULL_ERROR = ", full error: {"
"""What the driver writes between the message of the store and the whole answer."""
_CODE = re.compile(r"'code': (\d+)")


@dataclass(frozen=True, slots=True)
class StoreCall:
    """Command and collection of a call, as the log names them."""

    command: str
    collection: str


UNNAMED = StoreCall("-", "-")
_COMMANDS: Mapping[str, str] = {
    "aggregate": "aggregate",
    "bulk_write": "update",
    "count_documents": "aggregate",
    "create_indexes": "createIndexes",
    "delete_many": "delete",
    "delete_one": "delete",
    "find_one": "find",
    "find_one_and_delete": "findAndModify",
    "find_one_and_update": "findAndModify",
    "index_information": "listIndexes",
    "insert_many": "insert",
    "insert_one": "insert",
    "replace_one": "update",
    "update_many": "update",
    "update_one": "update",
}


def note_call(error: BaseException, method: str, arguments: Sequence[Any]) -> None:
    """Note at an error of the driver which call raised it: a method, and its arguments with the object itself first."""
    owner = arguments[0] if arguments else None
    if method == "command" and len(arguments) > 1 and isinstance(arguments[1], str):
        error.__dict__["store_call"] = StoreCall(arguments[1], "-")
        return
    collection = getattr(owner, "collection", None)
    if collection is not None and method == "_refresh":
        command = "getMore" if getattr(owner, "cursor_id", None) else "find"
        error.__dict__["store_call"] = StoreCall(command, str(collection.name))
    else:
        error.__dict__["store_call"] = StoreCall(_COMMANDS.get(method, method), str(getattr(owner, "name", "-")))


def is_transient_code(code: int | None) -> bool:
    """Return whether the same command may succeed later, by the code of an error of a command or of one write."""
    return code in TRANSIENT_CODES


def name_of(code: int | None, details: Mapping[str, Any] | None = None) -> str:
    """Return the name of a code. The store sends the name with errors of commands, but not with those of single writes."""
    return str((details or {}).get("codeName") or _NAMES.get(code or 0) or f"error {code}")


def find_bad_document(error: BaseException) -> str | None:
    """Return why the driver or the store refused a single document or update, or None for any other error."""
    match error:
        case DocumentTooLarge():
            return describe_code(TOO_LARGE)
        case InvalidDocument() | OverflowError():
            return type(error).__name__
        case OperationFailure() if error.code in DOCUMENT_CODES:
            return describe_code(error.code, error.details)
    return None


def describe_code(code: int | None, details: Mapping[str, Any] | None = None) -> str:
    """Return a code with its name, without the message of the store, which quotes values."""
    return f"{name_of(code, details)} (code {code})"


def find_refusal(error: Exception) -> tuple[int | None, str] | None:
    """Return code and name of a permanent refusal, or None for an error that a later repeat may not meet."""
    match error:
        case DocumentTooLarge():
            return TOO_LARGE, name_of(TOO_LARGE)
        case InvalidDocument() | ConfigurationError() | InvalidName():
            return None, type(error).__name__
        case BulkWriteError():
            details = error.details or {}
            codes = [failure.get("code") for failure in details.get("writeErrors", ())]
            permanent = [code for code in codes if not is_transient_code(code)]
            if details.get("writeConcernErrors") or not permanent:
                return None
            return permanent[0], name_of(permanent[0])
        case WriteConcernError():
            return None
        case OperationFailure():
            if is_transient_code(error.code) or _is_retryable(error):
                return None
            return error.code, name_of(error.code, error.details)
    return None


def _is_retryable(error: OperationFailure) -> bool:
    details = error.details or {}
    return error.has_error_label("RetryableWriteError") or bool(details.get("writeConcernError"))


def describe_outage(error: Exception) -> str:
    """Return why the store did not answer: a code with its name, or the text of the driver about the connection."""
    if isinstance(error, OperationFailure):
        return describe_code(error.code, error.details)
    if isinstance(error, NotPrimaryError):
        details = error.details if isinstance(error.details, Mapping) else {}
        return describe_code(details.get("code"), details)
    if isinstance(error, ConnectionFailure):
        # The driver adds its timeouts and all that it knows of the topology.
        text = str(error).partition(" (configured timeouts")[0].partition(", Timeout:")[0]
        if _FULL_ERROR in text:
            # The search for a primary failed after an error of the store, whose message quotes values.
            code = _CODE.search(text)
            return f"{type(error).__name__}: {describe_code(int(code[1]))}" if code else type(error).__name__
        return f"{type(error).__name__}: {text[:MAX_CAUSE_CHARACTERS]}"
    return type(error).__name__


class FailureLog:
    """Log of the failures of one process. `now_seconds` is a clock that never goes back."""

    def __init__(self, now_seconds: Callable[[], float] = time.monotonic) -> None:
        self._now_seconds = now_seconds
        self._outage_logged_at: float | None = None
        self._unlogged = 0
        self._refusals: dict[tuple[object, ...], tuple[str, float]] = {}

    def translate(self, error: Exception, query: str, *, logs: bool = True) -> StoreRefused | Unavailable:
        """Log an error of the driver, and return the error to raise in its place. `query` names the method.

        Without `logs`, the caller shows the error.
        """
        call = error.__dict__.get("store_call", UNNAMED)
        refusal = find_refusal(error)
        if refusal is None:
            cause = describe_outage(error)
            if logs:
                self._log_outage(cause, call, query)
            return Unavailable("store", cause)
        code, code_name = refusal
        return StoreRefused(code, code_name, self._log_refusal(code, code_name, call, query) if logs else "")

    def _log_outage(self, cause: str, call: StoreCall, query: str) -> None:
        now = self._now_seconds()
        if self._outage_logged_at is not None and now < self._outage_logged_at + OUTAGE_LOG_SECONDS:
            self._unlogged += 1
            return
        log.warning(
            "store unavailable: %s; command=%s collection=%s query=%s, %d more failed calls since the last line",
            cause, call.command, call.collection, query, self._unlogged,
        )  # fmt: skip
        self._outage_logged_at, self._unlogged = now, 0

    def _log_refusal(self, code: int | None, code_name: str, call: StoreCall, query: str) -> str:
        now, key = self._now_seconds(), (code, code_name, call, query)
        reference, logged_at = self._refusals.get(key, ("", 0.0))
        if reference and now < logged_at + REFUSAL_LOG_SECONDS:
            return reference
        self._refusals.pop(key, None)
        if len(self._refusals) >= _MAX_REFUSALS:
            del self._refusals[next(iter(self._refusals))]
        reference = secrets.token_hex(6)
        self._refusals[key] = (reference, now)
        log.error(
            "store refused a command: code=%s codeName=%s command=%s collection=%s query=%s reference=%s",
            code, code_name, call.command, call.collection, query, reference,
        )  # fmt: skip
        return reference


failure_log = FailureLog()
"""The log of this process."""
