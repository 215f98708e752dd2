"""Shared parts of the commands: settings from the environment and from options, and errors as messages."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from app.config.settings import ConfigError, Settings
from app.config.unknown_variables import unknown
from app.domain.errors import PunchcardError, Unavailable
from app.domain.values.instants import EARLIEST, LATEST
from app.local.processes import StartError
from app.store.operations.indexes import SlotsChanged


class Commands(click.Group):
    """Group of commands. Each failure with an error class ends the command with a message and status 1."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command and return its result. Raises only errors of click, which click prints, and bugs."""
        try:
            return super().invoke(ctx)
        except Unavailable as error:
            raise click.ClickException(error.describe()) from error
        except (ConfigError, PunchcardError, SlotsChanged, StartError) as error:
            raise click.ClickException(str(error)) from error
        except OSError as error:
            if error.filename is None:
                raise
            raise click.ClickException(
                f"{error.filename} cannot be used: {error.strerror}. Check the path and your permissions."
            ) from error


def with_settings(command: Callable[..., Any]) -> Callable[..., Any]:
    """Return the command with the option --data-dir and with `settings` from the environment.

    Each PUNCHCARD_ variable that Punchcard does not read causes a warning.
    """

    @click.option(
        "--data-dir",
        type=click.Path(file_okay=False, path_type=Path),
        help="The folder for the data of the local servers.  [PUNCHCARD_DATA_DIR, default .punchcard]",
    )
    @functools.wraps(command)
    def run(*, data_dir: Path | None, **options: Any) -> Any:
        settings = override(Settings.from_env(os.environ), data_dir=data_dir)
        for name, nearest in unknown(os.environ).items():
            suggestion = f" Did you mean {nearest}?" if nearest else ""
            click.echo(f"Warning: {name} is not a setting and has no effect.{suggestion}", err=True)
        return command(settings=settings, **options)

    return run


def quantity(number: int, noun: str, plural: str = "") -> str:
    """Return a number with its noun, such as `1 pass` or `2 passes`. The plural ends in `s` unless it is given."""
    return f"{number} {noun if number == 1 else plural or f'{noun}s'}"


def say(text: str, *, err: bool = True) -> None:
    """Print the text. Ignore an output that is closed or full: it must not end the process."""
    with contextlib.suppress(OSError, ValueError):
        click.echo(text, err=err)


def read_instant(_ctx: click.Context, _option: click.Parameter, text: str | None) -> datetime | None:
    """Return the instant of an option or argument in ISO 8601, which is UTC without an offset. Raises BadParameter."""
    if text is None:
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise click.BadParameter(
            f"{text!r} is not an instant. Write it like 2025-01-01 or 2025-01-01T09:00:00Z"
        ) from None
    aware = at if at.tzinfo else at.replace(tzinfo=UTC)
    if not EARLIEST <= aware <= LATEST:
        raise click.BadParameter(f"{text!r} is not in the years 1900 to 2199")
    return aware


def with_address(command: Callable[..., Any]) -> Callable[..., Any]:
    """Return the command with the options --host and --port; both are None if not given."""
    host = click.option("--host", help="The address to listen on.  [PUNCHCARD_HOST, default 127.0.0.1]")
    port_range = click.IntRange(1, 65_535)
    port = click.option("--port", type=port_range, help="The port to listen on.  [PUNCHCARD_PORT, default 8000]")
    decorated: Callable[..., Any] = host(port(command))
    return decorated


def override(settings: Settings, **given: Any) -> Settings:
    """Return the settings with the given values in place of those from the environment. None means not given."""
    return dataclasses.replace(settings, **{name: value for name, value in given.items() if value is not None})


def child_environment(settings: Settings) -> dict[str, str]:
    """Return the environment for a child process, from which it builds exactly these settings, without warnings."""
    unknown_names = unknown(os.environ)
    return {name: text for name, text in os.environ.items() if name not in unknown_names} | settings.to_env()
