"""The quick tests: every layer has some, and none of them starts processes or ends them."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from tests.conftest import LONGEST, QUICK

ROOT = Path(__file__).parents[2]
PROCESSES = re.compile(
    r"\bsubprocess\b|create_subprocess|multiprocessing|\brunning_servers\b|\brun_measured_api\b|\bservers\.(api|worker)\b"
    r"|\bapp\.local\.processes\b|\bsignal\.SIG|\.kill\(|\brun_up\b|\bstart_up\b"
)
"""Words of code that starts processes or ends them."""
SHARED = {"tests/servers.py"}
"""The fixtures of all tests use it, to start the servers of the test process."""
LAYERS = ("domain", "store", "commands", "graphql", "workers", "feed", "contracts")


def list_quick_files() -> list[str]:
    """Return the paths of the quick test files, relative to the root."""
    files = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "tests").rglob("test_*.py"))
    return [file for file in files if file.startswith(QUICK)]


def list_imports(file: str) -> set[str]:
    """Return the paths of the modules of `tests` that a file imports, relative to the root."""
    names: set[str] = set()
    for node in ast.walk(ast.parse((ROOT / file).read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            package = ".".join(Path(file).parts[: -node.level]) if node.level else ""
            module = ".".join(filter(None, (package, node.module)))
            names |= {module, *(f"{module}.{alias.name}" for alias in node.names)}
    paths = {name.replace(".", "/") + ".py" for name in names if name.startswith("tests.")}
    return {path for path in paths if (ROOT / path).exists()}


def test_quick_files_start_and_end_no_processes() -> None:
    """This holds for the modules that they import, too."""
    found, waiting = set[str](), {file for file in list_quick_files() if file != "tests/contracts/test_quick.py"}
    while waiting:
        found |= waiting
        waiting = {path for file in waiting for path in list_imports(file)} - found - SHARED
    assert {file: match[0] for file in found if (match := PROCESSES.search((ROOT / file).read_text()))} == {}


def test_every_layer_has_quick_tests() -> None:
    assert [layer for layer in LAYERS if not any(f.startswith(f"tests/{layer}/") for f in list_quick_files())] == []


def test_quick_and_slow_files_exist_and_no_file_is_both() -> None:
    assert [name for name in (*QUICK, *LONGEST) if not (ROOT / name).exists()] == []
    assert set(QUICK) & set(LONGEST) == set()
