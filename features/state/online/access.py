"""The settings of a connection to Redis, from which every client is made."""

import ssl
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from data.errors import ConfigurationError

if TYPE_CHECKING:
    import redis

__all__ = ["RedisAccess"]


@dataclass(frozen=True, kw_only=True)
class RedisAccess:
    """How clients reach Redis: `host` and `port` are those of one Redis, or of a node of a `cluster`.

    `username` and `password` authenticate the client. `tls` encrypts, and verifies the server's certificate and name
    against the file `ca`, by default the system's. Raises ConfigurationError for a `ca` without TLS: the password would
    go out in clear text.
    """

    host: str = "127.0.0.1"
    port: int = 6379
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: bool = False
    ca: str | None = None
    cluster: bool = False

    def __post_init__(self) -> None:
        if self.ca is not None and not self.tls:
            raise ConfigurationError("REDIS_CA: goes with REDIS_TLS=true")

    def connect(self, *, timeout_s: float) -> "redis.Redis":
        """Return a thread-safe client with a connection pool. It connects when first used.

        A command on a dead connection is retried once, at once: after Redis restarts every pooled connection is dead. A
        timeout is not retried, since the caller has waited already.
        """
        # Not before it is needed: settings are read by commands that need no Redis.
        import redis  # noqa: PLC0415
        from redis.backoff import NoBackoff  # noqa: PLC0415
        from redis.retry import Retry  # noqa: PLC0415

        from features.state.online.cluster import LateCluster  # noqa: PLC0415

        _ = self.tls_context()  # which refuses a file that holds no certificates
        options: dict[str, Any] = {
            "host": self.host,
            "port": self.port,
            "username": self.username,
            "password": self.password,
            "ssl": self.tls,
            "ssl_ca_certs": self.ca,
            "ssl_check_hostname": self.tls,
            "socket_timeout": timeout_s,
            "socket_connect_timeout": timeout_s,
        }
        if self.cluster:
            return cast("redis.Redis", LateCluster(**options))
        return redis.Redis(**options, retry=Retry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,)))

    def tls_context(self) -> ssl.SSLContext | None:
        """Return the context that verifies the server; None without TLS.

        Raises ConfigurationError where `ca` is not a file of certificates.
        """
        if not self.tls:
            return None
        try:
            return ssl.create_default_context(cafile=self.ca)
        except OSError as error:
            raise ConfigurationError(
                f"REDIS_CA: {self.ca} cannot be read as certificates ({error}); name a PEM file"
            ) from error
