"""Every setting with its environment variable, default, bounds and explanation."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from . import parsers
from .parsers import Parser, one_of, seconds, url, whole


class ConfigError(ValueError):
    """Error for settings that cannot be used. `problems` has one sentence for each variable, with the rule it breaks."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def _variable(name: str, default: object, parser: Parser[object], says: str) -> Any:
    return dataclasses.field(default=default, metadata={"name": name, "parser": parser, "says": says})


@dataclass(frozen=True)
class Variable:
    """One environment variable: its default as it would be written (empty: none), its accepted texts, its meaning."""

    name: str
    default: str
    accepts: str
    says: str


@dataclass(frozen=True)
class Settings:
    """Everything that can be configured. Build it with `from_env`; tests may construct it directly."""

    mongodb_uri: str | None = _variable(
        "MONGODB_URI",
        None,
        url("mongodb", "mongodb+srv"),
        "The address of the MongoDB replica set, which holds all data. If it is empty, `punchcard up` starts a server, and"
        " the other commands use the server that runs for the same data folder.",
    )
    redis_url: str | None = _variable(
        "REDIS_URL",
        None,
        url("redis", "rediss", "unix"),
        "The address of the Redis server, which carries wake-ups, budgets and persisted documents. If it is empty,"
        " `punchcard up` starts a server, and the other commands use the server that runs for the same data folder.",
    )
    database: str = _variable(
        "PUNCHCARD_DATABASE",
        "punchcard",
        parsers.database,
        "The name of the MongoDB database. The names of all keys, queues and channels in Redis contain it too.",
    )
    data_dir: Path = _variable(
        "PUNCHCARD_DATA_DIR",
        Path(".punchcard"),
        parsers.path,
        "The folder for files on this machine: data and logs of the servers that `punchcard up` starts, the development"
        " key, and the reports of `punchcard import`.",
    )
    host: str = _variable(
        "PUNCHCARD_HOST",
        "127.0.0.1",
        parsers.host,
        "The address at which the API listens, and at which a worker answers `/metrics` and `/healthz`. `0.0.0.0` stands for"
        " all IPv4 addresses of the machine.",
    )
    port: int = _variable("PUNCHCARD_PORT", 8000, whole(1, 65535), "The port at which the API listens.")
    clock: Literal["system", "manual"] = _variable(
        "PUNCHCARD_CLOCK",
        "system",
        one_of("system", "manual"),
        "The business clock, which segments, points and the times of events follow. `system` is the clock of the machine."
        " `manual` is a clock that stands still until `punchcard clock set` moves it.",
    )
    future_tolerance_seconds: int = _variable(
        "PUNCHCARD_FUTURE_TOLERANCE_SECONDS",
        300,
        whole(0, 86_400),
        "How many seconds the `occurredAt` of an event may lie ahead of the business clock. Punchcard rejects an event that"
        " lies further ahead, with `OUT_OF_RANGE`.",
    )
    log_level: str = _variable(
        "PUNCHCARD_LOG_LEVEL",
        "INFO",
        one_of("DEBUG", "INFO", "WARNING", "ERROR"),
        "The lowest severity of the messages that a process logs.",
    )
    log_format: Literal["text", "json"] = _variable(
        "PUNCHCARD_LOG_FORMAT",
        "text",
        one_of("text", "json"),
        "The format of the log: `text` for people, `json` for one JSON object on each line.",
    )
    access_log: Literal["on", "off"] = _variable(
        "PUNCHCARD_ACCESS_LOG",
        "on",
        one_of("on", "off"),
        "Whether the API logs one line for each request. `punchcard up` logs these lines only if the variable is set.",
    )
    metrics: Literal["off", "local", "on"] = _variable(
        "PUNCHCARD_METRICS",
        "local",
        one_of("off", "local", "on"),
        "Which callers get metrics from the API at `/metrics`, where no key is needed: none (`off`), callers on the same"
        " machine (`local`), or all (`on`). A request is not local if it has a header of a proxy, or if its `Host` is not"
        " `localhost` or a loopback address.",
    )
    worker_metrics_port: int = _variable(
        "PUNCHCARD_WORKER_METRICS_PORT",
        0,
        whole(0, 65535),
        "The port at which a worker answers `/metrics` and `/healthz` to all callers, without a key. With `0`, the worker"
        " does not listen. `punchcard up` gives this port to its first worker and the following ports to the others.",
    )
    otlp_endpoint: str | None = _variable(
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        None,
        url("http", "https"),
        "The OpenTelemetry collector that receives traces, by OTLP over HTTP at the path `/v1/traces`. It needs the extra"
        " `tracing`. If it is empty, Punchcard makes no traces.",
    )
    sweep_seconds: float = _variable(
        "PUNCHCARD_SWEEP_SECONDS",
        1.0,
        seconds(0.05, 60),
        "How many seconds a worker waits before it searches again for work. The search finds work whose wake-up was lost.",
    )
    retention_days: tuple[str, ...] = _variable(
        "PUNCHCARD_RETENTION_DAYS",
        (),
        parsers.retention,
        "How many days workers keep activities, finished jobs and audit entries, such as `activities=400,jobs=90`. What"
        " the list does not name is kept for ever. Set it for all workers.",
    )
    metadata_bytes: int = _variable(
        "PUNCHCARD_METADATA_BYTES",
        32_768,
        whole(0, 1_048_576),
        "The largest size in bytes of the `metadata` of an event, as JSON. It also limits the `metadata` and the `fields`"
        " that one call gives to a pass, each by itself.",
    )
    body_bytes: int = _variable(
        "PUNCHCARD_BODY_BYTES",
        4_194_304,
        whole(1_024, 67_108_864),
        "The largest size in bytes of an HTTP request without a file, and of a WebSocket message.",
    )
    upload_bytes: int = _variable(
        "PUNCHCARD_UPLOAD_BYTES",
        1_073_741_824,
        whole(1_024, 1 << 40),
        "The largest size in bytes of an HTTP request with a file, and of a file that `importEvents` fetches from a URL.",
    )
    max_tokens: int = _variable(
        "PUNCHCARD_MAX_TOKENS", 10_000, whole(100, 1_000_000), "The most tokens that a document may have."
    )
    max_depth: int = _variable(
        "PUNCHCARD_MAX_DEPTH", 20, whole(1, 100), "The most levels to which the fields of an operation may nest."
    )
    max_fields: int = _variable(
        "PUNCHCARD_MAX_FIELDS",
        2_000,
        whole(10, 100_000),
        "The most fields that an operation may select. The fields of a fragment count each time the fragment is spread.",
    )
    max_aliases: int = _variable(
        "PUNCHCARD_MAX_ALIASES",
        100,
        whole(0, 100_000),
        "The most aliases that an operation may use. Those in a fragment count each time the fragment is spread.",
    )
    max_directives: int = _variable(
        "PUNCHCARD_MAX_DIRECTIVES",
        100,
        whole(0, 100_000),
        "The most directives that an operation may use. Those in a fragment count each time the fragment is spread.",
    )
    max_cost: int = _variable(
        "PUNCHCARD_MAX_COST",
        100_000,
        whole(1_000, 1_000_000_000),
        "The most points that one operation may cost: one point for each object that the operation may read or write, and"
        " points for documents that the store examines to count or to aggregate. A budget that is smaller takes its place.",
    )
    budget_points: int = _variable(
        "PUNCHCARD_BUDGET_POINTS",
        1_000_000,
        whole(0, 1_000_000_000),
        "The size of the budget that each API key and each inbound hook has, in points. Operations take their cost from it."
        " All keys and hooks of a workspace together have four times as much. With `0`, there are no budgets.",
    )
    budget_per_second: int = _variable(
        "PUNCHCARD_BUDGET_PER_SECOND",
        10_000,
        whole(1, 1_000_000_000),
        "How many points come back to each budget in a second, until the budget is full.",
    )
    operation_seconds: float = _variable(
        "PUNCHCARD_OPERATION_SECONDS",
        30.0,
        seconds(0.1, 3_600),
        "How many seconds a query, a mutation or an inbound message may take. The time in which `importEvents` stores an"
        " uploaded file does not count.",
    )
    store_threads: int = _variable(
        "PUNCHCARD_STORE_THREADS",
        64,
        whole(4, 1_000),
        "The most calls to MongoDB that a process makes at once for its stages, jobs and feeds. Each runs in a thread of its"
        " own. The operations of clients have 80 threads besides.",
    )
    max_sockets: int = _variable(
        "PUNCHCARD_MAX_SOCKETS",
        5_000,
        whole(1, 1_000_000),
        "The most WebSockets with a valid key that one API process keeps open. The keys of one workspace may have 80 % of"
        " them.",
    )
    max_sockets_per_key: int = _variable(
        "PUNCHCARD_MAX_SOCKETS_PER_KEY",
        2_000,
        whole(1, 1_000_000),
        "The most WebSockets that one API key may have open at one API process.",
    )
    max_subscriptions: int = _variable(
        "PUNCHCARD_MAX_SUBSCRIPTIONS",
        10_000,
        whole(1, 1_000_000),
        "The most subscriptions that one API process runs. The keys of one workspace may have 80 % of them.",
    )
    max_subscriptions_per_key: int = _variable(
        "PUNCHCARD_MAX_SUBSCRIPTIONS_PER_KEY",
        5_000,
        whole(1, 1_000_000),
        "The most subscriptions that one API key may have at one API process.",
    )
    introspection: Literal["on", "off"] = _variable(
        "PUNCHCARD_INTROSPECTION",
        "on",
        one_of("on", "off"),
        "Whether clients with a key may read the schema by introspection. It also says whether errors suggest a name for a"
        " mistyped one.",
    )
    trusted_documents: Path | None = _variable(
        "PUNCHCARD_TRUSTED_DOCUMENTS",
        None,
        parsers.path,
        "The path of a manifest of trusted documents, or of a folder with such `.json` files. The formats are those of"
        " Apollo, Relay and graphql-codegen. The API reads the files when it starts.",
    )
    documents: Literal["any", "trusted"] = _variable(
        "PUNCHCARD_DOCUMENTS",
        "any",
        one_of("any", "trusted"),
        "Which documents the API runs: `any`, or only `trusted` ones. Clients whose key has the scope `admin` may always"
        " send any document.",
    )
    max_batch: int = _variable(
        "PUNCHCARD_MAX_BATCH",
        1,
        whole(1, 100),
        "The most operations that one HTTP request may carry in a list. With `1`, the API accepts no lists.",
    )
    cors_origins: tuple[str, ...] = _variable(
        "PUNCHCARD_CORS_ORIGINS",
        (),
        parsers.origins,
        "The browser origins, besides the API's own, whose pages may call the API over HTTP and WebSocket.",
    )
    egress_allow: tuple[str, ...] = _variable(
        "PUNCHCARD_EGRESS_ALLOW",
        (),
        parsers.hosts,
        "Addresses, networks and host names that are not public, to which Punchcard may send webhooks and from which it may"
        " fetch files. Webhooks may go to them over http too. With a port, only that port is allowed; without one, all ports"
        " are, also those of databases.",
    )

    public_url: str | None = _variable(
        "PUNCHCARD_PUBLIC_URL",
        None,
        parsers.base_url,
        "The URL, such as `https://loyalty.example.com`, under which customers reach the API. With it, messages that need a"
        " consent carry a link that takes the consent back.",
    )
    mailbox: Path | None = _variable(
        "PUNCHCARD_MAILBOX",
        None,
        parsers.path,
        "The file to which channels with the provider `MAILBOX` append mails instead of sending them, for development.",
    )

    @property
    def retention(self) -> dict[str, int]:
        """Days by what is kept for so long: `activities`, `jobs` and `audit`, where given."""
        return parsers.read_days(",".join(self.retention_days))

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Settings:
        """Build the settings from environment variables; an absent or empty variable keeps its default.

        Raises ConfigError that names every variable with an invalid value.
        """
        values: dict[str, object] = {}
        problems: list[str] = []
        for field in dataclasses.fields(cls):
            text = environ.get(field.metadata["name"], "").strip()
            if not text:
                continue
            try:
                values[field.name] = field.metadata["parser"](text)
            except ValueError as error:
                problems.append(f"{field.metadata['name']} {error}; it is {text!r}.")
        if problems:
            raise ConfigError(problems)
        return cls(**values)  # type: ignore[arg-type]  # each value comes from its own field's parser

    def to_env(self) -> dict[str, str]:
        """Return every variable as text, so that `from_env` builds equal settings. A setting without a value is empty."""
        return {field.metadata["name"]: _written(getattr(self, field.name)) for field in dataclasses.fields(self)}


def variables() -> list[Variable]:
    """Return every variable that `Settings.from_env` reads, in the order of the fields."""
    return [
        Variable(
            name=field.metadata["name"],
            default=_written(field.default),
            accepts=field.metadata["parser"].accepts,
            says=field.metadata["says"],
        )
        for field in dataclasses.fields(Settings)
    ]


def _written(value: object) -> str:
    if isinstance(value, tuple):
        return ",".join(value)
    if isinstance(value, float):
        return f"{value:g}"
    return "" if value is None else str(value)
