"""Settings in docker-compose.yml, and the modules that read the environment."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.config.settings import Settings, variables

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
DIFFERENT_IN_CONTAINERS = {
    "MONGODB_URI", "REDIS_URL", "PUNCHCARD_DATA_DIR", "PUNCHCARD_HOST", "PUNCHCARD_PORT",
}  # fmt: skip
"""Settings whose defaults are for a single machine."""

OF_UVICORN = {"FORWARDED_ALLOW_IPS"}
"""Variables that Uvicorn reads, not Punchcard."""


def value_without_override(value: object) -> str:
    """Return the value that compose passes if its own environment does not override it."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", str(value))


@pytest.mark.parametrize("service", ["api", "worker"])
def test_compose_names_every_setting_and_no_other(service: str) -> None:
    named = set(COMPOSE["services"][service]["environment"]) - OF_UVICORN
    assert named == {variable.name for variable in variables()}


@pytest.mark.parametrize("service", ["api", "worker"])
def test_compose_passes_the_defaults_of_the_code(service: str) -> None:
    passed = {
        name: value_without_override(value) for name, value in COMPOSE["services"][service]["environment"].items()
    }
    defaults = {variable.name: variable.default for variable in variables()}
    assert {n: v for n, v in passed.items() if n not in DIFFERENT_IN_CONTAINERS | OF_UVICORN} == {
        n: v for n, v in defaults.items() if n not in DIFFERENT_IN_CONTAINERS
    }


def test_each_compose_variable_is_overridden_by_its_own_name() -> None:
    for name, value in COMPOSE["services"]["api"]["environment"].items():
        for variable in re.findall(r"\$\{(\w+)", str(value)):
            assert variable == name


def test_settings_accept_the_values_that_compose_passes() -> None:
    settings = Settings.from_env(
        {n: value_without_override(v) for n, v in COMPOSE["services"]["api"]["environment"].items()}
    )
    assert settings.mongodb_uri == "mongodb://mongo:27017/?replicaSet=rs0"
    assert settings.redis_url == "redis://redis:6379/0"


def test_api_and_worker_scale_separately() -> None:
    services = COMPOSE["services"]
    assert services["api"]["command"] == ["api"]
    assert services["worker"]["command"] == ["worker"]
    # A service with a published port or a fixed name could not run twice.
    for name in ("api", "worker"):
        assert not {"ports", "container_name"} & set(services[name])


def test_only_the_settings_read_the_environment() -> None:
    readers = {
        path.relative_to(ROOT).as_posix()
        for folder in ("app", "workers")
        for path in (ROOT / folder).rglob("*.py")
        if re.search(r"os\.(environ|getenv)", path.read_text())
    }
    # These modules pass the whole environment to `Settings.from_env` or to a child process.
    assert readers <= {"app/api/asgi.py", "app/cli/serve.py", "app/cli/settings.py", "workers/main.py"}
