"""How Redis lets us in: one value, from which every client of it is made."""

import ssl
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from data.errors import ConfigurationError

if TYPE_CHECKING:
    import redis

__all__ = ["RedisAccess"]


@dataclass(frozen=True, kw_only=True)
class RedisAccess:
    """`host` and `port` are of one Redis, or of a node of a `cluster`. `username` and `password` say who we are. `tls`
    encrypts, and checks the server's certificate and name against the file `ca`, by default the system's.

    ConfigurationError for a file of certificates without TLS: the password would go out in clear.
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
        """A client, with a pool of connections, safe to share between threads. It connects when first used.

        A connection that proves dead is tried once more, at once: after Redis restarts every pooled one is. A timeout
        is not tried again, since the caller has waited already.
        """
        # Not before it is needed: settings are read by commands that need no Redis.
        import redis  # noqa: PLC0415
        from redis.backoff import NoBackoff  # noqa: PLC0415
        from redis.retry import Retry  # noqa: PLC0415

        from features.state.redis import LateCluster  # noqa: PLC0415

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
        """What verifies the server; None without TLS. ConfigurationError where `ca` is no file of certificates."""
        if not self.tls:
            return None
        try:
            return ssl.create_default_context(cafile=self.ca)
        except OSError as error:
            raise ConfigurationError(
                f"REDIS_CA: {self.ca} cannot be read as certificates ({error}); name a PEM file"
            ) from error
