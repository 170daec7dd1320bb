"""One look at a system as numbers by name: what is kept for the console's past, and what alerts are judged by.

A name with a dot is of something: `lag.0` of partition 0, `group.NAME` of a consumer group, `size.log` of what is kept.
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
    """Return what a status, the metrics of the system, and the lag of consumer groups say. What is not known is absent.

    Counts are since the live workers, or the API, started; those of topics since the topic began.
    """
    workers = status.workers
    found: dict[str, float] = {"problems": len(status.problems), "workers": len(workers)}
    fresh = max((one.freshness_ms for one in workers if one.freshness_ms), key=lambda f: f[1], default=None)
    given = {
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
    found |= {name: float(value) for name, value in given.items() if value is not None}
    if workers:
        found["events_per_second"] = sum(one.rate for one in workers)
        found["messages_lost"] = sum(one.lost for one in workers)
        found["states_set_aside"] = sum(one.set_aside for one in workers)
        found |= {f"lag.{partition}": float(lag) for one in workers for partition, lag in one.lag.items()}
    if status.api is not None:
        found["predictions"] = float(status.api.get("predictions") or 0)
        found["redis_up"] = float(bool((status.api.get("redis") or {}).get("ok")))
    for metric in measured:
        for sample in metric.samples:
            if sample.name in _MEASURED:
                found[_MEASURED[sample.name]] = sample.value
            elif sample.name in _LABELLED:
                found[f"{_LABELLED[sample.name]}.{next(iter(sample.labels.values()))}"] = sample.value
    return found | {f"group.{group}": float(lag) for group, lag in (waiting or {}).items()}
