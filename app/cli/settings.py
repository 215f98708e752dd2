"""What the commands share: settings from the environment and the command line, and how errors reach the user."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from app.config.settings import ConfigError, Settings, unknown
from app.domain.errors import PunchcardError, Unavailable
from app.local.processes import StartError
from app.store.operations.indexes import SlotsChanged


class Commands(click.Group):
    """A group whose commands end with a message and status 1 for every failure that has a name."""

    def invoke(self, ctx: click.Context) -> Any:
        """What the command returns; raises only what click prints itself, or a bug."""
        try:
            return super().invoke(ctx)
        except Unavailable as error:
            raise click.ClickException(
                f"The {error.dependency} did not answer. Does it run, and is its address right?"
            ) from error
        except (ConfigError, PunchcardError, SlotsChanged, StartError) as error:
            raise click.ClickException(str(error)) from error


def with_settings(command: Callable[..., Any]) -> Callable[..., Any]:
    """The command with an option --data-dir, and `settings` from the environment."""

    @click.option(
        "--data-dir",
        type=click.Path(file_okay=False, path_type=Path),
        help="The folder of the local data.  [PUNCHCARD_DATA_DIR, default .punchcard]",
    )
    @functools.wraps(command)
    def run(*, data_dir: Path | None, **options: Any) -> Any:
        settings = overridden(Settings.from_env(os.environ), data_dir=data_dir)
        for name, nearest in unknown(os.environ).items():
            meant = f"; did you mean {nearest}?" if nearest else "."
            click.echo(f"Warning: {name} is no setting and does nothing{meant}", err=True)
        return command(settings=settings, **options)

    return run


def with_address(command: Callable[..., Any]) -> Callable[..., Any]:
    """The command with the options --host and --port, both None where they are not given."""
    host = click.option("--host", help="The address to listen on.  [PUNCHCARD_HOST, default 127.0.0.1]")
    ports = click.IntRange(1, 65_535)
    port = click.option("--port", type=ports, help="The port to listen on.  [PUNCHCARD_PORT, default 8000]")
    decorated: Callable[..., Any] = host(port(command))
    return decorated


def overridden(settings: Settings, **given: Any) -> Settings:
    """The settings, with those given on the command line in place of the environment's; None is not given."""
    return dataclasses.replace(settings, **{name: value for name, value in given.items() if value is not None})


def environment(settings: Settings) -> dict[str, str]:
    """This process's environment, with the variables from which a child builds exactly these settings, and no warnings."""
    strangers = unknown(os.environ)
    return {name: text for name, text in os.environ.items() if name not in strangers} | settings.to_env()
