"""What versions of definitions have in common by which workers evaluate all passes at once."""

from __future__ import annotations

from datetime import datetime

from app.domain.values.instants import to_ms


class BackfilledVersion:
    """Version of a definition that makes workers evaluate all passes at once. It is created at the instant `at`."""

    __slots__ = ()
    at: datetime

    @property
    def at_ms(self) -> int:
        """The instant from which passes are evaluated under the version, in ms."""
        return to_ms(self.at)

    @property
    def announces_backfill(self) -> bool:
        """Whether passes must be evaluated under the version at once: always."""
        return True

    @property
    def is_in_force(self) -> bool:
        """Whether passes are evaluated under the version: always, unless the kind of definition can be archived."""
        return True
