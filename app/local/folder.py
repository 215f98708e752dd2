"""The data folder: its lock, and its permissions, which close it to other users of the machine."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from app.config.settings import ConfigError

OWN_NAMES = frozenset(
    {"key", "key.json", "lock", "logs", "redis", "reports", "secantusd-py", "secantusd-rs", "servers.json"}
)
"""Names of the files and folders that Punchcard makes in a data folder."""


def open_folder(data_dir: Path) -> None:
    """Create the folder for its owner only. Close an existing one, and what Punchcard made in it, to other users.

    A folder that also has other files keeps its own permissions. Raises ConfigError if the folder cannot be used.
    """
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        entries = list(data_dir.iterdir())
        if all(each.name in OWN_NAMES for each in entries):
            data_dir.chmod(0o700)
        for each in entries:
            if each.name in OWN_NAMES and not each.is_symlink():
                each.chmod(0o700 if each.is_dir() else 0o600)
    except OSError as error:
        raise _unusable(data_dir, error) from error


@contextlib.contextmanager
def only_for_owner() -> Iterator[None]:
    """Close files and folders that this process and its children create inside the block to other users."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)


def write_private(path: Path, text: str) -> None:
    """Replace a file in one step. Only its owner may read it."""
    new = path.with_name(f"{path.name}.new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    new.replace(path)


@contextlib.contextmanager
def lock_folder(data_dir: Path) -> Iterator[None]:
    """Lock the folder for this process inside the block. A crash of the process releases the lock, too.

    Raises ConfigError if another process holds the lock, or if the folder cannot be used.
    """
    open_folder(data_dir)
    try:
        lock = os.fdopen(os.open(data_dir / "lock", os.O_RDWR | os.O_CREAT, 0o600), "r+")
    except OSError as error:
        raise _unusable(data_dir, error) from error
    with lock:
        deadline = time.monotonic() + 0.3
        while not _try_lock(lock):
            # `is_owned` holds the lock for a moment. A lock that is held longer belongs to another `punchcard up`.
            if time.monotonic() > deadline:
                raise ConfigError(
                    [f"`punchcard up` already runs on {data_dir}. Stop it, or choose another folder with --data-dir."]
                )
            time.sleep(0.02)
        yield


def is_owned(data_dir: Path) -> bool:
    """Return whether a `punchcard up` runs on the folder now."""
    try:
        with (data_dir / "lock").open("r") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _try_lock(lock: IO[str]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _unusable(data_dir: Path, error: OSError) -> ConfigError:
    where = error.filename or data_dir
    return ConfigError(
        [
            f"The data folder {data_dir} cannot be used: {where}: {error.strerror}. Choose a folder of your own with"
            " --data-dir."
        ]
    )
