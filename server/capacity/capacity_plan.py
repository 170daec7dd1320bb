"""The capacity plan: from a load and unit costs, by arithmetic alone, what is needed and where it breaks next."""

from math import ceil

import msgspec

from server.capacity.load import Load, Terms
from server.capacity.unit_costs import UnitCosts

__all__ = ["Break", "CapacityPlan", "Need", "plan_capacity"]

_S = 1e6
"""A second, µs."""

_GB = 1e9
_DAY_S = 86_400

_LEAST_PARTITIONS = 4
_MOST_PARTITIONS = 1_000
"""The limit of ENCORE_PARTITIONS: a fence names every partition that it has seen."""

_LEAST_CLUSTER = 3
"""Fewest primaries of a Redis Cluster."""

_MOST_NODES = 1_000
"""Nodes of a Redis Cluster, as its specification recommends."""

_FENCE_BYTES = 8
"""Size of a partition's entry in a fence: its number and an offset."""

_PROCESS_GB = 0.5
"""Memory of a worker or of an API's process."""


class Need(msgspec.Struct, frozen=True):
    """How much of something is needed, and what that was computed from; `cost` a month, None if in another need."""

    name: str
    amount: float
    unit: str
    because: str
    cost: float | None = None


class Break(msgspec.Struct, frozen=True):
    """A bound of a system, and how many times this load fits below it: less than one if the load exceeds it."""

    what: str
    times: float
    because: str


class CapacityPlan(msgspec.Struct, frozen=True):
    """What a load needs. `breaks` are in the order in which a growing load meets them."""

    needs: list[Need]
    breaks: list[Break]

    @property
    def cost(self) -> float:
        """What all needs cost a month."""
        return sum(need.cost or 0.0 for need in self.needs)

    def amount(self, name: str) -> float:
        """Return how much of a need there is."""
        return next(need.amount for need in self.needs if need.name == name)


def plan_capacity(load: Load, costs: UnitCosts, terms: Terms) -> CapacityPlan:
    """Return what a load needs. Raises ConfigurationError as `Terms.check`."""
    terms.check()
    events, requests, usable = load.events_per_second, load.requests_per_second, terms.usable
    of_usable = f" / {usable:.0%} used"

    # A worker waits while Redis works for it: the two times together bound one worker.
    event_us = costs.worker_us_per_event + costs.redis_us_per_event
    workers = max(1, ceil(events * event_us / _S / usable))
    partitions = max(_LEAST_PARTITIONS, 2 * workers)
    worker_cores = max(1, ceil(events * costs.worker_us_per_event / _S / usable))

    fences = max(0, partitions - costs.partitions) * _FENCE_BYTES
    sizes = {name: state.bytes + (0 if state.of_ordering_key else fences) for name, state in costs.states.items()}
    states_gb = {name: count * sizes[name] / _GB for name, count in load.states.items()}
    memory_gb = max(1.0, sum(states_gb.values()) / usable)
    redis_us = events * costs.redis_us_per_event + requests * costs.redis_us_per_answer
    by_memory, by_time = ceil(memory_gb / terms.shard_gb), ceil(redis_us / _S / usable)
    shards = max(1, by_memory, by_time)
    shards = shards if shards == 1 else max(_LEAST_CLUSTER, shards)
    servers = shards * (1 + terms.replicas)
    memory_of_all_gb = memory_gb * (1 + terms.replicas)

    api = max(1, ceil(requests * costs.api_us_per_answer / _S / usable))
    cores = worker_cores + servers + api
    processes_gb = _PROCESS_GB * (workers + api)

    log_gb = events * _DAY_S * costs.log_bytes_per_event / _GB
    kafka_gb = events * _DAY_S * terms.kafka_days * costs.message_bytes_per_event * terms.kafka_copies / _GB / usable
    kept_events = events * _DAY_S * terms.kept_days
    rebuild_h = kept_events * costs.rebuild_us_per_event / _S / 3_600
    busiest = "more for memory" if by_memory >= by_time else "more for processor time"

    def counted(name: str) -> str:
        measured = "" if name in load.given else " (as measured, not given)"
        return f"{load.states[name]:,.0f} {name}{measured} x {sizes[name]:,.0f} B"

    needs = [
        Need(
            "workers",
            workers,
            "processes",
            f"{events:,.0f} events/s x ({costs.worker_us_per_event:.1f} µs + {costs.redis_us_per_event:.1f} µs of "
            f"Redis, for which it waits){of_usable}",
        ),
        Need("partitions", partitions, "of the events topic", f"2 x {workers:,} workers, so that they may double"),
        Need(
            "worker cores",
            worker_cores,
            "cores",
            f"{events:,.0f} events/s x {costs.worker_us_per_event:.1f} µs{of_usable}",
            worker_cores * terms.core_price,
        ),
        Need(
            "Redis memory",
            memory_gb,
            "GB",
            f"{' + '.join(map(counted, states_gb))}{of_usable}",
        ),
        Need(
            "Redis memory with replicas",
            memory_of_all_gb,
            "GB",
            f"{memory_gb:,.1f} GB x (1 + {terms.replicas} replicas)",
            memory_of_all_gb * terms.memory_price,
        ),
        Need("Redis memory during a rollout", 2 * memory_of_all_gb, "GB", "states of two editions side by side"),
        Need(
            "Redis shards",
            shards,
            "primaries",
            f"{memory_gb:,.1f} GB / {terms.shard_gb:g} GB: {by_memory:,}; {redis_us / _S:,.1f} s of processor a second"
            f"{of_usable}: {by_time:,}; {busiest}; a cluster has at least {_LEAST_CLUSTER}",
        ),
        Need(
            "Redis cores",
            servers,
            "cores",
            f"{shards:,} primaries x (1 + {terms.replicas} replicas), a core each",
            servers * terms.core_price,
        ),
        Need(
            "API replicas",
            api,
            "processes, a core each",
            f"{requests:,.0f} answers/s x {costs.api_us_per_answer:.0f} µs{of_usable}",
            api * terms.core_price,
        ),
        Need("cores", cores, "cores", f"{worker_cores:,} of workers + {servers:,} of Redis + {api:,} of the API"),
        Need(
            "memory of workers and API",
            processes_gb,
            "GB",
            f"({workers:,} workers + {api:,} replicas) x {_PROCESS_GB:g} GB",
            processes_gb * terms.memory_price,
        ),
        Need(
            "event log a day",
            log_gb,
            "GB",
            f"{events:,.0f} events/s x {_DAY_S:,} s x {costs.log_bytes_per_event:.1f} B",
        ),
        Need(
            "event log",
            log_gb * terms.kept_days,
            "GB of object storage",
            f"{log_gb:,.1f} GB a day x {terms.kept_days:g} days: {kept_events:.2g} events",
            log_gb * terms.kept_days * terms.storage_price,
        ),
        Need(
            "Kafka disk",
            kafka_gb,
            "GB",
            f"{events:,.0f} events/s x {terms.kafka_days:g} days x {costs.message_bytes_per_event:.0f} B, not "
            f"compressed, x {terms.kafka_copies} copies{of_usable}",
            kafka_gb * terms.disk_price,
        ),
        Need(
            "rebuild",
            rebuild_h,
            "hours",
            f"{kept_events:.2g} events x {costs.rebuild_us_per_event:.0f} µs, in one process",
        ),
    ]
    return CapacityPlan(needs, _breaks(costs, workers, partitions, servers, rebuild_h))


def _breaks(costs: UnitCosts, workers: int, partitions: int, servers: int, rebuild_h: float) -> list[Break]:
    breaks = [
        Break(
            "rebuild and training in one process",
            24 / max(rebuild_h, 1e-6),
            f"without partials (`encore log partials`) a rebuild takes {rebuild_h:,.1f} hours, and should take a day",
        ),
        Break(
            "partitions of one topic",
            _MOST_PARTITIONS / partitions,
            f"{partitions:,} of at most {_MOST_PARTITIONS:,}: every state that all partitions touch names each of them",
        ),
        Break(
            "one Redis Cluster",
            _MOST_NODES / servers,
            f"{servers:,} of {_MOST_NODES:,} nodes that its specification recommends at most",
        ),
        Break(
            "one state that all workers write",
            _S / costs.one_key_us / workers,
            f"{workers:,} workers fold the busiest product or category, each once a batch; it is written at most "
            f"{_S / costs.one_key_us:,.0f} times a second",
        ),
    ]
    return sorted(breaks, key=lambda item: item.times)
