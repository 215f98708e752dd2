"""`python -m tests.crash`: the kill harness by hand, for as long as one likes."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path

import click

from .harness import run


@click.command()
@click.option("--seconds", default=60.0, show_default=True, help="How long everything is killed.")
@click.option("--seed", default=1, show_default=True, help="Decides who dies when; the same again is the same plan.")
@click.option("--folder", type=click.Path(path_type=Path), help="Where data and logs stay. [default: thrown away]")
def main(seconds: float, seed: int, folder: Path | None) -> None:
    """Kill API, workers, Redis and the store at random under load, then recompute everything.

    Exit status 1 when something was lost, doubled, out of order or wrong.
    """
    with tempfile.TemporaryDirectory() as thrown_away:
        found = asyncio.run(
            run(folder or Path(thrown_away), seconds, seed, say=lambda line: click.echo(line, err=True))
        )
    for name, value in vars(found).items():
        click.echo(f"{name:24}{dict(value) if name == 'faults' else value}")
    sys.exit(bool(found.problems))


if __name__ == "__main__":
    main()
