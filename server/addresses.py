"""Addresses of servers: `host:port`, and whether one is this machine's own, which others cannot reach."""

import ipaddress

__all__ = ["is_loopback", "split_address"]


def split_address(text: str) -> tuple[str, int]:
    """Host and port of `host:port`; the host may be empty. ValueError where there is no port from 1 to 65535."""
    host, _, port = text.rpartition(":")
    if not port.isdecimal() or not 1 <= int(port) <= 65_535:
        raise ValueError(f"{text!r} is not host:port")
    return host, int(port)


def is_loopback(host: str) -> bool:
    """Whether a host, by address or as `localhost`, is loopback."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost"
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback
