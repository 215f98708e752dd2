"""Values of constants and settings, found by their names and written for people."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from datetime import date, timedelta
from importlib import import_module
from typing import cast

from app.config.settings import variables

MINUTE, HOUR, DAY = 60, 3_600, 86_400


def find_value(source: str) -> object:
    """Return the value that a template names.

    `source` is the dotted path of a constant or an attribute. The name of a setting stands for its default, and the path
    of a function with a parameter in parentheses for the default of the parameter. Raises AttributeError, ImportError
    or KeyError if it does not exist.
    """
    if source.isupper():
        return float({variable.name: variable.default for variable in variables()}[source])
    path, _, parameter = source.rstrip(")").partition("(")
    found = _find(path)
    if not parameter:
        return found
    return inspect.signature(cast(Callable[..., object], found)).parameters[parameter].default


def write_value(value: object, unit: str = "") -> str:
    """Return a value for people: numbers with commas, times in a fitting unit, of a tuple its length."""
    match value:
        case timedelta():
            return _duration(value.total_seconds())
        case date():
            return f"{value:%Y-%m-%d}"
        case tuple():
            return write_value(len(value), unit)
        case int() | float() if unit == "seconds":
            return _duration(value)
        case int() | float() if unit == "ms":
            return _duration(value / 1_000)
        case int() | float():
            return f"{int(value) if float(value).is_integer() else value:,} {unit}".strip()
    raise TypeError(f"{value!r} is no number and no time")


def _find(path: str) -> object:
    """Return the object of a dotted path: the longest part that is a module, then its attributes."""
    module, names = path, list[str]()
    while True:
        module, _, name = module.rpartition(".")
        names.insert(0, name)
        try:
            found: object = import_module(module)
            break
        except ModuleNotFoundError:
            continue
    for name in names:
        found = getattr(found, name)
    return found


def _duration(seconds: float) -> str:
    if seconds >= HOUR and seconds % HOUR:
        return f"{seconds // HOUR:.0f} hours {seconds % HOUR / MINUTE:.0f} minutes"
    if seconds >= 2 * DAY and seconds % DAY == 0:
        return f"{seconds / DAY:,.0f} days"
    for size, name in ((HOUR, "hour"), (MINUTE, "minute"), (1, "second")):
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:,.0f} {name}{'' if seconds == size else 's'}"
    return f"{seconds:g} seconds"
