"""Quota: a limit on how many streams, sockets or requests may be open at once, in one process and for one client."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from app.domain.actors import Actor
from app.graphql.errors import ErrorCode, RequestRefused, refuse
from app.rate_limits import PASS_SHARE_PERCENT, TOKENS_SHARE_PERCENT

WORKSPACE_SHARE_PERCENT = 80
"""Share of a process that the keys of one workspace may use together. The rest stays free for other workspaces."""


class Quota:
    """Limit on what is open in this process, for one API key, and for all keys and tokens of one workspace together.

    The tokens for one pass have a share of what one key has, and all tokens a share of what their workspace has.

    `noun` names what is counted in messages. What is open counts 1, unless the caller gives a size.
    """

    def __init__(self, noun: str, limit: int, limit_per_key: int) -> None:
        self._noun = noun
        self._limit = limit
        self._limit_per_key = limit_per_key
        self._limit_per_pass = max(1, limit_per_key * PASS_SHARE_PERCENT // 100)
        self._limit_per_workspace = max(1, limit * WORKSPACE_SHARE_PERCENT // 100)
        self._limit_of_tokens = max(1, self._limit_per_workspace * TOKENS_SHARE_PERCENT // 100)
        self._open_by_id: Counter[str] = Counter()
        """Sizes by key id, by workspace id and by the name of all tokens of a workspace. No two kinds share a name."""
        self._open = 0

    @contextmanager
    def acquire(self, actor: Actor, size: int = 1) -> Iterator[None]:
        """Count `size` more as open while the block runs.

        Raises RequestRefused (THROTTLED) if that exceeds the limit of the process, the key, the pass or the workspace.
        Safe to repeat.
        """
        self._check(self._open + size, self._limit, "in this process")
        if actor.grant is None:
            self._check(self._open_by_id[actor.key_id] + size, self._limit_per_key, "for one API key")
        else:
            self._check(self._open_by_id[actor.key_id] + size, self._limit_per_pass, "with tokens for one pass")
            opened = self._open_by_id[_all_tokens(actor)] + size
            self._check(opened, self._limit_of_tokens, "with all tokens of one workspace")
        self._check(self._open_by_id[actor.workspace_id] + size, self._limit_per_workspace, "for one workspace")
        self._add(actor, size)
        try:
            yield
        finally:
            self._add(actor, -size)

    def _add(self, actor: Actor, size: int) -> None:
        self._open += size
        names = (actor.key_id, actor.workspace_id)
        for each in names if actor.grant is None else (*names, _all_tokens(actor)):
            self._open_by_id[each] += size
            if not self._open_by_id[each]:
                del self._open_by_id[each]

    def _check(self, total: int, limit: int, where: str) -> None:
        if total > limit:
            raise self._refuse(limit, where)

    def _refuse(self, limit: int, where: str) -> RequestRefused:
        message = f"At most {limit} {self._noun} may be open {where} at once. Retry when some have ended."
        return refuse(ErrorCode.THROTTLED, message, limit=self._noun, most=limit)


def _all_tokens(actor: Actor) -> str:
    return f"{actor.workspace_id}:tokens"
