"""Variables of the environment that look like settings and are none."""

from __future__ import annotations

import difflib
from collections.abc import Mapping

from .settings import variables

PREFIX = "PUNCHCARD_"
CLIENT_VARIABLES = frozenset({"PUNCHCARD_ENDPOINT", "PUNCHCARD_KEY"})
"""Variables that are no settings: `punchcard import`, `export` and `demo` read them in place of an option."""


def unknown(environ: Mapping[str, str]) -> dict[str, str | None]:
    """Return variables that start with PUNCHCARD_ but are never read, each with the most similar setting or None."""
    # Compare without the prefix: names that share it would all look similar.
    known = {variable.name.removeprefix(PREFIX): variable.name for variable in variables()}
    read = CLIENT_VARIABLES.union(known.values())
    strangers = [name for name in sorted(environ) if name.startswith(PREFIX) and name not in read]
    nearest = {name: difflib.get_close_matches(name.removeprefix(PREFIX), known, n=1) for name in strangers}
    return {name: known[found[0]] if found else None for name, found in nearest.items()}
