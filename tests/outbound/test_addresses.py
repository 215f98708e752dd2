"""Classification of IP addresses as public or not, and the addresses that an operator allows."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from app.outbound.addresses import Allowed, is_public

NOT_PUBLIC = """
127.0.0.1 127.8.8.8 0.0.0.0 0.1.2.3 10.0.0.1 172.16.0.1 172.31.255.255 192.168.1.1 169.254.169.254 100.64.0.1
100.127.255.255 192.0.0.9 192.0.0.192 192.0.2.1 192.88.99.1 198.18.0.1 198.51.100.1 203.0.113.1 224.0.0.1 239.255.255.250
240.0.0.1 255.255.255.255 :: ::1 ::127.0.0.1 ::ffff:127.0.0.1 ::ffff:10.0.0.1 ::ffff:169.254.169.254 ::ffff:0:127.0.0.1
64:ff9b::7f00:1 64:ff9b::a9fe:a9fe 64:ff9b:1::1 100::1 2001::1 2001:db8::1 2002:7f00:1::1 2002:808:808::1 3fff::1
fc00::1 fd00:ec2::254 fe80::1 fe80::1%1 fec0::1 ff02::1 ff0e::1 4000::1
"""
PUBLIC = """
8.8.8.8 1.1.1.1 172.32.0.1 100.128.0.1 169.253.0.1 223.255.255.254 ::ffff:8.8.8.8 64:ff9b::808:808
2606:4700:4700::1111 2a00:1450:4001::200e
"""


@pytest.mark.parametrize("text", NOT_PUBLIC.split())
def test_private_or_reserved_address_is_not_public(text: str) -> None:
    assert not is_public(ip_address(text))


@pytest.mark.parametrize("text", PUBLIC.split())
def test_globally_reachable_address_is_public(text: str) -> None:
    assert is_public(ip_address(text))


def test_allowed_accepts_public_addresses_and_those_that_the_operator_names() -> None:
    allowed = Allowed.parse(["10.1.0.0/16", "127.0.0.1", "fd00::/8", "Files.Internal"])
    for host, address in (
        ("x", "10.1.2.3"),
        ("x", "::ffff:10.1.2.3"),
        ("x", "127.0.0.1"),
        ("x", "fd00::1"),
        ("files.internal.", "192.168.0.1"),
        ("x", "8.8.8.8"),
    ):
        assert allowed.allows(host, ip_address(address), 443)
    for host, address in (("x", "10.2.0.1"), ("x", "127.0.0.2"), ("files.internal.evil", "192.168.0.1")):
        assert not allowed.allows(host, ip_address(address), 443)


def test_allowed_with_a_port_accepts_only_that_port() -> None:
    allowed = Allowed.parse(
        ["127.0.0.1:8080", "10.1.0.0/16:443", "[fd00::/8]:9000", "hooks.internal:8081", "[fd11::1]"]
    )
    for host, address, port in (
        ("x", "127.0.0.1", 8080),
        ("x", "10.1.2.3", 443),
        ("x", "fd00::1", 9000),
        ("x", "fd11::1", 6379),
        ("Hooks.Internal.", "192.168.0.1", 8081),
    ):
        assert allowed.allows(host, ip_address(address), port)
        assert allowed.is_listed(host, ip_address(address), port)
    for host, address, port in (
        ("x", "127.0.0.1", 6379),
        ("x", "10.1.2.3", 80),
        ("x", "fd00::1", 27017),
        ("hooks.internal", "192.168.0.1", 6379),
    ):
        assert not allowed.allows(host, ip_address(address), port)
