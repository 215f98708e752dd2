"""The protocol clients of a folder, run against the API of a small business. Start it with run.sh."""

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
from tests.graphql.serving import Api, run_api
from tests.servers import running_servers

from .webhooks import run_receivers, run_senders

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
OPERATIONS = HERE / "ops.json"
INIT_TIMEOUT_SECONDS = 2.0

# The upload document stands in the code of the Python client and names a mutation of another schema.
FOREIGN_UPLOAD = "mutation U($file: Upload!) { uploadCsv(file: $file) }"


async def main(folder: Path, scripts: Sequence[str]) -> int:
    """Run everything and return how many runners failed; each prints its failures and one RESULT line."""
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
                await business.create_passes(*(f"guest-{n}" for n in range(8)))
                await business.record({"pass_external_id": "guest-0", "external_id": "1"})
                await business.run_worker()
                options = {"heartbeat_seconds": 0.1, "init_timeout_seconds": INIT_TIMEOUT_SECONDS}
                async with run_api(business, **options) as api:
                    failed = await run_clients(folder, scripts, api)
                    failed += await run_receivers(folder, business)
                    return failed + await run_senders(folder, business, api.url)


async def run_clients(folder: Path, scripts: Sequence[str], api: Api) -> int:
    """Run the clients of the folder and then the scripts, one after the other; return how many failed."""
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
        ("node", "ws-protocol.mjs", api.url),
        ("node", "sse-protocol.mjs", api.url),
        ("node", "urql-client.mjs", api.url),
        (str(folder / "toolvenv" / "bin" / "python"), client.name, api.url),
        ("node", "lint/schema-lint.mjs", api.url, str(ROOT / "schema.graphql")),
    )
    for script in scripts:
        # Node.js looks for packages in the folder of a script.
        shutil.copy(HERE / script, folder)
    own = (("node", Path(script).name, api.url) for script in scripts)
    failed = 0
    for argv in (*runners, *own):
        process = await asyncio.create_subprocess_exec(*argv, cwd=folder, env=env)
        failed += bool(await process.wait())
    return failed


if __name__ == "__main__":
    sys.exit(asyncio.run(main(Path(sys.argv[1]), sys.argv[2:])))
