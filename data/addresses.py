"""Server addresses: `host:port`, IPv6 ones in brackets (`[::1]:9092`), and whether a host is loopback."""

import ipaddress
import re
from typing import NamedTuple
from urllib.parse import urlsplit

__all__ = [
    "Address",
    "http_url",
    "is_address",
    "is_loopback",
    "is_private_url",
    "parse_address",
    "parse_addresses",
]

_NAME = re.compile(r"[^\s:,/\[\]]+")


class Address(NamedTuple):
    """Where a server listens; `host` is a name or an IP address, without brackets."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{_bracketed(self.host)}:{self.port}"


def parse_address(text: str) -> Address:
    """Parse `host:port` or `[IPv6]:port`. Raises ValueError for anything else, or a port not from 1 to 65535."""
    host, _, port = text.rpartition(":")
    name = host[1:-1] if _is_ipv6(host[1:-1]) and host == f"[{host[1:-1]}]" else host
    if (name == host and not _NAME.fullmatch(host)) or not port.isdecimal() or not 1 <= int(port) <= 65_535:
        raise ValueError(f"{text!r} is not host:port (as in localhost:9092, or [::1]:9092)")
    return Address(name, int(port))


def parse_addresses(text: str) -> list[Address]:
    """Parse addresses separated by commas, at least one. Raises ValueError as `parse_address`."""
    return [parse_address(part.strip()) for part in text.split(",")]


def is_address(host: str) -> bool:
    """Return whether a host is an IP address rather than a name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def is_loopback(host: str) -> bool:
    """Return whether a host (an address or `localhost`) is loopback: other machines cannot reach it."""
    if not is_address(host):
        return host == "localhost"
    address = ipaddress.ip_address(host)
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback


def is_private_url(url: str) -> bool:
    """Return whether nobody on the way can change the answer of a URL: it is `https://`, or on this machine."""
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        return False
    return bool(host) and (parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host or "")))


def http_url(host: str, port: int, path: str = "") -> str:
    """Return the URL at which this machine reaches a web server on `host`: loopback for a wildcard address."""
    loopbacks = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - an address to connect to, not to listen on
    return f"http://{_bracketed(loopbacks.get(host, host))}:{port}{path}"


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _is_ipv6(text: str) -> bool:
    return ":" in text and is_address(text)
