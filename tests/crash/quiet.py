"""Checks that a run with faults of the store ends in quiet, and that the processes said whether they could serve."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from dataclasses import dataclass, field

import httpx

from .store_faults import StoreFaults

QUIET_SECONDS = 6.0
SIGNS_OF_LIFE = {("update", "heartbeats"), ("update", "constants"), ("update", "clock")}
"""Writes of an idle installation."""
READS_A_SECOND = 60
"""How many reads an idle process may send in a second. A sweep reads each kind of work once."""
UNREADY_AFTER_SECONDS = 20.0


async def find_noise(faults: StoreFaults) -> list[str]:
    """Return what processes still do although no work is left."""
    before = {gate.name: Counter(gate.sent) for gate in faults.gates}
    await asyncio.sleep(QUIET_SECONDS)
    found = []
    for gate in faults.gates:
        sent = gate.sent - before[gate.name]
        writes = {key: n for key, n in sent.items() if key[0] not in ("find", "aggregate", "getMore", "count")}
        if noise := {key: n for key, n in writes.items() if key not in SIGNS_OF_LIFE}:
            found.append(f"{gate.name} still writes: {noise}")
        if sent.total() > READS_A_SECOND * QUIET_SECONDS:
            found.append(
                f"{gate.name} sends {sent.total() / QUIET_SECONDS:.0f} commands a second: {sent.most_common(5)}"
            )
    return found


@dataclass
class Readiness:
    """Watch of `/readyz` of the API processes: an outage of up to 20 s must not make them unready."""

    addresses: list[str]
    faults: StoreFaults
    unready: list[str] = field(default_factory=list)
    answers: Counter[str] = field(default_factory=Counter)

    async def watch(self) -> None:
        """Ask each process twice a second until cancelled."""
        await asyncio.gather(*(self._watch(address) for address in self.addresses))

    async def _watch(self, address: str) -> None:
        written_at: float | None = None
        async with httpx.AsyncClient(timeout=10) as http:
            while True:
                with contextlib.suppress(httpx.TransportError):
                    response = await http.get(address.replace("/graphql", "/readyz"))
                    body = response.json()
                    self.answers[f"{response.status_code} {body['status']}"] += 1
                    now = time.monotonic()
                    if body["checks"]["store"]["status"] == "ok":
                        written_at = now
                    elif response.status_code == 503 and written_at and now < written_at + UNREADY_AFTER_SECONDS - 1:
                        self.unready.append(f"{address} is unready {now - written_at:.1f} s after a write: {body}")
                    if response.status_code == 503 and body["checks"]["store"]["status"] == "ok":
                        self.unready.append(f"{address} is unready with a store: {body}")
                await asyncio.sleep(0.5)
