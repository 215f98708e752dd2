"""The commands' way to the running API: where it is, which key, one operation at a time, files sent as they are read."""

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
from app.local.servers import Servers, is_owned

from .settings import with_settings

REQUEST_TIMEOUT_SECONDS = 60
RETRY_TIMEOUT_SECONDS = 30
UPLOAD_CHUNK_BYTES = 65_536

Report = Callable[[int], None]


@dataclass(frozen=True)
class Client:
    """Speaks GraphQL to one endpoint with one key. Every failure is a click.ClickException that says what to do."""

    endpoint: str
    key: str

    def ask(self, query: str, **variables: Any) -> dict[str, Any]:
        """The data of an operation; one that the API puts off is sent again for a while, as every one of ours may be."""
        body = json.dumps({"query": query, "variables": variables}).encode()
        deadline = time.monotonic() + RETRY_TIMEOUT_SECONDS
        while True:
            answer = self._sent({"content-type": "application/json"}, [body], len(body))
            extensions = (answer.get("errors") or [{}])[0].get("extensions", {})
            if extensions.get("code") not in ("THROTTLED", "UNAVAILABLE") or time.monotonic() > deadline:
                return self._data(answer)
            time.sleep(min(extensions.get("retryAfterSeconds", 1), RETRY_TIMEOUT_SECONDS))

    def upload(self, query: str, variables: Mapping[str, Any], place: str, path: Path, seen: Report) -> dict[str, Any]:
        """The data of an operation that takes a file at a place such as "variables.input.file"; `seen` hears each part."""
        boundary = secrets.token_hex(16)
        operations = {"query": query, "variables": variables}
        head = "".join(
            f'--{boundary}\r\ncontent-disposition: form-data; name="{name}"\r\n\r\n{json.dumps(value)}\r\n'
            for name, value in (("operations", operations), ("map", {"0": [place]}))
        )
        name = path.name.replace("\\", "\\\\").replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")
        head += f'--{boundary}\r\ncontent-disposition: form-data; name="0"; filename="{name}"\r\n'
        head += "content-type: application/octet-stream\r\n\r\n"
        tail = f"\r\n--{boundary}--\r\n"
        with path.open("rb") as file:
            length = len(head.encode()) + path.stat().st_size + len(tail)
            parts = _parts(head.encode(), file, tail.encode(), seen)
            headers = {"content-type": f"multipart/form-data; boundary={boundary}", "graphql-require-preflight": "1"}
            return self._data(self._sent(headers, parts, length))

    def fetch(self, address: str) -> bytes:
        """What lies at an address relative to the API's."""
        status, body = self._exchanged("GET", address, {}, None, 0)
        if status != 200:
            raise click.ClickException(f"{address} was answered with status {status}.")
        return body

    def download(self, address: str) -> Iterator[bytes]:
        """The parts of what lies at an address relative to the API's; the address itself is the key."""
        with self._connected() as connection:
            connection.request("GET", address)
            response = connection.getresponse()
            if response.status != 200:
                raise click.ClickException(f"{address.partition('?')[0]} was answered with status {response.status}.")
            while part := response.read(UPLOAD_CHUNK_BYTES):
                yield part
            if response.length:
                raise http.client.IncompleteRead(b"", response.length)

    def address(self, path: str) -> str:
        """The whole address of a path of the API."""
        parts = urlsplit(self.endpoint)
        return f"{parts.scheme}://{parts.netloc}{path}"

    def _sent(self, headers: dict[str, str], parts: Any, length: int) -> Any:
        status, body = self._exchanged("POST", urlsplit(self.endpoint).path or "/", headers, parts, length)
        try:
            return json.loads(body)
        except ValueError:
            said = f"status {status} and no GraphQL"
            raise click.ClickException(f"{self.endpoint} answered with {said}. Is it a Punchcard API?") from None

    def _data(self, answer: Any) -> dict[str, Any]:
        if errors := answer.get("errors"):
            if errors[0].get("extensions", {}).get("code") == "UNAUTHENTICATED":
                raise click.ClickException("The API refused the key. Give another with --key or PUNCHCARD_KEY.")
            raise click.ClickException("; ".join(error["message"] for error in errors))
        data: dict[str, Any] = answer["data"]
        return data

    def _exchanged(self, method: str, path: str, headers: dict[str, str], body: Any, length: int) -> tuple[int, bytes]:
        sent = {"authorization": f"Bearer {self.key}", **headers}
        if body is not None:
            sent["content-length"] = str(length)
        with self._connected() as connection:
            # A server that refuses a long body answers before it has read it; the answer says why.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                connection.request(method, path, body, sent)
            response = connection.getresponse()
            return response.status, response.read()

    @contextlib.contextmanager
    def _connected(self) -> Iterator[http.client.HTTPConnection]:
        parts = urlsplit(self.endpoint)
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        connection = kind(parts.hostname or "", parts.port, timeout=REQUEST_TIMEOUT_SECONDS)
        try:
            yield connection
        except (OSError, http.client.HTTPException) as error:
            raise click.ClickException(
                f"No API answers at {self.endpoint} ({type(error).__name__}). Start it with `punchcard up`, or"
                " name another with --endpoint."
            ) from error
        finally:
            connection.close()


def with_client(command: Callable[..., Any]) -> Callable[..., Any]:
    """The command with the options --endpoint and --key, and a `client` for them beside `settings`."""

    @with_settings
    @click.option(
        "--endpoint",
        envvar="PUNCHCARD_ENDPOINT",
        help="The GraphQL endpoint.  [PUNCHCARD_ENDPOINT, default that of the running `punchcard up`]",
    )
    @click.option(
        "--key", envvar="PUNCHCARD_KEY", help="The API key.  [PUNCHCARD_KEY, default the one kept in the data folder]"
    )
    @functools.wraps(command)
    def run(*, settings: Settings, endpoint: str | None, key: str | None, **options: Any) -> Any:
        client = Client(endpoint or _endpoint(settings), key or _key(settings))
        return command(settings=settings, client=client, **options)

    return run


def _endpoint(settings: Settings) -> str:
    kept = Servers.read(settings.data_dir).endpoint if is_owned(settings.data_dir) else ""
    return kept or f"http://{settings.host}:{settings.port}/graphql"


def _key(settings: Settings) -> str:
    path = settings.data_dir / "key"
    try:
        return path.read_text().strip()
    except OSError:
        raise click.ClickException(
            f"There is no key in {path}. Start `punchcard up` there, or give a key with --key or PUNCHCARD_KEY."
        ) from None


def _parts(head: bytes, file: IO[bytes], tail: bytes, seen: Report) -> Iterator[bytes]:
    yield head
    while part := file.read(UPLOAD_CHUNK_BYTES):
        yield part
        seen(len(part))
    yield tail
