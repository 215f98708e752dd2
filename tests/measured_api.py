"""An API process of its own, whose CPU time and memory a test can measure."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

from app.commands.workspaces.keys import new_key
from app.commands.workspaces.workspaces import create_workspace
from app.config.settings import Settings
from app.domain.actors import secret_hash
from app.local.processes import Child
from app.local.servers import free_port
from app.resources import Resources, open_resources
from app.store.operations import indexes

from . import servers
from .patience import PATIENCE_SECONDS


@dataclass
class MeasuredApi:
    """A running API process with one workspace and a key of every scope."""

    child: Child
    port: int
    resources: Resources
    workspace_id: str
    secret: str
    http: httpx.AsyncClient = field(default_factory=lambda: httpx.AsyncClient(timeout=PATIENCE_SECONDS))

    @property
    def url(self) -> str:
        """The address of the GraphQL endpoint."""
        return f"http://127.0.0.1:{self.port}/graphql"

    async def cpu_seconds(self) -> float:
        """Return the CPU time of the process, after it has handled all that was sent before."""
        response = await self.http.get(f"http://127.0.0.1:{self.port}/healthz")
        assert response.status_code == 200
        times = psutil.Process(self.child.pid).cpu_times()
        return float(times.user + times.system)

    def memory_bytes(self) -> int:
        """Return the resident memory of the process."""
        return int(psutil.Process(self.child.pid).memory_info().rss)

    async def create_key(self, *scopes: str) -> str:
        """Create another key with only these scopes, and return its secret."""
        key, secret = await new_key(self.workspace_id, "test", scopes)
        await self.resources.workspace(self.workspace_id).keys.insert(key, secret_hash(secret))
        return secret

    async def create_workspace(self) -> str:
        """Create another workspace, and return the secret of a key of every scope."""
        _, secret = await create_workspace(self.resources, "Other")
        return secret


@asynccontextmanager
async def run_measured_api(settings: Settings, folder: Path, **changes: Any) -> AsyncIterator[MeasuredApi]:
    """Run an API process with the settings and these changes while the block runs."""
    port = free_port()
    chosen = dataclasses.replace(settings, port=port, data_dir=folder, **changes)
    child = servers.api(chosen)
    async with open_resources(chosen) as resources:
        await indexes.ensure_indexes(resources.db)
        profile, secret = await create_workspace(resources, "Kiosk")
        api = MeasuredApi(child, port, resources, workspace_id=profile.id, secret=secret)
        try:
            await child.start()
            yield api
        finally:
            await api.http.aclose()
            await child.kill()
