"""The data folder: only its owner may read it, and a folder that cannot be used is refused with one sentence."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from app.config.settings import ConfigError
from app.local.folder import is_owned, lock_folder, only_for_owner, open_folder, write_private


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_new_folder_is_closed_to_other_users(tmp_path: Path) -> None:
    open_folder(tmp_path / "a" / "b")
    assert mode_of(tmp_path / "a" / "b") == 0o700


def test_folder_of_an_older_version_is_closed_with_its_files(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    for name in ("secantusd-py", "redis", "logs"):
        (folder / name).mkdir(parents=True)
        (folder / name).chmod(0o755)
    for name in ("key", "servers.json", "lock"):
        (folder / name).touch(0o644)
    folder.chmod(0o755)
    open_folder(folder)
    assert {mode_of(each) for each in (folder, *folder.iterdir()) if each.is_dir()} == {0o700}
    assert {mode_of(each) for each in folder.iterdir() if each.is_file()} == {0o600}


def test_folder_with_other_files_keeps_its_permissions(tmp_path: Path) -> None:
    """A user may choose a folder of other files, which other users read."""
    (tmp_path / "shop.csv").touch(0o644)
    (tmp_path / "key").touch(0o644)
    tmp_path.chmod(0o755)
    open_folder(tmp_path)
    assert (mode_of(tmp_path), mode_of(tmp_path / "shop.csv"), mode_of(tmp_path / "key")) == (0o755, 0o644, 0o600)


def test_files_that_are_written_in_one_step_are_private(tmp_path: Path) -> None:
    path = tmp_path / "servers.json"
    path.touch(0o644)
    (tmp_path / "servers.json.new").touch(0o644)
    write_private(path, "{}")
    assert (mode_of(path), path.read_text(), os.listdir(tmp_path)) == (0o600, "{}", ["servers.json"])


def test_files_created_in_the_block_are_private_and_later_ones_are_not(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        with only_for_owner():
            (tmp_path / "inside").touch()
        (tmp_path / "after").touch()
    finally:
        os.umask(before)
    assert (mode_of(tmp_path / "inside"), mode_of(tmp_path / "after")) == (0o600, 0o644)


@pytest.mark.parametrize("name", ["file/below", "file", "/proc/punchcard"])
def test_folder_that_cannot_be_made_is_refused_with_the_option_to_change(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"cannot be used: .* Choose a folder of your own with --data-dir\."):
        open_folder(tmp_path / name)
    with pytest.raises(ConfigError, match="--data-dir"), lock_folder(tmp_path / name):
        pass


def test_lock_that_cannot_be_opened_is_refused(tmp_path: Path) -> None:
    (tmp_path / "lock").mkdir()
    with pytest.raises(ConfigError, match=r"lock: Is a directory"), lock_folder(tmp_path):
        pass


def test_folder_is_locked_by_one_owner_at_a_time(tmp_path: Path) -> None:
    with lock_folder(tmp_path):
        assert is_owned(tmp_path)
        with pytest.raises(ConfigError, match="already runs"), lock_folder(tmp_path):
            pass
    assert not is_owned(tmp_path)
