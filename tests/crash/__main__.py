"""`python -m tests.crash`: the crash harness, run by hand for any time."""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import click

from .harness import run
from .processes import Plan


@click.command()
@click.option("--seconds", default=60.0, show_default=True, help="How long processes are killed.")
@click.option("--seed", default=1, show_default=True, help="Decides what is killed when; a seed gives the same plan.")
@click.option("--apis", default=2, show_default=True, help="API processes.")
@click.option("--workers", default=3, show_default=True, help="Worker processes.")
@click.option("--store-faults", is_flag=True, help="Also let the store fail, answer late and show old states.")
@click.option("--kills/--no-kills", default=True, show_default=True, help="Kill and suspend processes.")
@click.option("--folder", type=click.Path(path_type=Path), help="Where to keep data and logs. [default: deleted]")
def main(
    seconds: float, seed: int, apis: int, workers: int, store_faults: bool, kills: bool, folder: Path | None
) -> None:
    """Kill APIs, workers, Redis and the store at random under load, then recompute everything.

    Exit status 1 if something was lost, doubled, out of order or wrong.
    """
    plan = Plan(seed, seconds, apis=apis, workers=workers, has_kills=kills, has_store_faults=store_faults)
    began = time.monotonic()

    def say(line: str) -> None:
        click.echo(f"{time.monotonic() - began:6.1f} {line}", err=True)

    with tempfile.TemporaryDirectory() as temporary:
        report = asyncio.run(run(folder or Path(temporary), plan, say=say))
    for name, value in vars(report).items():
        if isinstance(value, list):
            for each in value or ("none",):
                click.echo(f"{name:24}{each}")
        else:
            click.echo(f"{name:24}{dict(value) if isinstance(value, Counter) else value}")
    sys.exit(bool(report.problems))


if __name__ == "__main__":
    main()
