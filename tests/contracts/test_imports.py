"""Imports between layers, and the purity of the domain."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
CLOCKS = {"datetime.now", "datetime.utcnow", "datetime.today", "date.today"}
# Standard modules that bring in clocks, chance, files, the network, threads, loops or logs.
IMPURE = {
    "asyncio",
    "concurrent",
    "io",
    "logging",
    "multiprocessing",
    "os",
    "pathlib",
    "random",
    "secrets",
    "signal",
    "socket",
    "subprocess",
    "sys",
    "tempfile",
    "threading",
    "time",
    "urllib",
    "uuid",
}


def domain_sources() -> Iterator[tuple[Path, ast.Module]]:
    for path in sorted((ROOT / "app" / "domain").rglob("*.py")):
        yield path.relative_to(ROOT), ast.parse(path.read_text())


def imported_modules(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module


def test_import_contracts_hold() -> None:
    lint = Path(sys.executable).parent / "lint-imports"
    result = subprocess.run([lint, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def test_domain_imports_only_itself_and_pure_standard_modules() -> None:
    allowed = sys.stdlib_module_names - IMPURE
    for path, tree in domain_sources():
        for module in imported_modules(tree):
            assert module.startswith("app.domain") or module.split(".")[0] in allowed, f"{path} imports {module}"


def test_domain_neither_reads_a_clock_nor_waits() -> None:
    for path, tree in domain_sources():
        for node in ast.walk(tree):
            assert not isinstance(node, ast.AsyncFunctionDef | ast.Await), f"{path}:{node.lineno} is async"
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                read = f"{node.value.id}.{node.attr}"
                assert read not in CLOCKS, f"{path}:{node.lineno} reads the clock"


def test_modules_have_telling_names_and_at_most_350_lines() -> None:
    for folder in ("app", "workers"):
        for path in (ROOT / folder).rglob("*.py"):
            assert path.stem not in {"utils", "util", "helpers", "common", "manager", "service", "base", "models"}, path
            assert len(path.read_text().splitlines()) <= 350, f"{path} is too long: split it by idea"
