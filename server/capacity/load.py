"""The load on a system, and the terms of its plan: rates, numbers of states, headroom, copies and prices."""

from collections.abc import Mapping
from math import isfinite
from typing import Any

import msgspec

from data.errors import ConfigurationError
from server.capacity.unit_costs import UnitCosts

__all__ = ["Load", "Terms"]


class Load(msgspec.Struct, frozen=True):
    """Events and answers a second, and how many states there are, by entity.

    `given` are the entities whose number the caller stated. Use `Load.of`.
    """

    events_per_second: float
    requests_per_second: float
    states: dict[str, float]
    given: frozenset[str]

    @classmethod
    def of(
        cls, costs: UnitCosts, *, events_per_second: float, requests_per_second: float, states: Mapping[str, float]
    ) -> "Load":
        """Return a load. Raises ConfigurationError for an invalid number, or an entity that was not measured.

        An entity without a number in `states` has as many states as were measured; if its keys include the one
        that orders events, as many per `user`.
        """
        for name, value in {
            "--events-per-second": events_per_second,
            "--requests-per-second": requests_per_second,
            **{f"--states {entity}": count for entity, count in states.items()},
        }.items():
            if not (isfinite(value) and value >= 0):
                raise ConfigurationError(f"{name} {value:g}: give a number of at least 0")
        if unknown := sorted(states.keys() - costs.states.keys()):
            raise ConfigurationError(
                f"--states {unknown[0]}: what one takes was not measured, only of {', '.join(costs.states)}; give the "
                "one of these that is most like it the sum of both"
            )
        user = costs.states.get("user")
        share = states["user"] / user.count if user and "user" in states else 1.0
        scaled = {name: cost.count * (share if cost.of_ordering_key else 1.0) for name, cost in costs.states.items()}
        return cls(events_per_second, requests_per_second, {**scaled, **states}, frozenset(states))


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """Headroom, retention, copies, and prices a month (in any currency).

    `headroom`: the share of processors, memory and disks that is left free. Of the log `kept_days` are kept, of Kafka's
    topics `kafka_days` in `kafka_copies`; each shard of Redis has `replicas` and at most `shard_gb` of memory.
    """

    headroom: float = 0.3
    kept_days: float = 365.0
    kafka_days: float = 7.0
    kafka_copies: int = 3
    replicas: int = 1
    shard_gb: float = 25.0
    core_price: float = 25.0
    memory_price: float = 3.5
    storage_price: float = 0.023
    disk_price: float = 0.08

    def check(self) -> None:
        """Raise ConfigurationError for an invalid number, or one that leaves nothing to use."""
        values: dict[str, Any] = msgspec.to_builtins(self)
        for name, value in values.items():
            flag = f"--{name.replace('_', '-')}"
            if not (isfinite(value) and value >= 0):
                raise ConfigurationError(f"{flag} {value:g}: give a number of at least 0")
        if self.headroom >= 1:
            raise ConfigurationError(f"--headroom {self.headroom:g}: give a share below 1, such as 0.3")
        if self.shard_gb < 1:
            raise ConfigurationError(f"--shard-gb {self.shard_gb:g}: give at least 1 GB of memory to a shard of Redis")

    @property
    def usable(self) -> float:
        """The share of a machine that is used."""
        return 1 - self.headroom
