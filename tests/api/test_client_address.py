"""Addresses of clients: an IP address or nothing, whatever a trusted proxy forwards."""

from __future__ import annotations

import pytest

from app.api.client_address import client_address


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("192.0.2.7:5123", "192.0.2.7"),
        ("2001:DB8:0::7", "2001:db8::7"),
        ("[2001:db8::7]:443", "2001:db8::7"),
        ("[2001:db8::7]", "2001:db8::7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("fe80::1%eth0", "fe80::1"),
    ],
)
def test_address_is_kept_in_its_usual_spelling(text: str, address: str) -> None:
    assert client_address(text) == address


@pytest.mark.parametrize(
    "text",
    [None, "", "not-an-ip <script>", "x" * 300, "unknown", "192.0.2.7, 192.0.2.8", "192.0.2.256", "1.2.3", "::1:::",
     "localhost", "192.0.2.7:port", "[2001:db8::7", "\x00", "192.0.2.7 ", "127.1"],
)  # fmt: skip
def test_text_that_is_no_address_becomes_none(text: str | None) -> None:
    assert client_address(text) is None


def test_zone_of_an_address_is_left_out() -> None:
    """Python accepts any text as the zone of an IPv6 address."""
    assert client_address("fe80::1%<script>alert(1)</script>") == "fe80::1"
