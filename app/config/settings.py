"""Every setting: its environment variable, unit, bounds and default."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from . import parsers
from .parsers import one_of, origins, places, seconds, url, whole

PREFIX = "PUNCHCARD_"


class ConfigError(ValueError):
    """The settings cannot be used; `problems` has one sentence a variable, saying what to change."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def _variable(name: str, default: object, parse: Callable[[str], object], says: str) -> Any:
    return dataclasses.field(default=default, metadata={"name": name, "parse": parse, "says": says})


@dataclass(frozen=True)
class Variable:
    """One environment variable: its name, its default as it would be written (empty: none), and what it means."""

    name: str
    default: str
    says: str


@dataclass(frozen=True)
class Settings:
    """Everything that can be configured. Build it with `from_env`; tests may construct it directly."""

    mongodb_uri: str | None = _variable(
        "MONGODB_URI",
        None,
        url("mongodb", "mongodb+srv"),
        "The MongoDB replica set. Without it: the server that `punchcard up` keeps in the data folder.",
    )
    redis_url: str | None = _variable(
        "REDIS_URL",
        None,
        url("redis", "rediss", "unix"),
        "The Redis that carries wake-ups. Without it: the server that `punchcard up` keeps in the data folder.",
    )
    database: str = _variable(
        "PUNCHCARD_DATABASE",
        "punchcard",
        parsers.database,
        "The MongoDB database, and the prefix of everything in Redis.",
    )
    data_dir: Path = _variable(
        "PUNCHCARD_DATA_DIR",
        Path(".punchcard"),
        Path,
        "The folder of the local servers' data, the development key and the reports of imports.",
    )
    host: str = _variable("PUNCHCARD_HOST", "127.0.0.1", str, "The address the API listens on.")
    port: int = _variable("PUNCHCARD_PORT", 8000, whole(1, 65535), "The port the API listens on.")
    clock: Literal["system", "manual"] = _variable(
        "PUNCHCARD_CLOCK",
        "system",
        one_of("system", "manual"),
        "The business clock: the system's, or one that stands still until `punchcard clock set` moves it.",
    )
    future_tolerance_seconds: int = _variable(
        "PUNCHCARD_FUTURE_TOLERANCE_SECONDS",
        300,
        whole(0, 86_400),
        "How far ahead of the clock an event may have occurred before it is refused.",
    )
    log_level: str = _variable(
        "PUNCHCARD_LOG_LEVEL",
        "INFO",
        one_of("DEBUG", "INFO", "WARNING", "ERROR"),
        "The least severe message that is logged.",
    )
    log_format: Literal["text", "json"] = _variable(
        "PUNCHCARD_LOG_FORMAT", "text", one_of("text", "json"), "Log lines for people, or one JSON object a line."
    )
    access_log: Literal["on", "off"] = _variable(
        "PUNCHCARD_ACCESS_LOG",
        "on",
        one_of("on", "off"),
        "Whether the API logs a line for every request. `punchcard up` leaves it off unless it is set.",
    )
    metrics: Literal["off", "local", "on"] = _variable(
        "PUNCHCARD_METRICS",
        "local",
        one_of("off", "local", "on"),
        "Whom the API answers /metrics, without a key: nobody, callers on the same machine, or everybody.",
    )
    worker_metrics_port: int = _variable(
        "PUNCHCARD_WORKER_METRICS_PORT",
        0,
        whole(0, 65535),
        "The port on which a worker answers /metrics and /healthz, to everybody; 0: it listens nowhere.",
    )
    otlp_endpoint: str | None = _variable(
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        None,
        url("http", "https"),
        "The OpenTelemetry collector that traces are sent to, by OTLP over HTTP. Without it: no traces.",
    )
    sweep_seconds: float = _variable(
        "PUNCHCARD_SWEEP_SECONDS",
        1.0,
        seconds(0.05, 60),
        "How often a worker looks for work that no wake-up told it of.",
    )
    metadata_bytes: int = _variable(
        "PUNCHCARD_METADATA_BYTES",
        32_768,
        whole(0, 1_048_576),
        "The largest encoded metadata of one event or pass.",
    )
    body_bytes: int = _variable(
        "PUNCHCARD_BODY_BYTES", 4_194_304, whole(1_024, 67_108_864), "The largest body of a request without a file."
    )
    upload_bytes: int = _variable(
        "PUNCHCARD_UPLOAD_BYTES", 1_073_741_824, whole(1_024, 1 << 40), "The largest body of a request with a file."
    )
    max_tokens: int = _variable(
        "PUNCHCARD_MAX_TOKENS", 10_000, whole(100, 1_000_000), "The most tokens that a document may have."
    )
    max_depth: int = _variable("PUNCHCARD_MAX_DEPTH", 20, whole(1, 100), "How deep the fields of a document may nest.")
    max_fields: int = _variable(
        "PUNCHCARD_MAX_FIELDS", 2_000, whole(10, 100_000), "The most fields that a document may select."
    )
    max_aliases: int = _variable(
        "PUNCHCARD_MAX_ALIASES", 100, whole(0, 100_000), "The most aliases that a document may use."
    )
    max_directives: int = _variable(
        "PUNCHCARD_MAX_DIRECTIVES", 100, whole(0, 100_000), "The most directives that a document may use."
    )
    max_cost: int = _variable(
        "PUNCHCARD_MAX_COST",
        100_000,
        whole(1_000, 1_000_000_000),
        "The most that one operation may cost: one point for each object that it may answer or record.",
    )
    budget_points: int = _variable(
        "PUNCHCARD_BUDGET_POINTS",
        10_000_000,
        whole(0, 1_000_000_000),
        "The most points that one API key can have saved up; 0: keys have no budget.",
    )
    budget_per_second: int = _variable(
        "PUNCHCARD_BUDGET_PER_SECOND",
        100_000,
        whole(1, 1_000_000_000),
        "The points that come back to every API key each second.",
    )
    operation_seconds: float = _variable(
        "PUNCHCARD_OPERATION_SECONDS", 30.0, seconds(0.1, 3_600), "How long a query or a mutation may take."
    )
    max_sockets: int = _variable(
        "PUNCHCARD_MAX_SOCKETS", 5_000, whole(1, 1_000_000), "The most WebSockets open at one API process."
    )
    max_sockets_per_key: int = _variable(
        "PUNCHCARD_MAX_SOCKETS_PER_KEY", 2_000, whole(1, 1_000_000), "The most of them that one API key may open."
    )
    max_subscriptions: int = _variable(
        "PUNCHCARD_MAX_SUBSCRIPTIONS", 10_000, whole(1, 1_000_000), "The most subscriptions at one API process."
    )
    max_subscriptions_per_key: int = _variable(
        "PUNCHCARD_MAX_SUBSCRIPTIONS_PER_KEY", 5_000, whole(1, 1_000_000), "The most of them that one API key may have."
    )
    introspection: Literal["on", "off"] = _variable(
        "PUNCHCARD_INTROSPECTION",
        "on",
        one_of("on", "off"),
        "Whether callers with a key may read the schema and are told names like the one they mistyped; others never are.",
    )
    trusted_documents: Path | None = _variable(
        "PUNCHCARD_TRUSTED_DOCUMENTS",
        None,
        Path,
        "A manifest of trusted documents (Apollo's, Relay's or graphql-codegen's), or a folder of them.",
    )
    documents: Literal["any", "trusted"] = _variable(
        "PUNCHCARD_DOCUMENTS",
        "any",
        one_of("any", "trusted"),
        "Which documents are run: any, or only trusted ones, except for keys with the scope `admin`.",
    )
    max_batch: int = _variable(
        "PUNCHCARD_MAX_BATCH",
        1,
        whole(1, 100),
        "The most operations that one HTTP request may carry in a list; 1: no lists.",
    )
    cors_origins: tuple[str, ...] = _variable(
        "PUNCHCARD_CORS_ORIGINS", (), origins, "Browser origins allowed to call the API, separated by commas."
    )
    egress_allow: tuple[str, ...] = _variable(
        "PUNCHCARD_EGRESS_ALLOW",
        (),
        places,
        "Addresses, networks and host names that may be fetched from, and webhooks sent to, although they are not public;"
        " separated by commas.",
    )

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Settings:
        """The settings that the variables describe; an absent or empty variable leaves its default.

        Raises ConfigError naming every variable that cannot be used, not only the first.
        """
        values: dict[str, object] = {}
        problems: list[str] = []
        for field in dataclasses.fields(cls):
            text = environ.get(field.metadata["name"], "").strip()
            if not text:
                continue
            try:
                values[field.name] = field.metadata["parse"](text)
            except ValueError as error:
                problems.append(f"{field.metadata['name']} {error}; it is {text!r}.")
        if problems:
            raise ConfigError(problems)
        return cls(**values)  # type: ignore[arg-type]  # each value comes from its own field's parser

    def to_env(self) -> dict[str, str]:
        """Every variable, written so that `from_env` builds equal settings; what is not set is empty."""
        return {field.metadata["name"]: _written(getattr(self, field.name)) for field in dataclasses.fields(self)}


def variables() -> list[Variable]:
    """Every variable that `Settings.from_env` reads, in the order of the fields."""
    return [
        Variable(field.metadata["name"], _written(field.default), field.metadata["says"])
        for field in dataclasses.fields(Settings)
    ]


def unknown(environ: Mapping[str, str]) -> dict[str, str | None]:
    """The variables of the environment that look like settings and are none, each with the nearest that is one, if any."""
    # Without the prefix they all share, which would make any two of them alike.
    known = {variable.name.removeprefix(PREFIX): variable.name for variable in variables()}
    strangers = [name for name in sorted(environ) if name.startswith(PREFIX) and name not in known.values()]
    nearest = {name: difflib.get_close_matches(name.removeprefix(PREFIX), known, n=1) for name in strangers}
    return {name: known[found[0]] if found else None for name, found in nearest.items()}


def _written(value: object) -> str:
    match value:
        case None:
            return ""
        case tuple():
            return ",".join(value)
        case float():
            return f"{value:g}"
        case _:
            return str(value)
