"""`python -m tests.crash`: the crash harness, run by hand for any time."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path

import click

from .harness import run


@click.command()
@click.option("--seconds", default=60.0, show_default=True, help="How long processes are killed.")
@click.option("--seed", default=1, show_default=True, help="Decides what is killed when; a seed gives the same plan.")
@click.option("--folder", type=click.Path(path_type=Path), help="Where to keep data and logs. [default: deleted]")
def main(seconds: float, seed: int, folder: Path | None) -> None:
    """Kill APIs, workers, Redis and the store at random under load, then recompute everything.

    Exit status 1 if something was lost, doubled, out of order or wrong.
    """
    with tempfile.TemporaryDirectory() as temporary:
        report = asyncio.run(
            run(folder or Path(temporary), seed, seconds=seconds, say=lambda line: click.echo(line, err=True))
        )
    for name, value in vars(report).items():
        click.echo(f"{name:24}{dict(value) if name == 'faults' else value}")
    sys.exit(bool(report.problems))


if __name__ == "__main__":
    main()
