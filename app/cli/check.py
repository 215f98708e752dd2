"""The command `punchcard check`: it verifies that the stored data fits together."""

from __future__ import annotations

import asyncio
import sys

import click

from app.config.settings import Settings
from app.resources import open_resources
from app.store.operations.active_count_check import check_active_counts
from app.store.operations.consistency import ALL_SLOTS, ConsistencyCheck, Finding
from app.store.operations.history_check import HistoryCheck
from app.store.operations.recomputation import DeepCheck, Recomputed

from .database import require_workspaces
from .settings import quantity, say, with_settings


@click.command()
@click.option(
    "--deep", is_flag=True, help="Also read every event, and compute each pass anew. It takes long, but little memory."
)
@with_settings
def check(settings: Settings, deep: bool) -> None:
    """Check that the stored data fits together, and print each finding with its workspace and id.

    The command reads and changes nothing. It may run while the installation works: it reads in small parts, and looks
    again at what moves before it prints a finding.

    The database must have the indexes of this version. The positions of each workspace's log must have no hole. Each
    pending event must lie in the slot of its pass, and the pass must exist. The events that the last fold of a pass
    counted must exist. Its activities must be numbered without a gap, and must agree with its memberships. The events of a
    parked pass must wait where its release finds them. What follows outside passes must not lie beyond the log.

    With --deep, the aggregates, points, profile, measures and sealed months of each pass must be those that its events
    give. No event may be parked whose pass is not. Of a pass with more than 50,000 events, only the aggregates and the
    months are compared. The stored numbers of active passes must be those that the passes give. The history of segments must
    be what the activity logs tell.

    The exit status is 1 if there is a finding. Run it after a restore, and before you report a bug.

    \b
    Examples:
      punchcard check
      punchcard check > findings.txt
      punchcard check --deep
    """
    if asyncio.run(_check(settings, deep)):
        sys.exit(1)


async def _check(settings: Settings, deep: bool) -> int:
    findings: list[Finding] = []

    def report(finding: Finding) -> None:
        findings.append(finding)
        click.echo(finding)

    # A read of all ids may take longer than the limit of other reads.
    async with open_resources(settings, has_socket_timeout=False) as resources:
        checks = ConsistencyCheck(resources.db, resources.in_chunk)
        await require_workspaces(resources)
        await checks.check_indexes(report)
        positions, parked_effects, workspaces = 0, 0, await checks.workspaces()
        for number, workspace_id in enumerate(workspaces, 1):
            positions += await checks.check_log(workspace_id, report)
            parked_effects += await checks.check_reactions(workspace_id, report)
            _show(f"logs of {number} of {len(workspaces)} workspaces, {positions} activities")
        pending = sum([await checks.check_pending(slot, report) for slot in ALL_SLOTS])
        passes = await checks.check_passes(report, lambda count: _show(f"{count} passes"))
        parked, parked_events = await checks.check_parked(report)
        if deep:
            done = await DeepCheck(resources.db, resources.in_chunk).check(report, _show_recomputed)
            for finding in await check_active_counts(resources.db, workspaces, resources.in_chunk):
                report(finding)
            intervals = await HistoryCheck(resources.db, resources.in_chunk).check(workspaces, report)
    checked = (
        quantity(positions, "activity", "activities"),
        quantity(pending, "pending event"),
        quantity(passes, "pass", "passes"),
    )
    say("Checked: {}, {} and {}.".format(*checked))
    if parked:
        say(f"{parked} passes are parked, with {parked_events} events. `punchcard parked` lists them.")
    if parked_effects:
        say(
            f"{parked_effects} effects outside passes were not made. The query `parkedEffects` lists them."
            " `punchcard parked` lists those that failed for 75 hours."
        )
    if deep:
        say(f"{done.passes} passes were computed anew, from {done.events} events.")
        say(f"{quantity(intervals, 'stay')} of passes in segments were compared with the logs.")
        if done.too_long:
            say(f"{done.too_long} passes have too many events: only their aggregates and months were compared.")
        if done.moving:
            say(f"{done.moving} passes changed at each look, and were not compared. Run the check again.")
    say(f"{quantity(len(findings), 'finding')}." if findings else "No findings.")
    return len(findings)


def _show_recomputed(done: Recomputed) -> None:
    _show(f"{done.passes} passes computed anew, {done.events} events")


def _show(progress: str) -> None:
    """Show the progress in one line of a terminal; print nothing elsewhere."""
    if sys.stderr.isatty():
        click.echo(f"\r\x1b[K{progress}", nl=False, err=True)
