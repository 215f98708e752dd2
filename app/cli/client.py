"""GraphQL client of the commands that use a running API, and their options --endpoint and --key."""

from __future__ import annotations

import contextlib
import functools
import http.client
import json
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

import click

from app.config.settings import Settings
from app.local.folder import is_owned
from app.local.key_file import KeyFile
from app.local.servers import Servers

from .settings import with_settings

REQUEST_TIMEOUT_SECONDS = 60
RETRY_TIMEOUT_SECONDS = 30
UPLOAD_CHUNK_BYTES = 65_536

ReportBytes = Callable[[int], None]
"""Callback that receives the number of bytes of each part that was sent."""


@dataclass(frozen=True)
class Client:
    """Client of one endpoint with one API key. Every failure is a click.ClickException that says what to do."""

    endpoint: str
    key: str

    def ask(self, query: str, **variables: Any) -> dict[str, Any]:
        """Send an operation and return its data.

        If the API answers THROTTLED or UNAVAILABLE, retry for up to 30 seconds. Every operation of the commands is safe
        to repeat.
        """
        body = json.dumps({"query": query, "variables": variables}).encode()
        deadline = time.monotonic() + RETRY_TIMEOUT_SECONDS
        while True:
            answer = self._send({"content-type": "application/json"}, [body], len(body))
            extensions = (answer.get("errors") or [{}])[0].get("extensions", {})
            if extensions.get("code") not in ("THROTTLED", "UNAVAILABLE") or time.monotonic() > deadline:
                return self._data_of(answer)
            time.sleep(min(extensions.get("retryAfterSeconds", 1), RETRY_TIMEOUT_SECONDS))

    def upload(
        self, query: str, variables: Mapping[str, Any], variable: str, path: Path, report: ReportBytes
    ) -> dict[str, Any]:
        """Send an operation with a file and return its data.

        `variable` is the path of the file's variable, such as "variables.input.file". The file is read in parts.
        """
        boundary = secrets.token_hex(16)
        operations = {"query": query, "variables": variables}
        head = "".join(
            f'--{boundary}\r\ncontent-disposition: form-data; name="{name}"\r\n\r\n{json.dumps(value)}\r\n'
            for name, value in (("operations", operations), ("map", {"0": [variable]}))
        )
        name = path.name.replace("\\", "\\\\").replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")
        head += f'--{boundary}\r\ncontent-disposition: form-data; name="0"; filename="{name}"\r\n'
        head += "content-type: application/octet-stream\r\n\r\n"
        tail = f"\r\n--{boundary}--\r\n"
        with path.open("rb") as file:
            length = len(head.encode()) + path.stat().st_size + len(tail)
            parts = _read_parts(head.encode(), file, tail.encode(), report)
            headers = {"content-type": f"multipart/form-data; boundary={boundary}", "graphql-require-preflight": "1"}
            return self._data_of(self._send(headers, parts, length))

    def fetch(self, address: str) -> bytes:
        """Return the file at an address relative to the API's."""
        status, body = self._exchange("GET", address, {}, None, 0)
        if status != 200:
            raise click.ClickException(f"{address} returned status {status} and no file. Run the command again.")
        return body

    def download(self, address: str) -> Iterator[bytes]:
        """Yield the parts of the file at a signed address relative to the API's. A signed address needs no API key."""
        with self._connect() as connection:
            connection.request("GET", address)
            response = connection.getresponse()
            if response.status != 200:
                raise click.ClickException(
                    f"{address.partition('?')[0]} returned status {response.status} and no file. Run the command again."
                )
            while part := response.read(UPLOAD_CHUNK_BYTES):
                yield part
            if response.length:
                raise http.client.IncompleteRead(b"", response.length)

    def address(self, path: str) -> str:
        """Return the complete address of a path of the API."""
        parts = urlsplit(self.endpoint)
        return f"{parts.scheme}://{parts.netloc}{path}"

    def _send(self, headers: dict[str, str], parts: Any, length: int) -> Any:
        status, body = self._exchange("POST", urlsplit(self.endpoint).path or "/", headers, parts, length)
        try:
            return json.loads(body)
        except ValueError:
            raise click.ClickException(
                f"{self.endpoint} returned status {status} and no GraphQL response. Set --endpoint to the endpoint of a"
                " Punchcard API."
            ) from None

    def _data_of(self, answer: Any) -> dict[str, Any]:
        if errors := answer.get("errors"):
            if errors[0].get("extensions", {}).get("code") == "UNAUTHENTICATED":
                raise click.ClickException("The API rejected the key. Set a valid key with --key or PUNCHCARD_KEY.")
            raise click.ClickException("; ".join(error["message"] for error in errors))
        data: dict[str, Any] = answer["data"]
        return data

    def _exchange(self, method: str, path: str, headers: dict[str, str], body: Any, length: int) -> tuple[int, bytes]:
        all_headers = {"authorization": f"Bearer {self.key}", **headers}
        if body is not None:
            all_headers["content-length"] = str(length)
        with self._connect() as connection:
            # The API rejects a body that is too large before it has read all of it. Its response has the reason.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                connection.request(method, path, body, all_headers)
            response = connection.getresponse()
            return response.status, response.read()

    @contextlib.contextmanager
    def _connect(self) -> Iterator[http.client.HTTPConnection]:
        parts = urlsplit(self.endpoint)
        connection_class = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        connection = connection_class(parts.hostname or "", parts.port, timeout=REQUEST_TIMEOUT_SECONDS)
        try:
            yield connection
        except (OSError, http.client.HTTPException) as error:
            raise click.ClickException(
                f"No API answers at {self.endpoint} ({type(error).__name__}). Start one with `punchcard up`, or name"
                " another endpoint with --endpoint."
            ) from error
        finally:
            connection.close()


def with_client(command: Callable[..., Any]) -> Callable[..., Any]:
    """Return the command with the options --endpoint and --key, and with a `client` for them beside `settings`."""

    @with_settings
    @click.option(
        "--endpoint",
        envvar="PUNCHCARD_ENDPOINT",
        help="The GraphQL endpoint.  [PUNCHCARD_ENDPOINT, default the endpoint of the running `punchcard up`]",
    )
    @click.option(
        "--key", envvar="PUNCHCARD_KEY", help="The API key.  [PUNCHCARD_KEY, default the key in the data folder]"
    )
    @functools.wraps(command)
    def run(*, settings: Settings, endpoint: str | None, key: str | None, **options: Any) -> Any:
        client = Client(endpoint or _find_endpoint(settings), key or _read_key(settings))
        return command(settings=settings, client=client, **options)

    return run


def _find_endpoint(settings: Settings) -> str:
    running = Servers.read(settings.data_dir).endpoint if is_owned(settings.data_dir) else ""
    return running or f"http://{settings.host}:{settings.port}/graphql"


def _read_key(settings: Settings) -> str:
    file = KeyFile(settings.data_dir)
    key = file.read()
    if key is None:
        raise click.ClickException(
            f"There is no key in {file.path}. Start `punchcard up` in this folder, or set a key with --key or"
            " PUNCHCARD_KEY."
        )
    return key


def _read_parts(head: bytes, file: IO[bytes], tail: bytes, report: ReportBytes) -> Iterator[bytes]:
    yield head
    while part := file.read(UPLOAD_CHUNK_BYTES):
        yield part
        report(len(part))
    yield tail
