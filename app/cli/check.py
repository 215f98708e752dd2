"""The command `punchcard check`: it verifies that the stored data fits together."""

from __future__ import annotations

import asyncio
import sys

import click

from app.config.settings import Settings
from app.resources import open_resources
from app.store.operations.consistency import ALL_SLOTS, ConsistencyCheck, Finding

from .settings import say, with_settings


@click.command()
@with_settings
def check(settings: Settings) -> None:
    """Check that the stored data fits together, and print each finding with its workspace and id.

    The command reads and changes nothing. It may run while the installation works: it reads in small parts, and looks
    again at what moves before it prints a finding.

    The database must have the indexes of this version. The positions of each workspace's log must have no hole. Each
    pending event must lie in the slot of its pass, and the pass must exist. The events that the last fold of a pass
    counted must exist. Its activities must be numbered without a gap, and must agree with its memberships.

    The exit status is 1 if there is a finding. Run it after a restore, and before you report a bug.

    \b
    Examples:
      punchcard check
      punchcard check > findings.txt
    """
    if asyncio.run(_check(settings)):
        sys.exit(1)


async def _check(settings: Settings) -> int:
    findings: list[Finding] = []

    def report(finding: Finding) -> None:
        findings.append(finding)
        click.echo(finding)

    async with open_resources(settings) as resources:
        checks = ConsistencyCheck(resources.db, resources.in_chunk)
        await checks.check_indexes(report)
        positions, workspaces = 0, await checks.workspaces()
        for number, workspace_id in enumerate(workspaces, 1):
            positions += await checks.check_log(workspace_id, report)
            _show(f"logs of {number} of {len(workspaces)} workspaces, {positions} activities")
        pending = sum([await checks.check_pending(slot, report) for slot in ALL_SLOTS])
        passes = await checks.check_passes(report, lambda count: _show(f"{count} passes"))
    say(f"{positions} activities, {pending} pending events and {passes} passes were checked.")
    say(f"{len(findings)} findings." if findings else "No findings.")
    return len(findings)


def _show(progress: str) -> None:
    """Show the progress in one line of a terminal; print nothing elsewhere."""
    if sys.stderr.isatty():
        click.echo(f"\r\x1b[K{progress}", nl=False, err=True)
