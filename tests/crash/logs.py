"""Checks of the logs that the processes of a crash run wrote: errors once each, with their cause and without values."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from app.store.mongo.failures import REFUSAL_LOG_SECONDS

from .gates import SECRET, Refusal

START_LINE = '{"message": "process starts"}\n'
"""What the harness writes into a log before it starts the process: a new process logs an old cause again."""
REFUSAL = re.compile(r"store refused a command: (?P<cause>.*)")
EXPECTED = re.compile(r"pass \S+ is parked after repeated failures|Application startup failed")
"""Errors without a refusal of the same process. A process that starts during an election ends."""
WORD = re.compile(r"[\w/-]+")


def read_runs(log: Path) -> list[list[dict[str, Any]]]:
    """Return the lines of a log, one list for each run of the process. A line that is no JSON has only a message."""
    runs: list[list[dict[str, Any]]] = []
    for text in log.read_text(errors="replace").splitlines():
        try:
            line = json.loads(text)
        except ValueError:
            line = {"message": text, "level": "TEXT"}
        if line.get("message") == "process starts":
            runs.append([])
        else:
            runs[-1].append(line)
    return runs


def find_log_problems(log: Path, external_ids: Collection[str]) -> Iterator[str]:
    """Yield what a log must not contain: values of documents, unknown errors, and a cause twice within a minute."""
    text = log.read_text(errors="replace")
    if SECRET in text:
        yield f"{log.name} quotes the message of an error of the store"
    if quoted := set(WORD.findall(text)) & set(external_ids):
        yield f"{log.name} names {len(quoted)} external ids: {sorted(quoted)[:3]}"
    for run in read_runs(log):
        logged_at: dict[str, float] = {}
        for line in run:
            message, at = str(line["message"]), _seconds(line)
            if line.get("level") == "TEXT" and message.startswith("Error: The store did not answer."):
                continue
            if line.get("level") == "TEXT":
                yield f"{log.name}: {message[:300]}"
            elif found := REFUSAL.search(message):
                cause = found["cause"].partition(" reference=")[0]
                if at - logged_at.get(cause, 0) < REFUSAL_LOG_SECONDS - 1:
                    yield f"{log.name} names a cause twice: {cause}"
                logged_at[cause] = at
            elif line.get("level") in ("ERROR", "CRITICAL") and not EXPECTED.match(message):
                yield f"{log.name}: {message[:300]} {str(line.get('error', ''))[-1500:]}"


def find_unlogged(logs: Mapping[str, Path], refusals: Collection[Refusal]) -> Iterator[str]:
    """Yield the refusals that a process met and did not log. Only for processes that were never killed.

    `logs` has the log of each process by its name. The refusal of a pass is logged by the process that met it first.
    """
    causes = {
        name: [found["cause"] for run in read_runs(log) for line in run if (found := REFUSAL.search(line["message"]))]
        for name, log in logs.items()
    }
    for refusal in refusals:
        parts = (f"{refusal.code}", refusal.code_name, refusal.command, refusal.collection)
        having = {name for name, own in causes.items() if any(all(part in cause for part in parts) for cause in own)}
        if refusal.pass_id is None and (silent := set(refusal.met) - having):
            yield f"{silent} met {parts} and did not log it"
        elif refusal.met and not having:
            yield f"nobody logged {parts}: {refusal.met}"


def _seconds(line: dict[str, Any]) -> float:
    return datetime.fromisoformat(line["at"]).timestamp() if "at" in line else 0.0
