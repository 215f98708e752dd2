"""Addresses to which Punchcard may connect for a caller: public addresses, and those that the operator allows.

Sources: the IANA special-purpose address registries for IPv4 and IPv6.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network

from app.config.parsers import split_port

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

# Python 3.11 takes these for global, but they are not: protocol assignments, and the 6to4 relay.
UNROUTED_4 = (IPv4Network("192.0.0.0/24"), IPv4Network("192.88.99.0/24"))
UNICAST_6 = IPv6Network("2000::/3")
# In order: protocol assignments with Teredo, documentation, 6to4, documentation. Teredo and 6to4 addresses contain an
# IPv4 address, to which the packets go: it may be a private one.
UNROUTED_6 = tuple(map(IPv6Network, ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")))
NAT64 = IPv6Network("64:ff9b::/96")


def is_public(address: Address) -> bool:
    """Return whether every host on the internet can connect to the address.

    Not public are loopback, private, shared, link-local (clouds offer credentials there), multicast, reserved and
    unspecified addresses. An IPv6 address that contains an IPv4 address is public only if the IPv4 address is.
    """
    target = unwrap(address)
    if isinstance(target, IPv6Address):
        return target in UNICAST_6 and not any(target in network for network in UNROUTED_6)
    return target.is_global and not target.is_multicast and not any(target in network for network in UNROUTED_4)


def unwrap(address: Address) -> Address:
    """Return the IPv4 address in a mapped or NAT64 IPv6 address, else the address itself."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address in NAT64:
            return IPv4Address(int(address) & 0xFFFFFFFF)
    return address


@dataclass(frozen=True)
class Allowed:
    """Networks and host names, in lower case, that the operator allows although they are not public.

    Each has a port, or None for all ports.
    """

    networks: tuple[tuple[Network, int | None], ...] = ()
    hosts: frozenset[tuple[str, int | None]] = frozenset()

    @classmethod
    def parse(cls, texts: Iterable[str]) -> Allowed:
        """Return the allowed targets of texts: addresses, networks such as `10.1.0.0/16`, and host names.

        Each may have a port, as in `hooks.internal:8080` and `[fd00::1]:8080`.
        """
        networks: list[tuple[Network, int | None]] = []
        hosts: list[tuple[str, int | None]] = []
        for text in texts:
            target, port = split_port(text)
            try:
                networks.append((ip_network(target), port))
            except ValueError:
                hosts.append((target.lower().rstrip("."), port))
        return cls(tuple(networks), frozenset(hosts))

    def allows(self, host: str, address: Address, port: int) -> bool:
        """Return whether Punchcard may connect to a port of an address that the name of the host resolved to."""
        return is_public(address) or self.is_listed(host, address, port)

    def is_listed(self, host: str, address: Address | None, port: int) -> bool:
        """Return whether the operator allows the port of the host, by name or by address.

        A public address alone is not enough.
        """
        name = host.lower().rstrip(".")
        if (name, None) in self.hosts or (name, port) in self.hosts:
            return True
        return address is not None and any(
            each in network
            for network, only in self.networks
            if only in (None, port)
            for each in (address, unwrap(address))
        )
