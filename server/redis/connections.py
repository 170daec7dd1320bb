"""Redis clients with timeouts, made from the settings."""

import redis

from data.addresses import Address
from events.stream.heartbeat import Heartbeats
from features.state.editions.editions import Opened
from features.state.online.replication import Replication
from server.redis.pipe import Credentials
from server.redis.states import LiveStates
from server.settings import Settings

__all__ = ["REDIS_TIMEOUT_S", "connect_redis", "heartbeats_of", "live_states", "replication_of"]

REDIS_TIMEOUT_S = 1.0
"""Time limit for connecting, and for an answer, s."""


def connect_redis(settings: Settings, *, timeout_s: float = REDIS_TIMEOUT_S) -> "redis.Redis":
    """Return a client of one Redis, or of a Redis Cluster (`RedisAccess.connect`)."""
    return settings.redis_access.connect(timeout_s=timeout_s)


def heartbeats_of(client: "redis.Redis", settings: Settings) -> Heartbeats:
    """Return the heartbeats of the workers of the settings' project."""
    return Heartbeats(client, settings.project)


def replication_of(client: "redis.Redis", settings: Settings, *, least_ms: int = 0) -> Replication:
    """Return the replicas of the store that `client` writes to; they get at least `least_ms` to confirm."""
    return Replication(client, settings.redis_replicas, max(least_ms, settings.redis_wait_ms), project=settings.project)


def live_states(settings: Settings, edition: Opened | None = None, *, timeout_s: float = REDIS_TIMEOUT_S) -> LiveStates:
    """Return the states of an edition (default: the first) for reading on an event loop. Connects on first use."""
    access = settings.redis_access
    return LiveStates(
        [Address(access.host, access.port)],
        Credentials(access.username, access.password, access.tls_context()),
        timeout_s=timeout_s,
        project=edition.states.project if edition else settings.project,
        schema=edition.plan.schema if edition else settings.declared.schema,
    )
