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


PASSWORDS = ("MONGO_PASSWORD", "REDIS_PASSWORD")
"""Variables of docker-compose.yml that no file of the repository gives."""
SERVICES = ("migrate", "api", "worker", "proxy", "mongo", "redis")


def value_without_override(value: object) -> str:
    """Return the value that compose passes if its own environment sets only the passwords."""
    text = str(value)
    for name in PASSWORDS:
        text = text.replace(f"${{{name}}}", "hush")
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text)


@pytest.mark.parametrize("service", ["migrate", "api", "worker"])
def test_compose_names_every_setting_and_no_other(service: str) -> None:
    named = set(COMPOSE["services"][service]["environment"]) - OF_UVICORN
    assert named == {variable.name for variable in variables()}


@pytest.mark.parametrize("service", ["migrate", "api", "worker"])
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
            assert variable in (name, *PASSWORDS)


def test_settings_accept_the_values_that_compose_passes() -> None:
    settings = Settings.from_env(
        {n: value_without_override(v) for n, v in COMPOSE["services"]["api"]["environment"].items()}
    )
    assert settings.mongodb_uri == "mongodb://punchcard:hush@mongo:27017/?replicaSet=rs0&authSource=admin"
    assert settings.redis_url == "redis://:hush@redis:6379/0"


@pytest.mark.parametrize("name", SERVICES)
def test_each_service_of_compose_has_few_rights_and_limited_resources(name: str) -> None:
    assert set(COMPOSE["services"]) == set(SERVICES)
    service = COMPOSE["services"][name]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["read_only"] is True
    assert service["pids_limit"] > 0
    assert service["mem_limit"]
    assert "privileged" not in service
    image = service["image"]
    assert image == "punchcard" or re.fullmatch(r"[a-z]+:\d+\.\d+\.\d+", image), image


def test_proxy_of_compose_reaches_neither_MongoDB_nor_Redis_and_both_want_passwords() -> None:
    services, networks = COMPOSE["services"], COMPOSE["networks"]
    assert services["proxy"]["networks"] == ["front"]
    assert services["mongo"]["networks"] == services["redis"]["networks"] == ["back"]
    assert networks["back"] == {"internal": True}
    for name in SERVICES:
        for published in services[name].get("ports", ()):
            assert name == "proxy"
            assert published.startswith("127.0.0.1:")
    assert "${MONGO_PASSWORD:?" in services["mongo"]["environment"]["MONGO_INITDB_ROOT_PASSWORD"]
    assert "${REDIS_PASSWORD:?" in services["redis"]["environment"]["REDISCLI_AUTH"]
    assert any("requirepass" in part for part in services["redis"]["command"])
    assert any("maxmemory 256mb" in part for part in services["redis"]["command"])


def test_api_of_compose_trusts_forwarded_addresses_of_the_proxy_network_only() -> None:
    [subnet] = COMPOSE["networks"]["front"]["ipam"]["config"]
    allowed = value_without_override(COMPOSE["services"]["api"]["environment"]["FORWARDED_ALLOW_IPS"])
    assert allowed == subnet["subnet"]


def test_proxy_of_compose_limits_bodies_headers_and_their_time() -> None:
    proxy = COMPOSE["configs"]["proxy"]["content"]
    for limit in ("max_size 1100MB", "read_header 10s", "read_body 15m", "max_header_size 32KB"):
        assert limit in proxy


def test_image_has_the_licence_and_the_readme_that_the_package_names() -> None:
    copied = (ROOT / "Dockerfile").read_text()
    allowed = (ROOT / ".dockerignore").read_text().split()
    for name in ("LICENSE", "README.md", "pyproject.toml"):
        assert name in copied
        assert f"!{name}" in allowed
    assert re.search(r"^FROM python:\d+\.\d+\.\d+-", copied)


def test_api_and_worker_scale_separately() -> None:
    services = COMPOSE["services"]
    assert services["api"]["command"] == ["api"]
    assert services["worker"]["command"] == ["worker"]
    # A service with a published port or a fixed name could not run twice.
    for name in ("api", "worker"):
        assert not {"ports", "container_name"} & set(services[name])


def test_api_and_worker_of_compose_start_after_one_migration() -> None:
    services = COMPOSE["services"]
    assert (services["migrate"]["command"], services["migrate"]["restart"]) == (["migrate"], "no")
    assert set(services["migrate"]["depends_on"]) == {"mongo", "redis"}
    for name in ("api", "worker"):
        assert services[name]["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}


def test_only_the_settings_read_the_environment() -> None:
    readers = {
        path.relative_to(ROOT).as_posix()
        for folder in ("app", "workers")
        for path in (ROOT / folder).rglob("*.py")
        if re.search(r"os\.(environ|getenv)", path.read_text())
    }
    # These modules pass the whole environment to `Settings.from_env` or to a child process.
    assert readers <= {"app/api/asgi.py", "app/cli/serve.py", "app/cli/settings.py", "workers/main.py"}
