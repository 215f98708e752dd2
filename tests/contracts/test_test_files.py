"""Tests mirror modules: app/<layer>/<package>/<module>.py is tested by tests/<layer>/<package>/test_<module>.py."""

from __future__ import annotations

import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
COVERED_ELSEWHERE: dict[str, list[str]] = tomllib.loads(
    (ROOT / "tests" / "contracts" / "covered_elsewhere.toml").read_text()
)


def own_test_file(module: Path) -> Path:
    """Return the path of the test file that mirrors a module."""
    parts = module.parts[1:] if module.parts[0] == "app" else module.parts
    return Path("tests", *parts[:-1], f"test_{module.stem.rstrip('_')}.py")


def modules() -> set[Path]:
    """Return the modules of the product, relative to the root."""
    return {
        path.relative_to(ROOT)
        for folder in ("app", "workers")
        for path in (ROOT / folder).rglob("*.py")
        if path.name not in ("__init__.py", "__main__.py")
    }


def test_every_module_has_a_test_file_or_is_covered_by_another() -> None:
    without = {module.with_suffix("").as_posix() for module in modules() if not (ROOT / own_test_file(module)).exists()}
    listed = [module for covered in COVERED_ELSEWHERE.values() for module in covered]
    assert without - set(listed) == set(), "name the covering file in covered_elsewhere.toml"
    assert set(listed) - without == set(), "these have a test file of their own, or are gone"
    assert len(listed) == len(set(listed))


def test_the_files_that_cover_other_modules_exist() -> None:
    assert [name for name in COVERED_ELSEWHERE if not (ROOT / name).exists()] == []
