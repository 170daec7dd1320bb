"""Readings: numbers by name at one moment, stored for the console's history and used to evaluate alerts.

After a dot a name says what it is of: `lag.0` a partition, `group.NAME` a consumer group, `size.log` a kind of data.
"""

from collections.abc import Iterable, Mapping

from prometheus_client.core import Metric

from server.jobs.status import Status

__all__ = ["readings_of"]

_MEASURED = {
    "encore_home_free_bytes": "home_free_bytes",
    "encore_home_size_bytes": "home_size_bytes",
    "encore_log_files": "log_files",
    "encore_log_hole_offsets": "log_hole_offsets",
    "encore_redis_memory_bytes": "redis_memory_bytes",
    "encore_redis_memory_bound_bytes": "redis_memory_bound_bytes",
    "encore_rollout_interrupted": "rollout_interrupted",
    "encore_rollout_step_seconds": "rollout_step_seconds",
}
_LABELLED = {"encore_kept_bytes": "size", "encore_drifted_features": "drifted"}


def readings_of(
    status: Status, measured: Iterable[Metric] = (), waiting: Mapping[str, float] | None = None
) -> dict[str, float]:
    """Return the readings of a status, the system's metrics and the lag of consumer groups. Unknown values are absent.

    Counts begin when the live workers or the API started; those of topics when the topic was created.
    """
    workers = status.workers
    readings: dict[str, float] = {"problems": len(status.problems), "workers": len(workers)}
    fresh = max(
        (worker.freshness_ms for worker in workers if worker.freshness_ms),
        key=lambda freshness: freshness[1],
        default=None,
    )
    optional = {
        "produced": status.produced,
        "dead_letters": status.dead_letters,
        "lag": status.lag,
        "newest_event_age_seconds": (
            None if status.newest_event_us is None else max(0.0, (status.at_us - status.newest_event_us) / 1e6)
        ),
        "freshness_p50_seconds": fresh and fresh[0] / 1000,
        "freshness_p99_seconds": fresh and fresh[1] / 1000,
        "differing_values": status.audit.differing if status.audit else None,
        "api_up": float(status.api is not None),
    }
    readings |= {name: float(value) for name, value in optional.items() if value is not None}
    if workers:
        readings["events_per_second"] = sum(worker.rate for worker in workers)
        readings["messages_lost"] = sum(worker.lost for worker in workers)
        readings["states_set_aside"] = sum(worker.set_aside for worker in workers)
        readings |= {f"lag.{partition}": float(lag) for worker in workers for partition, lag in worker.lag.items()}
    if status.api is not None:
        readings["predictions"] = float(status.api.get("predictions") or 0)
        readings["redis_up"] = float(bool((status.api.get("redis") or {}).get("ok")))
    for metric in measured:
        for sample in metric.samples:
            if sample.name in _MEASURED:
                readings[_MEASURED[sample.name]] = sample.value
            elif sample.name in _LABELLED:
                readings[f"{_LABELLED[sample.name]}.{next(iter(sample.labels.values()))}"] = sample.value
    return readings | {f"group.{group}": float(lag) for group, lag in (waiting or {}).items()}
