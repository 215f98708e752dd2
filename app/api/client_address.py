"""The address of a client, as events and the audit log keep it."""

from __future__ import annotations

import re
from ipaddress import IPv6Address, ip_address


def client_address(host: str | None) -> str | None:
    """Return the IP address in the text, in its usual spelling; None if the text has none.

    The text comes from `X-Forwarded-For` if the caller is a trusted proxy, so a client can choose it. Some proxies add
    a port to the address: the port is left out, and so is the zone of an IPv6 address.
    """
    if host is None or len(host) > 100:
        return None
    bracketed = re.fullmatch(r"\[([^\]]*)\](?::\d{1,5})?", host)
    with_port = re.fullmatch(r"([\d.]+):\d{1,5}", host)
    found = bracketed or with_port
    try:
        address = ip_address((host if found is None else found[1]).partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return str(mapped or address)
