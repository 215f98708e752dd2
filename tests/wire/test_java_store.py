"""The second store starts only where Java and its jars are, and says what is missing otherwise."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.wire import java_store


def test_missing_jars_are_named_with_the_next_step(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("shutil.which", lambda name: f"/bin/{name}")
    with pytest.raises(java_store.NotInstalledError, match=r"The jars are missing\. Run `python -m"):
        java_store.java_store(tmp_path)


def test_missing_programs_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(java_store.NotInstalledError, match=r"Maven \(mvn\) is not installed"):
        java_store.fetch_jars()
    with pytest.raises(java_store.NotInstalledError, match="Java is not installed"):
        java_store.java_store(tmp_path)


def test_folder_of_the_jars_has_the_version_that_maven_fetches() -> None:
    assert f"<version>{java_store.VERSION}</version>" in (java_store.SOURCES / "pom.xml").read_text()
    assert java_store.jars_folder().name.endswith(java_store.VERSION)
