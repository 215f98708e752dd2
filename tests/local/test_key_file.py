"""The key file of a data folder: written once, readable by its owner, with the database that its key belongs to."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from app.config.settings import ConfigError
from app.local.key_file import KeyFile, KeyOrigin

ORIGIN = KeyOrigin("secantusd-py", "punchcard")


def test_key_is_read_with_its_origin(tmp_path: Path) -> None:
    file = KeyFile(tmp_path / "data")
    assert (file.read(), file.read_origin()) == (None, None)
    file.write("punch_a", ORIGIN)
    assert (file.read(), file.read_origin()) == ("punch_a", ORIGIN)
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600
    assert str(ORIGIN) == "the database punchcard of secantusd-py"


def test_key_file_is_never_replaced(tmp_path: Path) -> None:
    file = KeyFile(tmp_path)
    file.write("punch_a", ORIGIN)
    with pytest.raises(ConfigError, match=r"never replaced\. Rename the file first"):
        file.write("punch_b", KeyOrigin("secantusd-py", "other"))
    assert (file.read(), file.read_origin()) == ("punch_a", ORIGIN)


def test_unreadable_key_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "key").mkdir()
    with pytest.raises(ConfigError, match="cannot be read"):
        KeyFile(tmp_path).read()


def test_unreadable_origin_counts_as_missing(tmp_path: Path) -> None:
    (tmp_path / "key.json").write_text('{"store": 1')
    assert KeyFile(tmp_path).read_origin() is None
