"""What a Redis may hold, and what it does where that is not enough."""

from typing import Any, NamedTuple

import redis

from data.errors import RedisRefusalError
from features.state.answers import read_info

__all__ = ["Capacity", "capacities_of", "capacity_of"]


class Capacity(NamedTuple):
    """Memory in bytes: `used`, and the `bound` (0: none is known), which is Redis' `maxmemory` or the machine's.

    `policy` is what it evicts at its bound; of a cluster, what any node does.
    """

    used: int
    bound: int
    bound_by: str
    policy: str

    @property
    def free(self) -> int:
        """What is left, bytes."""
        return max(0, self.bound - self.used)

    @property
    def share(self) -> float:
        """How much of the bound is used, 0 where there is none."""
        return self.used / self.bound if self.bound else 0.0


def capacity_of(client: "redis.Redis") -> Capacity | None:
    """Return that of a Redis, of a cluster that of its fullest node; None where this user may not ask.

    Raises UnavailableError where Redis is away.
    """
    found = capacities_of(client)
    if not found:
        return None
    policy = next((one.policy for one in found if one.policy != "noeviction"), "noeviction")
    return max(found, key=lambda one: one.share)._replace(policy=policy)


def capacities_of(client: "redis.Redis") -> list[Capacity]:
    """Return those of a Redis, or of each primary of a cluster; none where this user may not ask.

    Raises UnavailableError where Redis is away.
    """
    try:
        nodes = read_info(client, "memory")
    except RedisRefusalError:
        return []
    return [_capacity(node) for node in nodes if "used_memory" in node]


def _capacity(node: dict[str, Any]) -> Capacity:
    used, bound, by = int(node["used_memory"]), int(node.get("maxmemory", 0)), "maxmemory"
    if not bound:
        bound, by = int(node.get("total_system_memory", 0)), "machine's memory"
    return Capacity(used, bound, by, str(node.get("maxmemory_policy", "")))
