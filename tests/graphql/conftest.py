"""Fixtures of the edge: a workspace, and its API running in the test's own process."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from app.clock import FixedClock
from app.resources import Resources
from tests.business import Business, open_business

from .serving import Api, serving


@pytest.fixture
async def business(resources: Resources, clock: FixedClock) -> Business:
    """An empty workspace."""
    return await open_business(resources, clock)


@pytest.fixture
async def api(business: Business) -> AsyncIterator[Api]:
    """The API of the workspace, its heartbeats a tenth of a second apart."""
    async with serving(business, heartbeat_seconds=0.1, init_timeout_seconds=0.3) as running:
        yield running
