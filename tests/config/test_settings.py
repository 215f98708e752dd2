"""Settings read from environment variables: defaults, parsing, errors and unknown variables."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from app.config.settings import ConfigError, Settings, variables
from app.config.unknown_variables import CLIENT_VARIABLES, unknown


def test_settings_without_variables_have_their_defaults() -> None:
    assert Settings.from_env({}) == Settings()


def test_empty_variable_counts_as_absent() -> None:
    assert Settings.from_env({"PUNCHCARD_PORT": "", "MONGODB_URI": " "}) == Settings()


def test_variables_are_parsed_into_the_types_of_the_settings() -> None:
    settings = Settings.from_env(
        {
            "MONGODB_URI": "mongodb://db.example/?replicaSet=rs0",
            "REDIS_URL": "redis://cache.example:6379/1",
            "PUNCHCARD_DATA_DIR": "/var/lib/punchcard",
            "PUNCHCARD_PORT": "80",
            "PUNCHCARD_CLOCK": "MANUAL",
            "PUNCHCARD_SWEEP_SECONDS": "0.25",
            "PUNCHCARD_CORS_ORIGINS": "https://shop.example, http://localhost:5173",
        }
    )
    assert settings.data_dir == Path("/var/lib/punchcard")
    assert settings.port == 80
    assert settings.clock == "manual"
    assert settings.sweep_seconds == 0.25
    assert settings.cors_origins == ("https://shop.example", "http://localhost:5173")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("MONGODB_URI", "localhost:27017"),
        ("REDIS_URL", "http://localhost"),
        ("PUNCHCARD_DATABASE", "a.b"),
        ("PUNCHCARD_DATABASE", "x" * 39),
        ("PUNCHCARD_PORT", "0"),
        ("PUNCHCARD_PORT", "65536"),
        ("PUNCHCARD_PORT", "eighty"),
        ("PUNCHCARD_CLOCK", "sundial"),
        ("PUNCHCARD_FUTURE_TOLERANCE_SECONDS", "-1"),
        ("PUNCHCARD_SWEEP_SECONDS", "nan"),
        ("PUNCHCARD_SWEEP_SECONDS", "0"),
        ("PUNCHCARD_LOG_LEVEL", "loud"),
        ("PUNCHCARD_CORS_ORIGINS", "shop.example"),
        ("PUNCHCARD_EGRESS_ALLOW", "hooks.internal:0"),
        ("PUNCHCARD_EGRESS_ALLOW", "hooks.internal:65536"),
        ("PUNCHCARD_EGRESS_ALLOW", ":80"),
        ("PUNCHCARD_EGRESS_ALLOW", "10.1.0.0/99:80"),
        ("PUNCHCARD_METRICS", "yes"),
        ("PUNCHCARD_ACCESS_LOG", "true"),
        ("PUNCHCARD_WORKER_METRICS_PORT", "-1"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "localhost:4318"),
    ],
)
def test_invalid_variable_is_refused_with_its_name(name: str, text: str) -> None:
    with pytest.raises(ConfigError) as refused:
        Settings.from_env({name: text})
    assert refused.value.problems[0].startswith(f"{name} must ")


def test_all_invalid_variables_are_listed_in_one_error() -> None:
    with pytest.raises(ConfigError) as refused:
        Settings.from_env({"PUNCHCARD_PORT": "x", "PUNCHCARD_CLOCK": "y", "PUNCHCARD_HOST": "0.0.0.0"})
    assert [problem.split()[0] for problem in refused.value.problems] == ["PUNCHCARD_PORT", "PUNCHCARD_CLOCK"]


def test_settings_written_as_variables_are_read_back_equal() -> None:
    settings = dataclasses.replace(
        Settings(),
        mongodb_uri="mongodb://127.0.0.1:20000/",
        data_dir=Path("elsewhere"),
        port=9,
        sweep_seconds=2.5,
        cors_origins=("https://a.example", "https://b.example"),
    )
    assert Settings.from_env(settings.to_env()) == settings


def test_each_variable_has_a_description_and_its_default_is_valid() -> None:
    for variable in variables():
        assert variable.says.endswith(".")
    assert Settings.from_env({each.name: each.default for each in variables()}) == Settings()


def test_variable_that_is_no_setting_is_found_with_the_nearest_setting() -> None:
    names = ("PUNCHCARD_PORTS", "PUNCHCARD_REDIS_URL", "PUNCHCARD_ZZZZZZ", "PUNCHCARD_PORT", "PATH")
    assert unknown(dict.fromkeys(names, "")) == {
        "PUNCHCARD_PORTS": "PUNCHCARD_PORT",
        "PUNCHCARD_REDIS_URL": "REDIS_URL",
        "PUNCHCARD_ZZZZZZ": None,
    }


def test_variables_of_the_command_line_client_count_as_settings() -> None:
    assert unknown(dict.fromkeys(CLIENT_VARIABLES, "value")) == {}
