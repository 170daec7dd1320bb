"""Server addresses: parsing `host:port`, and whether a host is loopback."""

import ipaddress

__all__ = ["is_loopback", "split_address"]


def split_address(text: str) -> tuple[str, int]:
    """Return host and port of `host:port`; the host may be empty. Raises ValueError without a port from 1 to 65535."""
    host, _, port = text.rpartition(":")
    if not port.isdecimal() or not 1 <= int(port) <= 65_535:
        raise ValueError(f"{text!r} is not host:port")
    return host, int(port)


def is_loopback(host: str) -> bool:
    """Return whether a host, an address or `localhost`, is loopback."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
