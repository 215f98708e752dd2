"""Profile and points of a pass, computed again from all events when an event joins between older ones."""

from __future__ import annotations

from collections.abc import Sequence

from app.domain.events.events import Event
from app.domain.events.replays import Replay
from app.domain.passes.passes import Profile
from app.domain.passes.profiles import replay_profile
from app.domain.state.accounts import AccountReplay, Counted


class Replays:
    """Replays of one walk, which sort the events once, not for each late event.

    The callers give all events that count. Those that were given before come first, in the same order.
    """

    def __init__(self, initial: Profile) -> None:
        self._initial = initial
        self._profile: Replay[Profile] | None = None
        self._account: AccountReplay | None = None
        self._profile_events = self._account_events = self._examined = 0

    def profile(self, counted: Sequence[Event]) -> Profile:
        """Return the profile from all events that count."""
        replay = self._profile
        if replay is None or not replay.join(counted[self._profile_events :]):
            self._examined += len(counted) if replay is not None else 0
            replay = self._profile = replay_profile(self._initial, counted)
        self._profile_events = len(counted)
        profile = replay.run()
        self._examined += replay.take_examined()
        return profile

    def account(self, counted: Sequence[Event], at_ms: int) -> Counted:
        """Return the account of points at `at_ms` from all events that count, and all lots that expired by then."""
        replay = self._account
        if replay is None or not replay.join(counted[self._account_events :]):
            self._examined += len(counted) if replay is not None else 0
            replay = self._account = AccountReplay(counted)
        self._account_events = len(counted)
        found = replay.rebuild(at_ms)
        self._examined += replay.take_examined()
        return found

    def forget(self) -> None:
        """Forget the replays, because events that they have do not count any more."""
        self._profile = self._account = None

    def take_examined(self) -> int:
        """Return the number of events that the replays have examined since the last call.

        The first sorting of all events is left out: reading them takes longer, and both happen once in a walk.
        """
        examined, self._examined = self._examined, 0
        return examined
