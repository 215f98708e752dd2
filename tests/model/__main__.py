"""`python -m tests.model`: many more runs than a test has time for, by hand."""

from __future__ import annotations

import sys

import click

from .world import run


@click.command()
@click.option("--runs", default=1_000, show_default=True, help="How many seeds are tried.")
@click.option(
    "--seed", default=1, show_default=True, help="The first seed; with PYTHONHASHSEED=0 a run can be repeated."
)
@click.option("--late", is_flag=True, help="Some events are recorded long after they occurred.")
@click.option("--merging", is_flag=True, help="Some passes are merged.")
def main(runs: int, seed: int, late: bool, merging: bool) -> None:
    """Run the model over many interleavings. Exit status 1 where the protocol was broken; says by which seeds."""
    broken = deaths = flips = 0
    for number in range(seed, seed + runs):
        try:
            seen = run(number, late=late, merging=merging)
        except AssertionError as error:
            broken += 1
            click.echo(f"seed {number}: {error}")
        else:
            deaths += seen.deaths
            flips += seen.flips
    click.echo(f"{runs} runs, {deaths} deaths, {flips} flips, {broken} broken")
    sys.exit(bool(broken))


if __name__ == "__main__":
    main()
