"""Commands that the store does not let start: one line names the cause, without traceback and without password."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.local.servers import free_port
from app.resources import open_resources
from app.store.operations.indexes import ensure_indexes
from tests.cli.test_main import run_command
from tests.servers import Servers
from tests.store_proxy import StoreProxy, running_proxy

DATABASE = "start-failures"


@pytest.fixture
async def proxy(servers: Servers) -> AsyncIterator[StoreProxy]:
    async with running_proxy(servers.settings.mongodb_uri or "") as running:
        yield running


async def run_api_command(proxy: StoreProxy, servers: Servers, folder: Path, command: str = "api") -> list[str]:
    """Run a command on the store behind the proxy until it fails, and return the lines that it prints."""
    options = [] if command == "worker" else ["--port", str(free_port())]
    status, output = await run_command(
        command, *options, "--data-dir", str(folder), MONGODB_URI=proxy.url, REDIS_URL=servers.settings.redis_url or "",
        PUNCHCARD_DATABASE=DATABASE,
    )  # fmt: skip
    assert status == 1, output
    assert "Traceback" not in output
    return output.splitlines()


@pytest.mark.parametrize("command", ["api", "worker"])
@pytest.mark.parametrize(
    ("code", "name", "advice"),
    [
        (18, "AuthenticationFailed", "Check the user, the password and the authSource in MONGODB_URI."),
        (13, "Unauthorized", "Give the user of MONGODB_URI the role readWrite on the database."),
    ],
)
async def test_command_that_the_store_refuses_names_the_cause_and_what_to_change(
    proxy: StoreProxy, servers: Servers, tmp_path: Path, command: str, code: int, name: str, advice: str
) -> None:
    proxy.fail("buildInfo", code=code, code_name=name, times=None)
    lines = await run_api_command(proxy, servers, tmp_path, command)
    assert lines[-1] == f"Error: The store refused a command: {name} (code {code}). {advice}"


async def test_api_whose_store_goes_away_while_it_starts_prints_one_line(
    proxy: StoreProxy, servers: Servers, tmp_path: Path
) -> None:
    """The command looks at the store twice: it compares the indexes, then the server opens its own connections."""
    async with open_resources(dataclasses.replace(servers.settings, database=DATABASE)) as resources:
        await ensure_indexes(resources.db)
    proxy.fail("buildInfo", code=91, code_name="ShutdownInProgress", skips=1, times=None)
    lines = await run_api_command(proxy, servers, tmp_path)
    assert lines[-1].startswith("Error: The store did not answer.")
    assert "ShutdownInProgress (code 91)" in lines[-1]


@pytest.mark.parametrize("content", [None, "no certificate"])
async def test_certificate_file_that_cannot_be_used_is_named_as_an_error_of_the_setting(
    servers: Servers, tmp_path: Path, content: str | None
) -> None:
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_text(content)
    status, output = await run_command(
        "api",
        MONGODB_URI=f"mongodb://127.0.0.1:1/?tls=true&tlsCAFile={file}",
        REDIS_URL=servers.settings.redis_url or "",
    )
    assert (status, "Traceback" in output) == (1, False)
    assert output.startswith("Error: MONGODB_URI cannot be used: ")
