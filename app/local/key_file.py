"""The file `key` in a data folder: the API key that commands use, and where it is valid.

The file is written once and never replaced: the store has only the hash of the key, so a lost key cannot be found
again. `key.json` beside the file names the store and the database of the key.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from app.config.settings import ConfigError

from .folder import open_folder, write_private


@dataclass(frozen=True)
class KeyOrigin:
    """Store and database of a key: a local engine such as `secantusd-py`, or the hosts of a MongoDB."""

    store: str
    database: str

    def __str__(self) -> str:
        return f"the database {self.database} of {self.store}"


@dataclass(frozen=True)
class KeyFile:
    """Key file of a data folder."""

    folder: Path

    @property
    def path(self) -> Path:
        """Path of the file with the key."""
        return self.folder / "key"

    def read(self) -> str | None:
        """Return the key, or None if there is no file. Raises ConfigError if the file cannot be read."""
        try:
            return self.path.read_text().strip()
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise ConfigError([f"The key file {self.path} cannot be read: {error}."]) from error

    def require_absence(self) -> None:
        """Raise ConfigError if the file exists."""
        if self.path.exists():
            raise ConfigError(
                [f"{self.path} has a key already, and a key file is never replaced. Rename the file first."]
            )

    def write(self, secret: str, origin: KeyOrigin) -> None:
        """Write the key to a new file, with its store and database. Raises ConfigError if a file exists."""
        open_folder(self.folder)
        self.require_absence()
        with os.fdopen(os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(f"{secret}\n")
        self.write_origin(origin)

    def read_origin(self) -> KeyOrigin | None:
        """Return the store and the database of the key; None if they were never written."""
        try:
            return KeyOrigin(**json.loads((self.folder / "key.json").read_text()))
        except (OSError, ValueError, TypeError):
            return None

    def write_origin(self, origin: KeyOrigin) -> None:
        """Store where the key is valid."""
        write_private(self.folder / "key.json", json.dumps(asdict(origin), indent=2) + "\n")
