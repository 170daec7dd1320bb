"""How much memory a Redis may use, and what it does when that is full."""

from typing import Any, NamedTuple

import redis

from data.errors import RedisRefusalError
from features.state.online.answers import read_info

__all__ = ["Capacity", "capacities_of", "capacity_of"]


class Capacity(NamedTuple):
    """Memory in bytes: `used`, and the `bound` (0: unknown), which is Redis' `maxmemory` or the machine's memory.

    `policy` is its eviction policy; of a cluster, that of any node that evicts.
    """

    used: int
    bound: int
    bound_by: str
    policy: str

    @property
    def free(self) -> int:
        """Free memory, bytes."""
        return max(0, self.bound - self.used)

    @property
    def share(self) -> float:
        """Used share of the bound; 0 if there is no bound."""
        return self.used / self.bound if self.bound else 0.0


def capacity_of(client: "redis.Redis") -> Capacity | None:
    """Return the capacity of a Redis, or of a cluster's fullest node; None if this user may not ask.

    Raises UnavailableError where Redis is away.
    """
    capacities = capacities_of(client)
    if not capacities:
        return None
    policy = next((capacity.policy for capacity in capacities if capacity.policy != "noeviction"), "noeviction")
    return max(capacities, key=lambda capacity: capacity.share)._replace(policy=policy)


def capacities_of(client: "redis.Redis") -> list[Capacity]:
    """Return the capacity of a Redis, or of each primary of a cluster; empty if this user may not ask.

    Raises UnavailableError where Redis is away.
    """
    try:
        nodes = read_info(client, "memory")
    except RedisRefusalError:
        return []
    return [_capacity(node) for node in nodes if "used_memory" in node]


def _capacity(node: dict[str, Any]) -> Capacity:
    used, bound, bound_by = int(node["used_memory"]), int(node.get("maxmemory", 0)), "maxmemory"
    if not bound:
        bound, bound_by = int(node.get("total_system_memory", 0)), "machine's memory"
    return Capacity(used, bound, bound_by, str(node.get("maxmemory_policy", "")))
