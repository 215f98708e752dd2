"""How the value of an environment variable is read. Each parser raises ValueError with words that go on from its name."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable


def url(*schemes: str) -> Callable[[str], str]:
    """Reads an address with one of the schemes."""

    def parse(text: str) -> str:
        if not text.startswith(tuple(f"{scheme}://" for scheme in schemes)):
            raise ValueError(f"must start with {' or '.join(f'{scheme}://' for scheme in schemes)}")
        return text

    return parse


def whole(low: int, high: int) -> Callable[[str], int]:
    """Reads a whole number from `low` to `high`."""

    def parse(text: str) -> int:
        if not re.fullmatch(r"\d{1,15}", text) or not low <= int(text) <= high:
            raise ValueError(f"must be a whole number from {low} to {high}")
        return int(text)

    return parse


def seconds(low: float, high: float) -> Callable[[str], float]:
    """Reads a number of seconds from `low` to `high`."""

    def parse(text: str) -> float:
        if not re.fullmatch(r"\d{1,9}(\.\d{1,3})?", text) or not low <= float(text) <= high:
            raise ValueError(f"must be a number of seconds from {low:g} to {high:g}")
        return float(text)

    return parse


def one_of(*choices: str) -> Callable[[str], str]:
    """Reads one of the choices, in any case."""

    def parse(text: str) -> str:
        for choice in choices:
            if text.lower() == choice.lower():
                return choice
        raise ValueError(f"must be one of {', '.join(choices)}")

    return parse


def database(text: str) -> str:
    """Reads the name of a database."""
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]{0,37}", text):
        raise ValueError("must be a letter followed by up to 37 letters, digits, - or _")
    return text


def origins(text: str) -> tuple[str, ...]:
    """Reads a list of browser origins, separated by commas."""
    origins = tuple(origin.strip() for origin in text.split(",") if origin.strip())
    for origin in origins:
        if origin != "*" and not re.fullmatch(r"https?://[^/\s]+", origin):
            raise ValueError("must be a comma-separated list of origins such as https://shop.example, or *")
    return origins


def places(text: str) -> tuple[str, ...]:
    """Reads a list of addresses, networks and host names, separated by commas."""
    places = tuple(place.strip() for place in text.split(",") if place.strip())
    for place in places:
        try:
            ipaddress.ip_network(place)
        except ValueError:
            if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?", place) or re.fullmatch(r"[0-9.]+", place):
                raise ValueError(
                    "must be a comma-separated list of addresses, networks such as 10.1.0.0/16, and host names"
                ) from None
    return places
