"""What a Redis may hold, and what it does where that is not enough."""

from typing import Any, NamedTuple

import redis

from data.errors import RedisRefusalError
from features.state.answers import ask

__all__ = ["Capacity", "capacity_of"]


class Capacity(NamedTuple):
    """Memory in bytes: `used`, and the `bound` (0: none is known), which is Redis' `maxmemory` or the machine's.

    `policy` is what it evicts at its bound.
    """

    used: int
    bound: int
    bound_by: str
    policy: str

    @property
    def free(self) -> int:
        """What is left, bytes."""
        return max(0, self.bound - self.used)


def capacity_of(client: "redis.Redis") -> Capacity | None:
    """Return that of one Redis; None for a cluster, whose nodes have bounds of their own, and where nobody may ask.

    Raises UnavailableError where Redis is away.
    """
    try:
        found: Any = ask(client.info)
    except RedisRefusalError:
        return None  # this user may not ask
    if "used_memory" not in found:
        return None
    used, bound, by = int(found["used_memory"]), int(found.get("maxmemory", 0)), "maxmemory"
    if not bound:
        bound, by = int(found.get("total_system_memory", 0)), "machine's memory"
    return Capacity(used, bound, by, str(found.get("maxmemory_policy", "")))
