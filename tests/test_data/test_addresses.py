"""Addresses of servers are read and written in one way, those of IPv6 too."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.addresses import Address, http_url, is_loopback, parse_address, parse_addresses

HOSTS = st.one_of(
    st.sampled_from(["localhost", "kafka-1.example.org", "a", "under_score"]),
    st.ip_addresses(v=4).map(str),
    st.ip_addresses(v=6).map(str),
)


@given(st.lists(st.builds(Address, HOSTS, st.integers(1, 65_535)), min_size=1, max_size=4))
def test_what_is_written_is_read(addresses: list[Address]) -> None:
    assert parse_addresses(", ".join(map(str, addresses))) == addresses
    for address in addresses:
        assert (":" in address.host) == str(address).startswith("[")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "localhost",
        ":9092",
        "localhost:",
        "localhost:0",
        "localhost:65536",
        "localhost:9a",
        "localhost:-1",
        "a b:1",
        "http://a:1",
        "a,b:1",
        "::1:9092",
        "fe80::1",
        "[::1]",
        "[]:9092",
        "[localhost]:9092",
        "[127.0.0.1]:9092",
        "[::1:9092",
        "::1]:9092",
        "[[::1]]:9092",
    ],
)
def test_what_is_no_address_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not host:port \(as in localhost:9092, or \[::1\]:9092\)"):
        parse_address(text)


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8000/health"),
        ("encore.example.org", "http://encore.example.org:8000/health"),
        ("0.0.0.0", "http://127.0.0.1:8000/health"),
        ("::", "http://[::1]:8000/health"),
        ("::1", "http://[::1]:8000/health"),
    ],
)
def test_a_url_is_one_that_can_be_asked(host: str, url: str) -> None:
    assert http_url(host, 8000, "/health") == url


@given(st.ip_addresses())
def test_loopback_is_known_by_address_or_name(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    assert is_loopback(str(address)) == address.is_loopback
    assert is_loopback("localhost")
    assert is_loopback("::1")
    assert not is_loopback("localhost.example.org")
    assert not is_loopback("")
