"""How processes reach Redis: what the settings say, with patience that a caller can bear."""

import ssl
from typing import Any, cast

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from data.addresses import Address
from features.state.redis import LateCluster
from features.state.replication import Replication
from server.redis.pipe import Credentials
from server.redis.states import LiveStates
from server.settings import Settings

__all__ = ["REDIS_TIMEOUT_S", "connect_redis", "live_states", "replication_of"]

REDIS_TIMEOUT_S = 1.0
"""A Redis that takes longer to connect or to answer counts as gone."""


def connect_redis(settings: Settings, *, timeout_s: float = REDIS_TIMEOUT_S) -> "redis.Redis":
    """A client of one Redis, or of a Redis Cluster where the settings say so, with a pool of connections, safe to share
    between threads. It connects when first used.

    A connection that proves dead is tried once more, at once: after Redis restarts every pooled one is. A timeout is
    not tried again, since the caller has waited already.
    """
    options: dict[str, Any] = {
        "host": settings.redis_host,
        "port": settings.redis_port,
        "username": settings.redis_username,
        "password": settings.redis_password.get_secret_value() if settings.redis_password else None,
        "ssl": settings.redis_tls,
        "ssl_ca_certs": str(settings.redis_ca) if settings.redis_ca else None,
        "ssl_check_hostname": settings.redis_tls,
        "socket_timeout": timeout_s,
        "socket_connect_timeout": timeout_s,
    }
    if settings.redis_cluster:
        return cast("redis.Redis", LateCluster(**options))
    return redis.Redis(**options, retry=Retry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,)))


def replication_of(client: "redis.Redis", settings: Settings, *, least_ms: int = 0) -> Replication:
    """The replicas of the store that `client` writes states to; they are given `least_ms` or longer to have them."""
    return Replication(client, settings.redis_replicas, max(least_ms, settings.redis_wait_ms))


def live_states(settings: Settings, *, timeout_s: float = REDIS_TIMEOUT_S) -> LiveStates:
    """The states, read on an event loop. It connects when first asked."""
    password = settings.redis_password
    return LiveStates(
        [Address(settings.redis_host, settings.redis_port)],
        Credentials(
            settings.redis_username,
            password.get_secret_value() if password else None,
            ssl.create_default_context(cafile=settings.redis_ca) if settings.redis_tls else None,
        ),
        timeout_s=timeout_s,
    )
