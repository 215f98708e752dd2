"""The report of the benchmarks: prints tables, and keeps the figures for `--json`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from .timing import Processes, Side


class Report:
    """All figures of one run of the benchmarks, in order."""

    def __init__(self, console: Console, processes: Processes) -> None:
        self.console = console
        self.processes = processes
        self.rows: list[dict[str, Any]] = []

    def add(self, title: str, sides: Sequence[Side], unit: str, target: float | None = None) -> None:
        """Print a table of sides. The ratio compares the median of a side with that of the first side.

        `target` is the lowest wanted ratio of the second side; a lower ratio is red.
        """
        target_text = "" if target is None else f", target {target:g}"
        table = Table(title=f"{title}{target_text}", title_justify="left", title_style="bold")
        # Processes that ran during the measurement only have figures, too.
        names = list(dict.fromkeys([*self.processes.names, *(name for side in sides for name in side.cpu)]))
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
            is_below_target = target is not None and side is sides[1] and ratio < target
            table.add_row(
                side.name,
                f"{1000 * side.median:.2f}",
                f"{1000 * side.mean:.2f}",
                f"{1000 * side.percentile(0.99):.2f}",
                f"{side.per_second:,.0f}",
                f"[red]{ratio:.2f}[/]" if is_below_target else f"{ratio:.2f}",
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

    def add_latency(
        self, title: str, side: Side, targets: tuple[float, float], *, percent: int = 99, unit: str = "events"
    ) -> None:
        """Print a line with the median and a high percentile in ms, their targets, and the CPU times that were measured."""
        figures = []
        for name, share, target in (("p50", 0.5, targets[0]), (f"p{percent}", percent / 100, targets[1])):
            ms = 1000 * side.percentile(share)
            figures.append(
                f"{name} {'[red]' if ms > target else ''}{ms:.1f}{'[/]' if ms > target else ''} ms (≤ {target:g})"
            )
            self.rows.append({"table": title, "side": side.name, f"{name}_ms": round(ms, 2), "target": target})
        cpu = {name: round(side.cpu_ms_per_unit(name), 1) for name in side.cpu}
        if cpu:
            self.rows.append({"table": title, "side": side.name, "cpu_ms": cpu})
            figures.append("CPU " + ", ".join(f"{name} {ms:g} ms" for name, ms in cpu.items()))
        self.console.print(f"[bold]{title}[/]: {', '.join(figures)}, {len(side.seconds)} {unit}\n")

    def add_cpu_cost(self, title: str, sides: Sequence[Side], most: float) -> None:
        """Print a line with the CPU time of the second side, of all processes, divided by that of the first side."""
        first, second = (sum(side.cpu.values()) / len(side.seconds) for side in sides[:2])
        cost = second / first
        text = f"[red]{cost:.2f}[/]" if cost > most else f"{cost:.2f}"
        self.rows.append({"table": title, "cpu_cost": round(cost, 3), "target": most})
        self.console.print(f"[bold]{title}[/]: CPU time {text} (≤ {most:g})\n")

    def add_growth(self, title: str, first: Side, last: Side, most: float) -> None:
        """Print a line with the median time and the mean CPU time of the last side, divided by those of the first side."""
        growth = last.median / first.median
        cpu_growth = (sum(last.cpu.values()) / len(last.seconds)) / (sum(first.cpu.values()) / len(first.seconds))
        text = f"[red]{growth:.2f}[/]" if growth > most else f"{growth:.2f}"
        self.rows.append(
            {"table": title, "growth": round(growth, 3), "cpu_growth": round(cpu_growth, 3), "target": most}
        )
        self.console.print(f"[bold]{title}[/]: time {text} (≤ {most:g}), CPU time {cpu_growth:.2f}\n")

    def add_memory_cost(self, title: str, megabytes: float, target: float) -> None:
        """Print a line with megabytes of memory and their target."""
        text = f"[red]{megabytes:.0f}[/]" if megabytes > target else f"{megabytes:.0f}"
        self.rows.append({"table": title, "memory_mb": round(megabytes, 1), "target": target})
        self.console.print(f"[bold]{title}[/]: {text} MB (≤ {target:g})\n")

    def add_memory(self, title: str) -> None:
        """Print a line with the resident memory of each process now."""
        memory_mb = {name: round(size / 1e6) for name, size in self.processes.memory().items()}
        self.rows.append({"table": title, "memory_mb": memory_mb})
        self.console.print(f"{title}: " + ", ".join(f"{name} {size} MB" for name, size in memory_mb.items()) + "\n")
