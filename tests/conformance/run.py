"""Starts the API with a small business behind it, and runs the clients of a folder against it. Use run.sh."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from app.clock import FixedClock
from app.resources import open_resources
from tests.business import open_business
from tests.graphql.serving import Api, serving
from tests.servers import running_servers

from .webhooks import receivers, senders

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
OPERATIONS = HERE / "ops.json"
INIT_TIMEOUT_SECONDS = 2.0

# The document that the Python client uploads with stands in its code and names another schema's mutation.
FOREIGN_UPLOAD = "mutation U($file: Upload!) { uploadCsv(file: $file) }"


async def main(folder: Path, scripts: Sequence[str]) -> int:
    """How many runners failed; each prints its failures and one RESULT line."""
    with tempfile.TemporaryDirectory() as data:
        async with running_servers(Path(data)) as servers:
            settings = replace(
                servers.settings,
                database="conformance",
                data_dir=Path(data) / "data",
                max_batch=10,
                egress_allow=("127.0.0.1",),
            )
            async with open_resources(settings) as opened:
                clock = FixedClock(datetime(2026, 1, 1, tzinfo=UTC))
                business = await open_business(replace(opened, clock=clock), clock)
                await business.join(*(f"guest-{n}" for n in range(8)))
                await business.record({"pass_external_id": "guest-0", "external_id": "1"})
                await business.settle()
                options = {"heartbeat_seconds": 0.1, "init_timeout_seconds": INIT_TIMEOUT_SECONDS}
                async with serving(business, **options) as api:
                    failed = await run_all(folder, scripts, api)
                    failed += await receivers(folder, business)
                    return failed + await senders(folder, business, api.address)


async def run_all(folder: Path, scripts: Sequence[str], api: Api) -> int:
    """Runs one runner after the other, then the scripts; returns how many of them failed."""
    operations = json.loads(OPERATIONS.read_text())
    client = folder / "gql_client_here.py"
    client.write_text((folder / "gql_client.py").read_text().replace(FOREIGN_UPLOAD, operations["upload"]["query"]))
    env = os.environ | {
        "OPS": str(OPERATIONS),
        "AUTHORIZATION": f"Bearer {api.secret}",
        "WS_INIT_TIMEOUT_MS": str(int(INIT_TIMEOUT_SECONDS * 1000)),
        "STRICT": "1",
        "SCHEMA": str(ROOT / "schema.graphql"),
        "Q": operations["queryField"],
        "SUB": operations["finiteSubscription"],
        "M": operations["mutation"],
    }
    runners = (
        ("node", "ws-protocol.mjs", api.address),
        ("node", "sse-protocol.mjs", api.address),
        ("node", "urql-client.mjs", api.address),
        (str(folder / "toolvenv" / "bin" / "python"), client.name, api.address),
        ("node", "lint/schema-lint.mjs", api.address, str(ROOT / "schema.graphql")),
    )
    for script in scripts:
        # Node.js looks for packages where a script lies.
        shutil.copy(HERE / script, folder)
    own = (("node", Path(script).name, api.address) for script in scripts)
    failed = 0
    for argv in (*runners, *own):
        process = await asyncio.create_subprocess_exec(*argv, cwd=folder, env=env)
        failed += bool(await process.wait())
    return failed


if __name__ == "__main__":
    sys.exit(asyncio.run(main(Path(sys.argv[1]), sys.argv[2:])))
