"""Clients of Redis, made from the settings, with timeouts."""

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
"""Time limit for connecting, and for an answer, s."""


def connect_redis(settings: Settings, *, timeout_s: float = REDIS_TIMEOUT_S) -> "redis.Redis":
    """Return a thread-safe client of one Redis, or of a Redis Cluster, with a connection pool.

    It connects when first used.

    A command on a dead connection is retried once, at once: after Redis restarts every pooled connection is dead. A
    timeout is not retried, since the caller has waited already.
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
    """Return the replicas of the store that `client` writes to; they get at least `least_ms` to confirm."""
    return Replication(client, settings.redis_replicas, max(least_ms, settings.redis_wait_ms))


def live_states(settings: Settings, *, timeout_s: float = REDIS_TIMEOUT_S) -> LiveStates:
    """Return the states for reading on an event loop. It connects when first asked."""
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
