"""How processes reach Redis: what the settings say, with patience that a caller can bear."""

import redis

from events.stream.heartbeat import Heartbeats
from features.state.redis import OnlineStates
from features.state.replication import Replication
from server.redis.pipe import Address, Credentials
from server.redis.states import LiveStates
from server.settings import Settings

__all__ = ["REDIS_TIMEOUT_S", "connect_redis", "heartbeats_of", "live_states", "replication_of", "states_of"]

REDIS_TIMEOUT_S = 1.0
"""A Redis that takes longer to connect or to answer counts as gone."""


def connect_redis(settings: Settings, *, timeout_s: float = REDIS_TIMEOUT_S) -> "redis.Redis":
    """A client of one Redis, or of a Redis Cluster where the settings say so (`RedisAccess.connect`)."""
    return settings.redis_access.connect(timeout_s=timeout_s)


def states_of(client: "redis.Redis", settings: Settings) -> OnlineStates:
    """The states of the settings' project."""
    return OnlineStates(client, settings.project)


def heartbeats_of(client: "redis.Redis", settings: Settings) -> Heartbeats:
    """What the workers of the settings' project say of themselves."""
    return Heartbeats(client, settings.project)


def replication_of(client: "redis.Redis", settings: Settings, *, least_ms: int = 0) -> Replication:
    """The replicas of the store that `client` writes states to; they are given `least_ms` or longer to have them."""
    return Replication(client, settings.redis_replicas, max(least_ms, settings.redis_wait_ms), project=settings.project)


def live_states(settings: Settings, *, timeout_s: float = REDIS_TIMEOUT_S) -> LiveStates:
    """The states, read on an event loop. It connects when first asked."""
    access = settings.redis_access
    return LiveStates(
        [Address(access.host, access.port)],
        Credentials(access.username, access.password, access.tls_context()),
        timeout_s=timeout_s,
        project=settings.project,
    )
