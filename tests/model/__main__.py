"""`python -m tests.model`: many more runs than a test has time for."""

from __future__ import annotations

import sys

import click

from .schedule import Odds
from .world import run


@click.command()
@click.option("--runs", default=1_000, show_default=True, help="How many seeds to run.")
@click.option(
    "--seed", default=1, show_default=True, help="The first seed; set PYTHONHASHSEED=0 to make a run repeatable."
)
@click.option("--late", is_flag=True, help="Some events are recorded long after they occurred.")
@click.option("--merging", is_flag=True, help="Some passes are merged.")
@click.option("--rules", is_flag=True, help="Rules give points for purchases, and refunds take them back.")
@click.option("--guarded", is_flag=True, help="Deductions of points are guarded, and corrections may be declined.")
@click.option("--lagging", is_flag=True, help="Half of the stages begin with reads that are older than their writes.")
@click.option("--sealing", is_flag=True, help="Workers seal rollups, and a reader checks rows of counted events.")
@click.option("--customers", is_flag=True, help="A reader checks the customers of exact answers.")
def main(runs: int, seed: int, lagging: bool, **options: bool) -> None:
    """Run the model over many interleavings. Exit status 1 if the protocol was broken; the seeds are printed."""
    broken = crashes = transitions = 0
    odds = Odds(lagging_reads=0.5) if lagging else None
    for number in range(seed, seed + runs):
        try:
            stats = run(number, odds, **options)
        except AssertionError as error:
            broken += 1
            click.echo(f"seed {number}: {error}")
        else:
            crashes += stats.crashes
            transitions += stats.transitions
    click.echo(f"{runs} runs, {crashes} crashes, {transitions} transitions, {broken} broken")
    sys.exit(bool(broken))


if __name__ == "__main__":
    main()
