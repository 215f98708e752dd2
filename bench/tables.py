"""Prints what was measured, and keeps it for `--json`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from .timing import Processes, Side


class Report:
    """Everything measured in this run, in order."""

    def __init__(self, console: Console, processes: Processes) -> None:
        self.console = console
        self.processes = processes
        self.rows: list[dict[str, Any]] = []

    def add(self, title: str, sides: Sequence[Side], unit: str, target: float | None = None) -> None:
        """One table: every side against the first, by the run in the middle; `target` is for the second side."""
        target_text = "" if target is None else f", target {target:g}"
        table = Table(title=f"{title}{target_text}", title_justify="left", title_style="bold")
        names = self.processes.names
        for heading in (
            "",
            "p50 ms",
            "mean ms",
            "p99 ms",
            f"{unit}/s",
            "ratio",
            *(f"{name} CPU ms/{unit}" for name in names),
        ):
            table.add_column(heading, justify="right" if heading else "left")
        first = sides[0]
        for side in sides:
            ratio = side.per_second / first.per_second
            missed = target is not None and side is sides[1] and ratio < target
            table.add_row(
                side.name,
                f"{1000 * side.median:.2f}",
                f"{1000 * side.mean:.2f}",
                f"{1000 * side.percentile(0.99):.2f}",
                f"{side.per_second:,.0f}",
                f"[red]{ratio:.2f}[/]" if missed else f"{ratio:.2f}",
                *(f"{side.cpu_ms_per_unit(name):.3f}" for name in names),
            )
            self.rows.append(
                {
                    "table": title,
                    "side": side.name,
                    "p50_ms": round(1000 * side.median, 3),
                    "mean_ms": round(1000 * side.mean, 3),
                    "p99_ms": round(1000 * side.percentile(0.99), 3),
                    "per_second": round(side.per_second, 1),
                    "ratio": round(ratio, 3),
                    "cpu_ms_per_unit": {name: round(side.cpu_ms_per_unit(name), 4) for name in names},
                }
            )
        self.console.print(table)

    def spread(self, title: str, side: Side, targets: tuple[float, float]) -> None:
        """One line: median and 99th percentile in ms, beside their targets."""
        told = []
        for name, share, target in (("p50", 0.5, targets[0]), ("p99", 0.99, targets[1])):
            ms = 1000 * side.percentile(share)
            told.append(
                f"{name} {'[red]' if ms > target else ''}{ms:.1f}{'[/]' if ms > target else ''} ms (≤ {target:g})"
            )
            self.rows.append({"table": title, "side": side.name, f"{name}_ms": round(ms, 2), "target": target})
        self.console.print(f"[bold]{title}[/]: {', '.join(told)}, {len(side.seconds)} events\n")

    def megabytes(self, title: str, cost: float, target: float) -> None:
        """One line: megabytes of memory, beside their target."""
        told = f"[red]{cost:.0f}[/]" if cost > target else f"{cost:.0f}"
        self.rows.append({"table": title, "memory_mb": round(cost, 1), "target": target})
        self.console.print(f"[bold]{title}[/]: {told} MB (≤ {target:g})\n")

    def memory(self, title: str) -> None:
        """The resident memory of each process now."""
        held = {name: round(size / 1e6) for name, size in self.processes.memory().items()}
        self.rows.append({"table": title, "memory_mb": held})
        self.console.print(f"{title}: " + ", ".join(f"{name} {size} MB" for name, size in held.items()) + "\n")
