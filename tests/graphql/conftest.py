"""Fixtures for GraphQL tests: a workspace, and its API in the process of the test."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from app.clock import FixedClock
from app.resources import Resources
from tests.business import Business, open_business

from .serving import Api, run_api


@pytest.fixture
async def business(resources: Resources, clock: FixedClock) -> Business:
    """Create an empty workspace."""
    return await open_business(resources, clock)


@pytest.fixture
async def api(business: Business) -> AsyncIterator[Api]:
    """Run the API of the workspace. It sends a heartbeat every 0.1 s."""
    async with run_api(business, heartbeat_seconds=0.1) as running:
        yield running
