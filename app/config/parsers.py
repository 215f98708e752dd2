"""Parsers of environment variables: each reads a text, or raises ValueError with words that follow the variable's name."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

T = TypeVar("T", covariant=True)


@dataclass(frozen=True, slots=True)
class Parser(Generic[T]):
    """Reader of one kind of value. `accepts` describes its texts, for messages and for the reference page.

    `read` returns None for a text that is not accepted.
    """

    accepts: str
    read: Callable[[str], T | None]

    def __call__(self, text: str) -> T:
        """Return the value of the text. Raises ValueError if the text is not accepted."""
        value = self.read(text)
        if value is None:
            raise ValueError(f"must be {self.accepts}")
        return value


def url(*schemes: str) -> Parser[str]:
    """Return a parser of addresses with one of the schemes."""
    starts = tuple(f"{scheme}://" for scheme in schemes)
    return Parser(
        f"an address that starts with {' or '.join(starts)}", lambda text: _text_if(text.startswith(starts), text)
    )


def whole(low: int, high: int) -> Parser[int]:
    """Return a parser of whole numbers from `low` to `high`."""

    def read(text: str) -> int | None:
        return int(text) if re.fullmatch(r"\d{1,15}", text) and low <= int(text) <= high else None

    return Parser(f"a whole number from {low:,} to {high:,}", read)


def seconds(low: float, high: float) -> Parser[float]:
    """Return a parser of numbers of seconds from `low` to `high`, with up to three decimals."""

    def read(text: str) -> float | None:
        return float(text) if re.fullmatch(r"\d{1,9}(\.\d{1,3})?", text) and low <= float(text) <= high else None

    return Parser(f"a number of seconds from {low:g} to {high:,g}, with up to 3 decimals", read)


def one_of(*choices: str) -> Parser[str]:
    """Return a parser of a few words, in upper or lower case."""
    words = {choice.lower(): choice for choice in choices}
    return Parser(f"one of {', '.join(choices)}", lambda text: words.get(text.lower()))


def _text_if(accepted: object, text: str) -> str | None:
    return text if accepted else None


def _read_origins(text: str) -> tuple[str, ...] | None:
    origins = _split(text)
    return origins if all(each == "*" or re.fullmatch(r"https?://[^/\s]+", each) for each in origins) else None


def split_port(text: str) -> tuple[str, int | None]:
    """Return a host, address or network, and the port behind it; None if it has no port.

    Brackets around an IPv6 address or network separate it from its port, as in `[fd00::1]:8080`.
    """
    bracketed = re.fullmatch(r"\[([^\]]*)\](?::(\d{1,5}))?", text)
    plain = re.fullmatch(r"([^:]*):(\d{1,5})", text)
    found = bracketed or plain
    return (text, None) if found is None else (found[1], None if found[2] is None else int(found[2]))


def _read_hosts(text: str) -> tuple[str, ...] | None:
    hosts = _split(text)
    return hosts if all(map(_is_target, hosts)) else None


def read_days(text: str) -> dict[str, int]:
    """Return the days by what they apply to, from a text such as `activities=400,jobs=90`. Raises ValueError."""
    return {name: int(days) for name, _, days in (part.partition("=") for part in _split(text))}


def _read_retention(text: str) -> tuple[str, ...] | None:
    parts = _split(text)
    names = [part.partition("=")[0] for part in parts]
    is_valid = all(re.fullmatch(r"(activities|jobs|audit)=[1-9]\d{0,4}", part) for part in parts)
    return parts if is_valid and len(set(names)) == len(names) else None


def _split(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _is_target(text: str) -> bool:
    host, port = split_port(text)
    return (_is_network(host) or _is_host_name(host)) and (port is None or 1 <= port <= 65_535)


def _is_network(text: str) -> bool:
    try:
        ipaddress.ip_network(text)
    except ValueError:
        return False
    return True


def _is_host_name(text: str) -> bool:
    # Digits and dots alone are a mistyped address.
    is_name = re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?", text)
    return is_name is not None and re.fullmatch(r"[0-9.]+", text) is None


host = Parser("an address or a host name", str)
base_url = Parser(
    "an http or https URL without query and fragment",
    lambda text: _text_if(re.fullmatch(r"https?://[^/?#\s]+(/[^?#\s]*)?", text), text.rstrip("/")),
)
path = Parser("a path", Path)
database = Parser(
    "a letter followed by up to 37 letters, digits, - or _",
    lambda given: _text_if(re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]{0,37}", given), given),
)
origins = Parser("a comma-separated list of origins such as https://shop.example, or *", _read_origins)
hosts = Parser(
    "a comma-separated list of addresses, networks such as 10.1.0.0/16, and host names, each alone or with a port such as"
    " hooks.internal:8080 or [fd00::1]:8080",
    _read_hosts,
)
retention = Parser(
    "a comma-separated list of activities=DAYS, jobs=DAYS and audit=DAYS, each at most once, with 1 to 99999 days",
    _read_retention,
)
