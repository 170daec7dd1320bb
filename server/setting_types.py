"""Types of settings' values, whose validators say in one line what is wrong."""

import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field, SecretStr

from data.addresses import is_private_url, parse_addresses
from data.errors import ConfigurationError
from data.filesystem.address import check_storage
from data.log.retention import check_retention
from data.project import PROJECT_FILE, PROJECT_NAME
from model.interventions import parse_rules
from server.api_keys import parse_keys
from server.oidc import parse_roles

__all__ = [
    "PATHS",
    "File",
    "Host",
    "Hosts",
    "Keys",
    "Memory",
    "Origins",
    "Port",
    "PortOrNone",
    "PrivatePlace",
    "PrivateUrl",
    "ProjectName",
    "Retention",
    "Rules",
    "SecretLine",
    "Servers",
    "SparkMaster",
    "Storage",
    "TokenRoles",
    "TrackingUri",
    "WebUrl",
    "bytes_of",
    "opened",
]

PATHS = (
    "ENCORE_HOME",
    "ENCORE_STORAGE",
    "ENCORE_BEAT",
    "ENCORE_SHARED_METERS",
    "ENCORE_OIDC_KEYS",
    "KAFKA_CA",
    "REDIS_CA",
)
"""Variables that hold paths; in a project's file they are relative to its folder."""

_ORIGIN = re.compile(r"https?://[^\s/,*]+")
_HOST = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^\s/,:@\[\]*]+)(:\d{1,5})?")


def _servers_of(text: str) -> str:
    return ",".join(map(str, parse_addresses(text)))


def _matching(pattern: str, complaint: str) -> AfterValidator:
    """Return a validator that refuses, with this complaint, texts and secrets that do not match a pattern entirely."""
    compiled = re.compile(pattern)

    def check(value: Any) -> Any:
        if not compiled.fullmatch(value.get_secret_value() if isinstance(value, SecretStr) else value):
            raise ValueError(complaint)
        return value

    return AfterValidator(check)


def _rules_of(text: str) -> str:
    try:
        parse_rules(text)
    except ConfigurationError as error:
        raise ValueError(str(error)) from None
    return text


Host = Annotated[
    str,
    _matching(r"[^\s/\[\]]{1,253}|\[[0-9A-Fa-f:.]+\]", "not the name or address of a host"),
    AfterValidator(lambda host: host.strip("[]")),  # brackets separate an IPv6 address from a port, set apart here
]
Memory = Annotated[str, _matching(r"[1-9]\d*(\.\d+)? ?([KMGT]i?B)", "not an amount of memory, such as 512MB or 2GB")]
SparkMaster = Annotated[
    str,
    _matching(
        r"local(\[(\*|[1-9]\d*)\])?|yarn|(spark|k8s)://[^\s\"\\$]+",
        "not a Spark master, such as local[2], spark://host:7077 or yarn",
    ),
]
TrackingUri = Annotated[
    SecretStr,
    _matching(
        r"(sqlite:///|https?://|postgresql|mysql|mssql|databricks)\S*",
        "not an MLflow tracking URI, such as sqlite:////var/mlflow.db or https://mlflow.example.org",
    ),
]
ProjectName = Annotated[
    str,
    _matching(
        PROJECT_NAME.pattern,
        f"neither a folder with an {PROJECT_FILE} nor a name: a letter or digit, then up to 47 of a-z, 0-9, _",
    ),
]
SecretLine = Annotated[
    SecretStr, _matching(r"[^\x00-\x1f\x7f-\x9f\u2028\u2029]*", "holds a line end or a control character")
]
File = Annotated[Path, AfterValidator(Path.absolute)]
Port = Annotated[int, Field(ge=1, le=65_535)]
PortOrNone = Annotated[int, Field(ge=0, le=65_535)]


def _keys_of(keys: SecretStr) -> SecretStr:
    parse_keys(keys.get_secret_value())
    return keys


def _origins_of(text: str) -> str:
    origins = [origin.strip() for origin in text.split(",")] if text else []
    for origin in origins:
        if not _ORIGIN.fullmatch(origin):
            raise ValueError(f"{origin!r} is not an origin such as https://shop.example.org")
    return ",".join(origins)


def _hosts_of(text: str) -> str:
    hosts = [host.strip() for host in text.split(",")] if text else []
    for host in hosts:
        if not _HOST.fullmatch(host):
            raise ValueError(f"{host!r} is not a name such as shop.example.org or localhost:9000")
    return ",".join(hosts)


_BYTES = {f"{letter}{i}B": (1024 if i else 1000) ** power for power, letter in enumerate("KMGT", 1) for i in ("", "i")}


def bytes_of(memory: str) -> int:
    """An amount such as `512MB` or `2 GiB`, in bytes."""
    number, unit = re.fullmatch(r"([\d.]+) ?(\w+)", memory).groups()  # type: ignore[union-attr] # as `Memory` says
    return int(float(number) * _BYTES[unit])


def _private_url(url: str) -> str:
    """Return a URL. Raises ValueError if its content could be altered in transit."""
    if not is_private_url(url):
        raise ValueError("not an address that begins with https:// (or http:// on this machine)")
    return url


def _web_url(url: str) -> str:
    """Return the address of a server that is only read, such as http://prometheus:9090."""
    if not _WEB.fullmatch(url):
        raise ValueError("not an address such as http://prometheus:9090")
    return url


_WEB = re.compile(r"https?://[A-Za-z0-9.\-_\[\]:]+(/[A-Za-z0-9._~/-]*)?")


def opened(secret: SecretStr | None) -> str | None:
    """Return the text of a secret; None where there is none."""
    return secret.get_secret_value() if secret else None


def _private_place(place: str) -> str:
    """Return a private URL, or the absolute path of a file."""
    return _private_url(place) if "://" in place else str(Path(place).absolute()) if place else ""


def _token_roles(text: str) -> str:
    """Return a valid mapping of an issuer's roles. Raises ValueError as `parse_roles`."""
    parse_roles(text)
    return text


Storage = Annotated[str, AfterValidator(check_storage)]
Servers = Annotated[str, AfterValidator(_servers_of)]
Keys = Annotated[SecretStr, AfterValidator(_keys_of)]
Hosts = Annotated[str, AfterValidator(_hosts_of)]
Origins = Annotated[str, AfterValidator(_origins_of)]
Retention = Annotated[str, AfterValidator(check_retention)]
Rules = Annotated[str, AfterValidator(_rules_of)]
PrivateUrl = Annotated[str, AfterValidator(_private_url)]
PrivatePlace = Annotated[str, AfterValidator(_private_place)]
TokenRoles = Annotated[str, AfterValidator(_token_roles)]
WebUrl = Annotated[str, AfterValidator(_web_url)]
