"""Which addresses may be connected to for a caller: those that anybody can reach, and those that the operator allows.

Sources: the IANA special-purpose address registries for IPv4 and IPv6.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

# What Python 3.11 takes for global, and is not: protocol assignments, and the way into 6to4.
UNROUTED_4 = (IPv4Network("192.0.0.0/24"), IPv4Network("192.88.99.0/24"))
UNICAST_6 = IPv6Network("2000::/3")
# Protocol assignments with Teredo among them, 6to4, and two for documentation: tunnels end wherever their inside says.
UNROUTED_6 = tuple(map(IPv6Network, ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")))
NAT64 = IPv6Network("64:ff9b::/96")


def is_public(address: Address) -> bool:
    """Whether anybody on the internet could connect to it.

    Not to loopback, private, shared, link-local (where clouds keep credentials), multicast, reserved or unspecified ones,
    and not to an IPv6 address that stands for such an IPv4 one.
    """
    plain = unwrapped(address)
    if isinstance(plain, IPv6Address):
        return plain in UNICAST_6 and not any(plain in network for network in UNROUTED_6)
    return plain.is_global and not plain.is_multicast and not any(plain in network for network in UNROUTED_4)


def unwrapped(address: Address) -> Address:
    """The IPv4 address that an IPv6 one stands for (mapped, or by NAT64), else the address itself."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address in NAT64:
            return IPv4Address(int(address) & 0xFFFFFFFF)
    return address


@dataclass(frozen=True)
class Allowed:
    """The addresses and host names, in lower case, that may be connected to although they are not public."""

    networks: tuple[Network, ...] = ()
    hosts: frozenset[str] = frozenset()

    @classmethod
    def of(cls, texts: Iterable[str]) -> Allowed:
        """From texts, each an address, a network such as `10.1.0.0/16`, or else a host name."""
        networks: list[Network] = []
        hosts: list[str] = []
        for text in texts:
            try:
                networks.append(ip_network(text))
            except ValueError:
                hosts.append(text.lower().rstrip("."))
        return cls(tuple(networks), frozenset(hosts))

    def allows(self, host: str, address: Address) -> bool:
        """Whether this address, found under this name, may be connected to."""
        return is_public(address) or self.names(host, address)

    def names(self, host: str, address: Address | None = None) -> bool:
        """Whether the host is allowed by its name, or its address is, if given, whoever else could reach it."""
        if host.lower().rstrip(".") in self.hosts:
            return True
        return address is not None and any(
            each in network for network in self.networks for each in (address, unwrapped(address))
        )
