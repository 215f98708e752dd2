"""Tables of settings, read from app/config/settings.py."""

from __future__ import annotations

from app.config.settings import variables

from .markdown import capitalized, code, table


def settings(*names: str) -> str:
    """Return a table of the named variables. Raises KeyError for a name that is no setting."""
    known = {variable.name: variable for variable in variables()}
    rows = (
        (code(each.name), code(each.default), capitalized(each.accepts), each.says)
        for each in (known[name] for name in names)
    )
    return table(("variable", "default", "value", "meaning"), rows)
